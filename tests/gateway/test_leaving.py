"""A client of the stateless wire that leaves while a member starts is forgotten, and nothing is asked for it."""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from mcpwatch.gateway.http import limits, listener
from mcpwatch.gateway.http.http_exchange import HttpExchange, Serve
from mcpwatch.gateway.http.listener import Listener
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.serve import stateless_endpoint
from mcpwatch.gateway.session.exchange import Exchange
from mcpwatch.gateway.session.mcp_request import McpRequest, stream
from mcpwatch.gateway.session.passthrough_link import Passthrough
from mcpwatch.gateway.session.target import RouteTarget
from mcpwatch.gateway.session.visits import Visits
from tests.gateway.channels import META
from tests.gateway.raw import LIMIT, Mirror, get, listening, post

pytestmark = pytest.mark.anyio
LISTEN: dict[str, Any] = {"_meta": META, "notifications": {"toolsListChanged": True}}
BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": LISTEN}).encode()
HEADERS = ("Content-Type: application/json", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: subscriptions/listen")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks at its connections twenty times a second, and waits a moment only for those that are half closed."""
    monkeypatch.setattr(listener, "TICK", 0.05)
    monkeypatch.setattr(limits, "HALF_CLOSED", 0.05)


@dataclass
class Session:
    """What a request that listens needs of a session."""

    closed: bool = False
    served_by = ("slow",)

    async def attend(self) -> None:
        return

    def connect(self, write: object) -> None:
        return

    async def close(self) -> None:
        self.closed = True


@dataclass
class Slow:
    """A target whose member is ready only when the client has left. Its upstream, if it has one, is `url`."""

    url: str = ""
    session: Session = field(default_factory=Session)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def passthrough(self) -> Passthrough | None:
        await self._start()
        return Passthrough("slow", self.url, ()) if self.url else None

    async def once(self, owner: str) -> tuple[Session, bool]:
        return self.session, False

    async def _start(self) -> None:
        self.waiting.set()
        await self.go.wait()


@dataclass
class Door(Mirror):
    """Answers every POST on the stateless wire."""

    target: Slow = field(default_factory=Slow)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, turn: HttpExchange) -> Serve | None:
        return functools.partial(self._post, turn)

    async def _post(self, turn: HttpExchange) -> None:
        request = McpRequest(turn, cast("RouteTarget", self.target), "", turn.headers, [])
        try:
            await stateless_endpoint.post(request, turn.body, message.peek(turn.body), Visits())
        finally:
            self.answered.set()


async def leave(door: Door) -> None:
    """Ask, leave while the member starts, and return when the request is over."""
    async with listening(door) as (listener, connect):
        gone = watched(listener)
        client = await connect()
        client.writer.write(post("/", BODY, *HEADERS))
        async with asyncio.timeout(LIMIT):
            await door.target.waiting.wait()
            client.writer.transport.abort()
            await gone.wait()
            door.target.go.set()
            await door.answered.wait()


def watched(listener: Listener) -> asyncio.Event:
    """An event that is set when a connection is lost and whoever answered there has been told."""
    gone = asyncio.Event()
    lost = listener.shared.lost

    def told(connection: Any) -> None:
        lost(connection)
        asyncio.get_running_loop().call_soon(gone.set)

    listener.shared.lost = told
    return gone


async def test_a_listening_client_that_left_before_its_member_was_there_is_not_written_to_for_ever() -> None:
    door = Door()
    await leave(door)
    assert door.target.session.closed


async def test_nothing_is_passed_on_for_a_client_that_left_before_its_upstream_was_there() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: open\n\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await leave(Door(target=Slow(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")))
    finally:
        server.close()
    assert not asked


async def test_a_stream_that_nobody_reads_ends() -> None:
    ended = asyncio.Event()

    class Streams(Mirror):
        def admit(self, turn: HttpExchange) -> Serve | None:
            return functools.partial(self._answer, turn)

        async def _answer(self, turn: HttpExchange) -> None:
            self.waiting.set()
            await self.go.wait()
            await stream(McpRequest(turn, cast("RouteTarget", None), "", turn.headers, []), Exchange(), [])
            ended.set()

    app = Streams()
    async with listening(app) as (listener, connect):
        gone = watched(listener)
        client = await connect()
        client.writer.write(get("/"))
        async with asyncio.timeout(LIMIT):
            await app.waiting.wait()
            client.writer.transport.abort()
            await gone.wait()
            app.go.set()
            await ended.wait()
