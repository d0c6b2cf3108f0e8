"""Descriptors that are kept from clients: who comes too late is told so, and everybody and everything else goes on."""

from __future__ import annotations

import contextlib
import resource
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from mcpwatch.gateway.http.spare import reserve, scarce
from tests.gateway.program import LIMIT, TINY, call, gateway, http, text


class Numbered:
    """A transport, and its socket, with that number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def get_extra_info(self, name: str) -> object:
        return self if name == "socket" else None

    def fileno(self) -> int:
        return self._number


@pytest.mark.parametrize("files", [4, 60, 128, 256, 1024, 1 << 20, resource.RLIM_INFINITY])
def test_clients_have_all_descriptors_but_a_reserve_of_the_limit_that_holds_now(
    files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limits(kind: int) -> tuple[int, int]:
        return files, files

    monkeypatch.setattr(resource, "getrlimit", limits)
    last = 1 << 21 if files == resource.RLIM_INFINITY else files - 1
    told = [scarce(cast("Any", Numbered(number))) for number in range(max(0, last - 200), last + 1)]
    assert told.count(True) == (0 if files == resource.RLIM_INFINITY else reserve(files))
    assert told == sorted(told)
    assert reserve(files) <= files // 4 or files == resource.RLIM_INFINITY
    assert not scarce(cast("Any", Numbered(last)), 0.0)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(("files", "clients"), [(56, 80), (96, 200), (160, 200)])
async def test_a_gateway_short_of_descriptors_answers_everybody_and_goes_on_with_those_that_it_has(
    files: int, clients: int
) -> None:
    with gateway({"servers": {"a": TINY}}) as running:
        running.wait({"a": "running"})
        pid = running.members()["a"]["pid"]
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (files, files))
        place = urlsplit(running.url)
        async with http(f"{running.url}/a/mcp") as session:
            await session.hello()
            opened = [socket.create_connection((place.hostname, place.port), LIMIT) for _ in range(clients)]
            said: list[bytes] = []
            for one in opened:
                one.settimeout(LIMIT)
                one.send(b"GET /a/sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                said.append(one.recv(4096))
            refused = [words for words in said if words.startswith(b"HTTP/1.1 503 ")]
            assert all(words.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")) for words in said)
            assert 0 < len(refused) < clients
            assert all(b"file descriptors run short" in words for words in refused)
            assert text((await session.post(call(3, "pid"))).json()) == pid, "who has a connection is served"
            assert running.members()["a"]["phase"] == "running", "so is the admin socket"
            for one in opened:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(4096):
                        pass  # until the gateway has closed it
                one.close()
        async with http(f"{running.url}/a/mcp") as later:
            assert (await later.hello()).status_code == 200, "nobody is refused any more"
