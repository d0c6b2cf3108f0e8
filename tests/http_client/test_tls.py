"""The words for a TLS handshake that failed, and a look at what an old server speaks."""

from __future__ import annotations

import asyncio
import ssl
from time import gmtime
from typing import Any, cast

import pytest

from mcpwatch.http_client import tls
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.probe import Symptom

pytestmark = pytest.mark.anyio


class Peer(asyncio.Transport):
    """What a server speaks when it is looked at."""

    def __init__(self, version: str) -> None:
        super().__init__({"ssl_object": self, "peername": ("192.0.2.1", 8443)})
        self._version = version
        self.aborted = False

    def version(self) -> str:
        return self._version

    def abort(self) -> None:
        self.aborted = True


def unaccepted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def untimely(code: int) -> ssl.SSLCertVerificationError:
    error = unaccepted()
    error.verify_code = code
    return error


def refused(reason: str | None = "WRONG_VERSION_NUMBER") -> ssl.SSLError:
    error = ssl.SSLError(1, "odd")
    error.reason = cast("str", reason)
    return error


EXPIRED = "the certificate of h is not accepted: certificate has expired"
BROKE, CUT = "the TLS handshake with h failed: ", "h cut the connection during the TLS handshake ("


@pytest.mark.parametrize(
    ("outcome", "old", "symptom", "words"),
    [
        (unaccepted(), "TLSv1", Symptom.TLS, "the certificate of h is not accepted: certificate has expired"),
        (untimely(20), "", Symptom.TLS, EXPIRED),
        (untimely(10), "", Symptom.TLS, f"{EXPIRED} (the clock of this machine shows 2028-01-04)"),
        (untimely(9), "", Symptom.TLS, f"{EXPIRED} (the clock of this machine shows 2028-01-04)"),
        (refused(), "", Symptom.TLS, f"{BROKE}wrong version number"),
        (refused(None), "", Symptom.TLS, f"{BROKE}{refused(None)}"),
        (refused(), "TLSv1.1", Symptom.TLS, "h speaks TLSv1.1 at most; clients want TLSv1.2 or newer"),
        (ConnectionResetError(104, "reset by peer"), "", Symptom.CUT, f"{CUT}reset by peer)"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "", Symptom.CUT, f"{CUT}SSL handshake is taking longer)"),
        (ConnectionResetError(), "", Symptom.CUT, f"{CUT}ConnectionResetError)"),
        (None, "", Symptom.CUT, "h closed the connection during the TLS handshake"),
    ],
)
async def test_a_handshake_that_fails_is_told_by_what_was_wrong(
    monkeypatch: pytest.MonkeyPatch, outcome: Exception | None, old: str, symptom: Symptom, words: str
) -> None:
    async def start_tls(*_: object, server_hostname: str) -> None:
        assert server_hostname == "h"
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(tls.time, "gmtime", lambda: gmtime(1_830_600_000))

    async def spoken(address: str, port: int) -> str:
        assert (address, port) == ("192.0.2.1", 8443)
        return old

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    monkeypatch.setattr(tls, "spoken", spoken)
    with pytest.raises(HttpFailed) as caught:
        await tls.handshake(Peer(""), asyncio.Protocol(), cast("ssl.SSLContext", None), "h")
    assert (caught.value.symptom, caught.value.reason) == (symptom, words)
    assert caught.value.said == (old.encode() if "at most" in words else b"")


async def test_a_connection_that_is_gone_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start_tls(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "reset")

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    with pytest.raises(HttpFailed, match="cut the connection"):
        await tls.handshake(asyncio.Transport(), asyncio.Protocol(), cast("ssl.SSLContext", None), "h")


@pytest.mark.parametrize(("version", "told"), [("TLSv1", "TLSv1"), ("TLSv1.1", "TLSv1.1"), ("TLSv1.3", ""), ("", "")])
async def test_a_server_is_looked_at_with_old_versions_only(monkeypatch: pytest.MonkeyPatch, version: str, told: str) -> None:
    peer = Peer(version)

    async def create_connection(*_: object) -> tuple[Any, None]:
        return peer, None

    async def start_tls(transport: object, _: object, lax: ssl.SSLContext, **__: object) -> object:
        assert (lax.minimum_version.name, lax.maximum_version.name) == ("TLSv1", "TLSv1_1")
        assert (lax.check_hostname, lax.verify_mode.name) == (False, "CERT_NONE")
        return transport

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    assert (await tls.spoken("192.0.2.1", 8443), peer.aborted) == (told, True)


async def test_a_server_that_speaks_no_old_version_either_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    async def hangs(*_: object, **__: object) -> None:
        await asyncio.sleep(20)

    assert tls.OLD_LOOK == 1
    monkeypatch.setattr(tls, "OLD_LOOK", 0.01)
    for dial in (fails, hangs):
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", dial)
        assert await tls.spoken("192.0.2.1", 8443) == ""
