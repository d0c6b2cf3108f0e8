"""Servers in memory for the HTTP wires: what a wire asks is noted, what it hears is given, and no socket is opened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from mcpwatch.checks.caller import Caller
from mcpwatch.checks.connection import Connection
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import Body, ProbeTransport
from mcpwatch.model.probe import Target
from tests.virtual import VirtualClock, VirtualLoop, run

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


@dataclass
class Answer:
    """One HTTP answer; its body comes piece by piece. With `open` the body does not end after the last piece.

    With status 0 the request is never answered.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    pieces: list[bytes] = field(default_factory=list[bytes])
    open: bool = False
    closed: bool = False
    """Whether the connection was dropped before the body was whole."""
    fails: Exception | None = None
    """What comes instead of a piece when all have come."""
    more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def idle(self) -> bool:
        return not self.pieces and not self.open

    async def chunk(self) -> bytes:
        while not self.pieces and self.open and not self.closed:
            self.more.clear()
            await self.more.wait()
        if self.fails is not None and not self.pieces:
            raise self.fails
        return self.pieces.pop(0) if self.pieces and not self.closed else b""

    def say(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.more.set()

    def abort(self) -> None:
        self.closed = True
        self.more.set()


@dataclass
class Asked:
    """One HTTP request as the server sees it."""

    method: str
    path: str
    headers: httpx.Headers
    body: Any

    @property
    def rpc(self) -> str:
        return str(self.body.get("method", "")) if self.body else ""


class Network:
    """Stands for `ProbeTransport`: `server` answers every request."""

    def __init__(self, server: Callable[[Asked], Answer]) -> None:
        self._server = server
        self.asked: list[Asked] = []
        self.answers: list[Answer] = []
        self.prepared: list[str] = []
        self.aborted = False

    async def prepare(self, url: httpx.URL) -> None:
        """Nothing to dial; noted."""
        self.prepared.append(str(url))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        path = request.extensions.get("target", request.url.raw_path).decode()
        body = request.read()
        self.asked.append(Asked(request.method, path, request.headers, json.loads(body) if body else None))
        answer = self._server(self.asked[-1])
        if not answer.status:
            await asyncio.Event().wait()
        self.answers.append(answer)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
        return httpx.Response(answer.status, headers=headers, stream=Body(cast("Connection", answer)), request=request)

    def abort(self) -> None:
        self.aborted = True
        for answer in self.answers:
            if not answer.idle:
                answer.abort()


def play(
    server: Callable[[Asked], Answer], scene: Callable[[Caller, Network], Awaitable[None]], target: Target, timeout: float = 10
) -> None:
    """Run a scene against a server in memory, in virtual time, within the deadlines of a probe."""

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline, network = ProbeTimeline(timeout), Network(server)
        async with timeline.scope:
            await scene(Caller(target, cast("ProbeTransport", network), timeline), network)

    run(within)


def json_of(body: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items() if value}
    return Answer(status, JSON | named, [json.dumps(body).encode()])


def event(body: object, kind: str = "message") -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    return f"event: {kind}\ndata: {text}\n\n".encode()


def result(asked: Asked, **keys: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": asked.body["id"], "result": keys}


def error(asked: Asked, code: int, message: str = "no", **keys: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": code, "message": message, **keys}}


HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "m", "version": "1"}}
MODERN: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}
