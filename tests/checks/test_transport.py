"""The connections of one probe, and response bodies: what is used again, what is dropped, and how much is read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httpx
import pytest

from mcpwatch.checks import transport as module
from mcpwatch.checks.connection import Connection, Headers
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import CONNECTIONS_MAX, NAME_TTL, ProbeTransport, TransportCache, port_of
from mcpwatch.model.probe import Symptom, Target
from tests.virtual import VirtualClock, VirtualLoop, run


def play(scene: Callable[[ProbeTimeline], Awaitable[None]]) -> None:
    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline = ProbeTimeline(1000)
        async with timeline.scope:
            await scene(timeline)

    run(within)


class Line:
    """Stands for a `Connection`: every exchange is answered with 200, or fails as `fails` says."""

    def __init__(self) -> None:
        self.uses = 0
        self.received = 0
        self.closed = False
        self.idle = True
        self.sent: list[bytes] = []
        self.fails: ProbeFailure | None = None
        self.secured: list[tuple[str, object]] = []
        self.peer_certificate: dict[str, Any] = {}
        self.tls_version = ""

    async def exchange(self, request: bytes) -> tuple[int, Headers]:
        self.uses += 1
        self.sent.append(request)
        if self.fails is not None:
            raise self.fails
        self.idle = False
        return 200, [(b"content-length", b"0")]

    async def secure(self, host: str, context: object) -> None:
        self.secured.append((host, context))

    def abort(self) -> None:
        self.closed = True
        self.idle = False


class Dialled:
    """A transport whose connections are `lines`, made one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeline: ProbeTimeline, target: Target, *lines: Line) -> None:
        self.dialled: list[tuple[str, int, tuple[str, ...], float]] = []
        self.resolved: list[tuple[str, int]] = []
        self.stages: list[str] = []
        waiting = iter(lines or [Line() for _ in range(20)])

        async def connect(*asked: Any) -> Connection:
            self.dialled.append(asked)
            self.stages.append(str(self.timeline.stage))
            return cast("Connection", next(waiting))

        async def resolve(host: str, port: int) -> tuple[str, ...]:
            self.resolved.append((host, port))
            self.stages.append(str(self.timeline.stage))
            return ("192.0.2.1",)

        monkeypatch.setattr(module, "connect", connect)
        monkeypatch.setattr(module, "resolve", resolve)
        self.timeline = timeline
        self.shared = TransportCache()
        self.transport = ProbeTransport(target, self.shared, self.timeline)

    async def send(self, url: str = "http://h/x", body: bytes = b"", **more: Any) -> httpx.Response:
        stream = httpx.ByteStream(body)
        request = httpx.Request("POST" if body else "GET", url, headers={"Host": "h"}, stream=stream, **more)
        return await self.transport.handle_async_request(request)


HTTP, HTTPS = Target("http://h/x"), Target("https://h/x", insecure=True)


