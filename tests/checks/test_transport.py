"""The connections of one probe: what is used again, what is dropped, what is timed, and how often a name is resolved."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from mcpwatch.checks import transport as module
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import CONNECTIONS_MAX, NAME_TTL, NameCache, ProbeTransport
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.dial import Enter
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.forward_proxy import ForwardProxy
from mcpwatch.http_client.trust import Trust
from mcpwatch.http_client.url import Url, parse
from mcpwatch.model.probe import Stage, Symptom, Target
from tests.virtual import VirtualClock, VirtualLoop, run


def play(scene: Callable[[ProbeTimeline], Awaitable[None]]) -> None:
    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline = ProbeTimeline(1000)
        async with timeline.scope:
            await scene(timeline)

    run(within)


class Line:
    """Stands for a `ClientConnection`: every exchange is answered with 200, or fails as `fails` says."""

    status = 200
    headers: dict[str, str]

    def __init__(self, certificate: str = "", version: str = "") -> None:
        self.headers = {}
        self.closed = False
        self.answered = False
        self.read = False
        self.busy = False
        self.sent: list[bytes] = []
        self.fails: HttpFailed | None = None
        self.peer_certificate: dict[str, Any] = {"notAfter": certificate} if certificate else {}
        self.tls_version = version

    @property
    def fresh(self) -> bool:
        return not self.closed

    reusable = fresh

    def idle(self) -> None:
        self.busy = False

    async def exchange(self, request: bytes) -> None:
        self.busy = True
        self.sent.append(request)
        if self.fails is not None:
            raise self.fails

    def abort(self) -> None:
        self.closed = True


class Dialled:
    """A transport whose connections are `lines`, made one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeline: ProbeTimeline, target: Target, *lines: Line) -> None:
        self.dialled: list[tuple[str, int, Trust]] = []
        self.resolved: list[tuple[str, int]] = []
        waiting = iter(lines or [Line() for _ in range(20)])

        async def dial(
            url: Url, trust: Trust, proxy: ForwardProxy | None, names: object, enter: Enter, *, lasting: bool
        ) -> ClientConnection:
            assert not lasting, "a probe has a deadline of its own"
            self.dialled.append((url.host, url.port, trust))
            enter(Stage.CONNECT)
            return cast("ClientConnection", next(waiting))

        monkeypatch.setattr(module, "dial", dial)
        self.names = NameCache(self)
        self.transport = ProbeTransport(target, self.names, timeline)

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """As a resolver."""
        self.resolved.append((host, port))
        return ("192.0.2.1",)

    def forget(self, host: str, port: int) -> None:
        """As a resolver."""

    async def send(self, url: str = "http://h/x", body: bytes = b"") -> Response:
        return await self.transport.request("POST" if body else "GET", parse(url), {"X": "y"}, body)


HTTP, HTTPS = Target("http://h/x"), Target("https://h/x", insecure=True, ca_file="ca", cert_file="cert", key_file="key")


def test_a_request_is_written_as_it_stands_with_its_length_only_where_it_has_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        line = Line()
        net = Dialled(monkeypatch, timeline, HTTP, line)
        answer = await net.send("http://h/x?y=1")
        line.read = True
        answer.close()
        await net.send("http://h/other?s=1", b"{}")
        assert line.sent == [
            b"GET /x?y=1 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\nX: y\r\n\r\n",
            b"POST /other?s=1 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\nX: y\r\nContent-Length: 2\r\n\r\n{}",
        ]
        assert net.dialled == [("h", 80, Trust())]

    play(scene)


def test_the_first_connection_alone_is_timed_and_used_by_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for _ in range(2):
            await net.transport.prepare(parse("http://h:81/x"))
        assert (timeline.stage, [dialled[1] for dialled in net.dialled]) == (Stage.CONNECT, [81])
        timeline.leave()
        for _ in range(2):
            await net.send("http://h/x")
        assert (timeline.stage, len(net.dialled)) == (None, 2)

    play(scene)


def test_the_first_certificate_is_kept_and_the_trust_is_that_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTPS, Line("first", "TLSv1.3"), Line("second", "TLSv1.2"))
        await net.send("https://h/x")
        await net.send("https://h/x")
        assert net.dialled == [("h", 443, Trust("ca", True, "cert", "key"))] * 2
        assert (net.transport.certificate, net.transport.tls_version) == ({"notAfter": "first"}, "TLSv1.3")

    play(scene)


