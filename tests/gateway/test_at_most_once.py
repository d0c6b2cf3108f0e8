"""A call is executed at most once, wherever its upstream drops the connection; its caller is told when it may have been executed.

The upstream keeps connections until it is told to drop: then it executes a call, sends the first N bytes of its answer, and closes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.gateway.upstream.remote import SseLink
from mcpwatch.http_client.client import HttpClient
from mcpwatch.http_client.failure import HttpFailed
from tests.gateway.inside import Taken

pytestmark = pytest.mark.anyio
LIMIT = 30.0
WARM = 6
"""Connections that are open and idle before the call: as many chances to repeat it."""


class Hears:
    """Where a link puts its end."""

    def __init__(self) -> None:
        self.lost: asyncio.Queue[str] = asyncio.Queue()
        self.ends = Ends(self._take, self._gone, lambda _: None, lambda _, __: None, lambda: False)

    def _take(self, data: bytes, envelope: Envelope, related: int | None) -> None:
        """Answers mean nothing here."""

    def _gone(self, reason: str, exit_: object, read: object) -> None:
        self.lost.put_nowait(reason)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def respond(body: bytes, *lines: str, status: str = "200 OK", media: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {media}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


@dataclass
class Dropping:
    """An MCP server on every wire. `cut`: a call of `pay` gets so many bytes of its answer, never all; `None`: it is answered."""

    cut: int | None = None
    port: int = 0
    executed: Counter[str] = field(default_factory=Counter[str])
    length: int = 0
    """Bytes of the last answer to a call."""
    gather: int = 0
    """Answers are held back until so many requests wait: each gets a connection of its own."""
    _waiting: list[asyncio.Event] = field(default_factory=list[asyncio.Event])
    _stream: asyncio.StreamWriter | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                body = await reader.readexactly(int(length or b"0"))
                if not await self._answer(head, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        if head.startswith(b"GET /sse"):
            self._stream = writer
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: endpoint\ndata: /post\n\n")
            return await self.over.wait()
        if not head.startswith(b"POST"):
            writer.write(respond(b"", status="405 Method Not Allowed"))
            return True
        asked = json.loads(body)
        sent = self._reply(asked, sse=head.startswith(b"POST /post"))
        if asked.get("method") == "tools/call" and asked["params"]["name"] == "warm":
            await self._together()
        if asked.get("method") == "tools/call" and asked["params"]["name"] == "pay":
            self.executed[json.dumps(asked["params"])] += 1
            self.length = len(sent)
            if self.cut is not None:
                writer.write(sent[: min(self.cut, len(sent) - 1)])  # ids differ in length, and with them answers
                with suppress(ConnectionError):
                    await writer.drain()
                return False
        writer.write(sent)
        return True

    async def _together(self) -> None:
        event = asyncio.Event()
        self._waiting.append(event)
        if len(self._waiting) >= self.gather:
            for each in self._waiting:
                each.set()
            self._waiting.clear()
        await event.wait()

    def _reply(self, asked: dict[str, Any], *, sse: bool) -> bytes:
        if "id" not in asked:
            return respond(b"", status="202 Accepted")
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": message.HANDSHAKE[-1], "capabilities": {}, "serverInfo": {"name": "drops"}},
            "server/discover": {"supportedVersions": [message.MODERN], "capabilities": {}},
            "tools/list": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("pay", "warm")]},
        }
        text = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results.get(asked["method"], {"content": []})}).encode()
        if not sse:
            return respond(text)
        if self._stream is not None and not (self.cut is not None and asked["params"].get("name") == "pay"):
            self._stream.write(b"event: message\ndata: " + text + b"\n\n")
        return respond(b"Accepted", status="202 Accepted", media="text/plain")


@asynccontextmanager
async def dropping() -> AsyncGenerator[Dropping]:
    running = Dropping()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        running.over.set()
        server.close()
        for writer in list(running.writers):
            writer.transport.abort()


class Caller:
    """A session of the member."""

    id = "caller"
    capabilities: frozenset[str] = frozenset()
    attended = True
    checking = False

    def push(self, data: bytes) -> None:
        """Nothing here belongs to no request."""


def asking(name: str, number: int) -> bytes:
    """A call of the tool `name`; its arguments tell it from any other."""
    params = {"name": name, "arguments": {"n": number}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


async def call(member: ServedMember, name: str, number: int) -> dict[str, Any]:
    """The answer to one call through a member's own connection to its upstream."""
    await member.main.ready()
    data = asking(name, number)
    sink = Taken()
    assert member.main.mux.request(Caller(), message.peek(data), data, sink)
    return await sink.last()