def test_a_request_is_written_as_it_stands_with_its_length_only_where_it_has_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        line = Line()
        net = Dialled(monkeypatch, timeline, HTTP, line)
        assert (await net.send("http://h/x?y=1")).status_code == 200
        line.idle = True
        await net.send(body=b"{}", extensions={"target": b"/other?s=1"})
        assert line.sent == [
            b"GET /x?y=1 HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /other?s=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        ]
        assert net.dialled == [("h", 80, ("192.0.2.1",), 1.0)]

    play(scene)


def test_the_first_connection_alone_is_timed_stage_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        await net.transport.prepare(httpx.URL("http://h:81/x"))
        await net.transport.prepare(httpx.URL("http://h:81/x"))
        assert net.stages == ["resolve", "connect"]
        timeline.leave()
        await net.send("http://h:81/x")
        await net.send("http://h:81/x")
        assert net.stages == ["resolve", "connect", "None"]
        assert (len(net.dialled), net.dialled[0][1], net.resolved) == (2, 81, [("h", 81)])

    play(scene)


def test_a_tls_connection_is_secured_in_a_stage_of_its_own_and_its_certificate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        first, second = Line(), Line()
        first.peer_certificate, first.tls_version = {"notAfter": "first"}, "TLSv1.3"
        second.peer_certificate, second.tls_version = {"notAfter": "second"}, "TLSv1.2"
        net = Dialled(monkeypatch, timeline, HTTPS, first, second)
        await net.send("https://h/x")
        assert str(timeline.stage) == "tls"
        timeline.leave()
        await net.send("https://h/x")
        assert timeline.stage is None
        assert net.dialled[0][1] == 443
        assert [line.secured[0][0] for line in (first, second)] == ["h", "h"]
        assert isinstance(first.secured[0][1], ssl.SSLContext)
        assert (net.transport.certificate, net.transport.tls_version) == ({"notAfter": "first"}, "TLSv1.3")

    play(scene)


def test_without_tls_nothing_is_secured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        line = Line()
        net = Dialled(monkeypatch, timeline, HTTP, line)
        await net.send()
        assert (line.secured, net.transport.certificate, net.transport.tls_version) == ([], {}, "")

    play(scene)


CUT = ProbeFailure(Symptom.CUT, "cut")


@pytest.mark.parametrize(
    ("failure", "uses", "received", "again"),
    [(CUT, 1, 0, True), (CUT, 0, 0, False), (CUT, 1, 5, False), (ProbeFailure(Symptom.BAD_REPLY, "bad"), 1, 0, False)],
)
def test_only_an_idle_connection_that_was_closed_as_it_was_used_is_replaced(
    monkeypatch: pytest.MonkeyPatch, failure: ProbeFailure, uses: int, received: int, again: bool
) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        line = Line()
        line.fails, line.uses, line.received = failure, uses, received
        net = Dialled(monkeypatch, timeline, HTTP, line, Line())
        if again:
            assert (await net.send()).status_code == 200
            assert len(net.dialled) == 2
        else:
            with pytest.raises(ProbeFailure):
                await net.send()
            assert len(net.dialled) == 1

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
        await net.transport.aclose()
        assert all(line.closed for line in lines)
        assert net.transport._connections == []  # pyright: ignore[reportPrivateUsage]

    play(scene)


def test_a_name_is_resolved_again_after_a_while_or_when_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for wait, count in ((0, 1), (NAME_TTL - 1, 1), (1, 2), (1, 2)):
            await asyncio.sleep(wait)
            assert await net.shared.addresses("h", 80) == ("192.0.2.1",)
            assert len(net.resolved) == count, wait
        await net.shared.addresses("h", 81)
        net.shared.forget("h", 80)
        net.shared.forget("never", 80)
        await net.shared.addresses("h", 81)
        await net.shared.addresses("h", 80)
        assert net.resolved[2:] == [("h", 81), ("h", 80)]

    assert module.NAME_TTL == 30
    play(scene)


def test_the_names_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(timeline: ProbeTimeline) -> None:
        net = Dialled(monkeypatch, timeline, HTTP)
        for number in range(3):
            await net.shared.addresses(f"h{number}", 80)
        for name in ("h0", "h2", "h3", "h3", "h0"):
            await net.shared.addresses(name, 80)
        assert [host for host, _ in net.resolved] == ["h0", "h1", "h2", "h3", "h0"]

    assert module.NAMES_MAX == 4096
    monkeypatch.setattr(module, "NAMES_MAX", 3)
    play(scene)


def test_a_trust_that_cannot_be_used_is_told_and_one_that_can_is_made_once() -> None:
    shared = TransportCache()
    with pytest.raises(ProbeFailure) as caught:
        shared.context(Target("https://h", ca_file="/nonexistent.pem"))
    assert caught.value.symptom is Symptom.TLS
    assert shared.context(HTTPS) is shared.context(HTTPS)


@pytest.mark.parametrize(
    ("scheme", "port", "found"), [("http", None, 80), ("https", None, 443), ("http", 0, 0), ("https", 80, 80), ("http", 443, 443)]
)
def test_the_port_of_a_url_is_as_written_or_that_of_its_scheme(scheme: str, port: int | None, found: int) -> None:
    assert port_of(scheme, port) == found