CUT = HttpFailed("cut", Symptom.CUT, sent=True)


@pytest.mark.parametrize(("kept", "answered", "again"), [(True, False, True), (True, True, False), (False, False, False)])
def test_only_an_idle_connection_that_was_closed_as_it_was_used_is_replaced(
    monkeypatch: pytest.MonkeyPatch, kept: bool, answered: bool, again: bool
) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        line = Line()
        line.fails, line.answered = CUT, answered
        net = Dialled(monkeypatch, timeline, HTTP, line, Line())
        if kept:
            await net.transport.prepare(parse("http://h/x"))
        if again:
            assert (await net.send(body=b"{}")).status == 200
        else:
            with pytest.raises(ProbeFailure, match="cut") as caught:
                await net.send(body=b"{}")
            assert caught.value.symptom is Symptom.CUT
        assert len(net.dialled) == 1 + again

    play(scene)


def test_a_server_that_leaves_its_answers_unfinished_gets_no_more_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        lines = [Line() for _ in range(CONNECTIONS_MAX + 1)]
        net = Dialled(monkeypatch, timeline, HTTP, *lines)
        for _ in range(CONNECTIONS_MAX):
            await net.send()
        with pytest.raises(ProbeFailure, match="the server leaves 8 answers unfinished") as caught:
            await net.send()
        assert caught.value.symptom is Symptom.BAD_REPLY
        lines[3].abort()
        await net.send()
        assert len(net.dialled) == 9
        net.transport.abort()
        assert all(line.closed for line in lines)

    play(scene)


def test_a_name_is_resolved_again_after_a_while_or_when_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for wait, count in ((0, 1), (NAME_TTL - 1, 1), (1, 2), (1, 2)):
            await asyncio.sleep(wait)
            assert await net.names.addresses("h", 80) == ("192.0.2.1",)
            assert len(net.resolved) == count, wait
        await net.names.addresses("h", 81)
        net.names.forget("h", 80)
        net.names.forget("never", 80)
        await net.names.addresses("h", 81)
        await net.names.addresses("h", 80)
        assert net.resolved[2:] == [("h", 81), ("h", 80)]

    assert module.NAME_TTL == 30
    play(scene)


@pytest.mark.parametrize(
    ("words", "anew"),
    [
        ("member 'a' is down: the name db.lan does not resolve: Name or service not known", ["db.lan"]),
        ("the name DB.lan does not resolve within 5 s: its name server is slow, or does not answer", ["db.lan"]),
        ("dial tcp: lookup db.lan on 127.0.0.11:53: no such host", ["db.lan"]),
        ("getaddrinfo ENOTFOUND db.lan", ["db.lan"]),
        ("getaddrinfo ENOTFOUND db.lan.example", []),
        ("[Errno -2] Name or service not known", ["db.lan", "h"]),
        ("Temporary failure in name resolution", ["db.lan", "h"]),
        ("dial tcp 10.0.0.1:80: connect: connection refused", []),
    ],
)
def test_a_name_is_resolved_anew_once_anybody_says_that_it_does_not_resolve(
    words: str, monkeypatch: pytest.MonkeyPatch, anew: list[str]
) -> None:
    """Else a proxy is blamed for a name that is gone for everybody, on the word of an address of half a minute ago."""

    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for _ in range(2):
            for host in ("db.lan", "h"):
                await net.names.addresses(host, 80)
            net.names.doubt(words)
        for host in ("db.lan", "h"):
            await net.names.addresses(host, 80)
        assert [host for host, _ in net.resolved] == ["db.lan", "h", *anew * 2]

    play(scene)


def test_the_names_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for number in range(3):
            await net.names.addresses(f"h{number}", 80)
        for name in ("h0", "h2", "h3", "h3", "h0"):
            await net.names.addresses(name, 80)
        assert [host for host, _ in net.resolved] == ["h0", "h1", "h2", "h3", "h0"]

    assert module.NAMES_MAX == 4096
    monkeypatch.setattr(module, "NAMES_MAX", 3)
    play(scene)


def test_a_probe_that_is_over_leaves_no_cycle_to_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        await net.send()
        net.transport.abort()
        ended = weakref.ref(net.transport)
        gc.disable()
        try:
            del net.transport
            assert ended() is None
        finally:
            gc.enable()

    play(scene)