@asynccontextmanager
async def member_of(upstream: Dropping, transport: str) -> AsyncGenerator[ServedMember]:
    url = f"http://127.0.0.1:{upstream.port}/{'sse' if transport == 'sse' else 'mcp'}"
    member = ServedMember(ServerSettings("pay", url=url, transport=transport), ServingLimits(), None, lambda _: None)  # pyright: ignore[reportArgumentType]
    try:
        yield member
    finally:
        await member.stop()


def cuts(length: int) -> list[int]:
    """Where an answer is cut: nothing of it, and behind each of its bytes but the last."""
    return list(range(length))


@pytest.mark.parametrize("transport", ["http", "stateless"])
async def test_a_call_is_executed_at_most_once_wherever_its_upstream_drops_it(transport: str) -> None:
    async with dropping() as upstream, member_of(upstream, transport) as member:
        number = 1
        assert "result" in await call(member, "pay", number)
        last = upstream.length
        for cut in cuts(last):
            upstream.gather, upstream.cut = WARM, None
            if cut % 25 == 0:  # several kept connections, each of them a chance to send it again
                await asyncio.gather(*(call(member, "warm", 1000 + index) for index in range(upstream.gather)))
            upstream.cut, number = cut, number + 1
            answer = await call(member, "pay", number)
            assert answer["error"]["data"]["possiblyExecuted"] is True, (cut, answer)
            assert answer["error"]["message"].endswith("may have been executed and is not sent again")
            upstream.cut = None
        assert len(upstream.executed) == last + 1
        assert set(upstream.executed.values()) == {1}


@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PUT", 1), ("GET", 2), ("DELETE", 2)])
async def test_only_what_may_be_done_twice_is_sent_twice_and_only_once_more(method: str, times: int) -> None:
    came: list[bytes] = []
    keep = True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                came.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
                if not keep:
                    break
                writer.write(respond(b""))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = HttpClient(url)
    first = [await client.request("GET", url, {}) for _ in range(WARM)]
    for response in first:
        await response.read()
    came.clear()
    keep = False
    with pytest.raises(HttpFailed) as failed:
        await client.request(method, url, {})
    assert came == [method.encode()] * times
    assert failed.value.sent
    client.close()
    server.close()


async def test_a_call_over_sse_is_executed_at_most_once_wherever_its_upstream_drops_it() -> None:
    async with dropping() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/sse"
        number = 0
        while number == 0 or number < upstream.length:
            number += 1
            hears = Hears()
            link = SseLink(url, (), hears.ends)
            await link.open()
            assert link.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode(), None)
            upstream.cut = number - 1
            assert link.send(asking("pay", number), number)
            async with asyncio.timeout(LIMIT):
                assert await hears.lost.get()
            await link.close()
        assert len(upstream.executed) == upstream.length > 70
        assert set(upstream.executed.values()) == {1}


async def test_the_caller_over_sse_is_told_too() -> None:
    async with dropping() as upstream, member_of(upstream, "sse") as member:
        assert "result" in await call(member, "pay", 1)
        upstream.cut = 0
        answer = await call(member, "pay", 2)
        assert answer["error"]["data"] == {
            "member": "pay",
            "reason": "the connection was closed before it answered",
            "possiblyExecuted": True,
        }
        assert set(upstream.executed.values()) == {1}


@pytest.mark.parametrize("abort", [False, True])
async def test_a_connection_that_was_closed_while_idle_costs_no_call(abort: bool) -> None:
    async with dropping() as upstream:
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        client = HttpClient(url)
        for number in range(20):
            response = await client.request("POST", url, {}, asking("pay", number))
            await response.read()
            for writer in list(upstream.writers):
                writer.transport.abort() if abort else writer.close()
                await asyncio.wait_for(gone(writer), LIMIT)
        assert upstream.executed.total() == 20
        client.close()


async def gone(writer: asyncio.StreamWriter) -> None:
    """Return when the upstream's end of a connection is closed; the client's loop has not looked at its own yet."""
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("line", ["", "Keep-Alive: timeout=5", "Keep-Alive: max=9, timeout=1"])
async def test_a_connection_that_was_idle_for_long_is_not_used_again(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(respond(b"", *([line] if line else [])))
        writer.close()

    now = 100.0
    monkeypatch.setattr("mcpwatch.http_client.connection.time.monotonic", lambda: now)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = HttpClient(url)
    for after, expected in zip((0.0, 1.0, 3.9, 4.1), (1, 2, 3, 4) if "timeout=1" in line else (1, 1, 1, 2), strict=True):
        now += after
        await (await client.request("GET", url, {})).read()
        assert opened == expected
    client.close()
    server.close()
