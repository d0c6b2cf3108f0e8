"""Servers in memory for the HTTP wires: what a wire asks is noted, what it hears is given, and no socket is opened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.checks.transport import ProbeTransport
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.url import Url
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

    kept: bool = False
    """Whether the body was read to its end, or was whole when nothing more was wanted."""

    @property
    def read(self) -> bool:
        return not self.pieces and not self.open

    async def next_part(self) -> bytes | None:
        while not self.pieces and self.open and not self.closed:
            self.more.clear()
            await self.more.wait()
        if self.fails is not None and not self.pieces:
            raise self.fails
        return self.pieces.pop(0) if self.pieces and not self.closed else None

    def progressed(self, size: int) -> None:
        """Nobody asks how fast it comes."""

    def response(self) -> Response:
        def keep(connection: ClientConnection) -> None:
            del connection
            self.kept = True

        return Response(cast("ClientConnection", self), keep)

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
    headers: dict[str, str]
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

    async def prepare(self, url: Url) -> None:
        """Nothing to dial; noted."""
        self.prepared.append(f"{url.scheme}://{url.authority}{url.target}")

    async def request(self, method: str, url: Url, headers: Mapping[str, str], body: bytes = b"") -> Response:
        await asyncio.sleep(0)
        told = {name.lower(): value for name, value in headers.items()}
        self.asked.append(Asked(method, url.target, told, json.loads(body) if body else None))
        answer = self._server(self.asked[-1])
        if not answer.status:
            await asyncio.Event().wait()
        self.answers.append(answer)
        answer.headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.response()

    def dripping(self, seconds: float) -> str:
        """Nothing is slow here."""
        del seconds
        return ""

    def abort(self) -> None:
        self.aborted = True
        for answer in self.answers:
            if not answer.read:
                answer.abort()


def play(
    server: Callable[[Asked], Answer], scene: Callable[[ProbeHttp, Network], Awaitable[None]], target: Target, timeout: float = 10
) -> None:
    """Run a scene against a server in memory, in virtual time, within the deadlines of a probe."""

    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        timeline, network = ProbeTimeline(timeout), Network(server)
        async with timeline.scope:
            await scene(ProbeHttp(target, cast("ProbeTransport", network), timeline), network)

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
