"""A listener in the test's own loop with an application that says what it was asked, and clients that write bytes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcpwatch.gateway.http.http_exchange import HttpExchange, OpenStream, Serve
from mcpwatch.gateway.http.listener import Listener

LIMIT = 30.0


@dataclass
class Mirror:
    """Answers with method, path, query and body; `/no` is refused by its head, `/stream` stays open, `/slow` waits for `go`."""

    body_limit: int = 1000
    seen: list[str] = field(default_factory=list[str])
    streams: list[OpenStream] = field(default_factory=list[OpenStream])
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    serve: Callable[[HttpExchange], Coroutine[Any, Any, None]] | None = None
    """Answers instead, when it is set."""

    def admit(self, turn: HttpExchange) -> Serve | None:
        self.seen.append(turn.path)
        if turn.path == "/no":
            turn.answer(401, b"{}")
            return None
        if self.serve is not None:
            return functools.partial(self.serve, turn)
        serve: Callable[[HttpExchange], Coroutine[Any, Any, None]] = {
            "/stream": self._stream,
            "/slow": self._slow,
            "/breaks": self._breaks,
        }.get(turn.path, self._mirror)
        return functools.partial(serve, turn)

    def too_large(self, turn: HttpExchange) -> None:
        turn.answer(413, b"{}")

    async def _mirror(self, turn: HttpExchange) -> None:
        host = turn.headers.get(b"host", b"")
        turn.answer(200, b"|".join([turn.method.encode(), turn.path.encode(), turn.query, host, turn.body]), b"text/plain")

    async def _stream(self, turn: HttpExchange) -> None:
        stream = turn.stream([(b"x-it", b"1")])
        self.streams.append(stream)
        self.opened.set()
        await stream.ended
        stream.finish()
        self.lost.set()

    async def _slow(self, turn: HttpExchange) -> None:
        self.waiting.set()
        turn.when_lost(self.lost.set)
        await self.go.wait()
        await self._mirror(turn)

    async def _breaks(self, turn: HttpExchange) -> None:
        raise ValueError(turn.path)


class Client:
    """One connection that writes what it is told and reads what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        return await self.answer()

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer, which says its length."""
        async with asyncio.timeout(LIMIT):
            status, headers = await self.head()
            length = 0 if head or status in {100, 204} else int(headers.get("content-length", "0"))
            return status, headers, await self.reader.readexactly(length)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(LIMIT):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return int(first.split()[1]), {name: value for name, _, value in pairs}

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(LIMIT):
            parts: list[bytes] = []
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    parts.append(part)
            return b"".join(parts)


@asynccontextmanager
async def listening(
    app: Mirror, head_bytes: int = 4096
) -> AsyncGenerator[tuple[Listener, Callable[[], Coroutine[Any, Any, Client]]]]:
    """A listener, and what opens a connection to it."""
    listener = Listener(app, head_bytes)
    port = await listener.tcp("127.0.0.1", 0)
    clients: list[Client] = []

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port, limit=2**16))
        clients.append(client)
        return client

    try:
        yield listener, connect
    finally:
        for client in clients:
            client.writer.transport.abort()
        listener.refuse()
        getattr(app, "go", asyncio.Event()).set()
        await listener.drain(LIMIT)


def get(path: str, *headers: str, host: str = "x") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body
