"""A small HTTP/1.1 client for upstreams: kept connections, streamed answers, server-sent events.

Owns sockets to upstreams and the parsing by httptools. Must not know JSON-RPC or MCP. Why not httpx: ADR 0011.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from mcpwatch.gateway.upstream.sse_parser import ANSWER_LIMIT, Event, EventParser, HttpFailed

CONNECT_LIMIT = 5.0
"""Seconds for a connection, TLS included."""
IDLE_KEPT = 16
"""Connections kept open per client when they have nothing to do."""
UNREAD_LIMIT = 1024 * 1024
"""An answer is not read further while this much of it waits (bytes)."""


class Response:
    """An answer whose head has come. Read it to the end or close it."""

    def __init__(self, connection: _Connection, client: Client) -> None:
        self._connection = connection
        self._client = client
        self._over = False
        self.status = connection.status
        self.headers = connection.headers

    @property
    def media(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """The whole body. Raises `HttpFailed`."""
        parts: list[bytes] = []
        size = 0
        try:
            async for part in self.chunks():
                parts.append(part)
                size += len(part)
                if size > ANSWER_LIMIT:
                    raise HttpFailed(f"answer of more than {ANSWER_LIMIT} bytes", connected=True)
        finally:
            self.close()
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `HttpFailed` when it is cut."""
        connection = self._connection
        while (part := await connection.next_part()) is not None:
            yield part
        self._over = True
        self._client.give_back(connection)

    async def events(self) -> AsyncIterator[Event]:
        """The body as server-sent events. Raises `HttpFailed` when it is cut."""
        parser = EventParser()
        async for part in self.chunks():
            for event in parser.feed(part):
                yield event

    def close(self) -> None:
        """Drop the connection, unless the answer was read to its end."""
        if not self._over:
            self._connection.abort()


@dataclass(slots=True)
class Client:
    """Requests to one origin. `headers` go with every request."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    _idle: list[_Connection] = field(default_factory=list["_Connection"])

    async def request(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Response:
        """Send a request and return when the head of its answer is there; bound it from outside. Raises `HttpFailed`.

        Nothing is sent when the method, the target or a header holds a line break or NUL: it would begin a request of its own.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in {key.lower() for key in headers}]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        if any(mark in line for line in lines for mark in "\r\n\0"):
            raise HttpFailed("a line break or NUL in the head of a request", connected=True)  # no sign that the server is gone
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        while True:
            kept = self._kept()
            connection = kept or await _connect(parts.scheme, parts.hostname or "", parts.port)
            try:
                await connection.exchange(head + body)
            except HttpFailed:
                connection.abort()
                if kept is not None and not connection.answered:
                    continue
                raise
            except asyncio.CancelledError:
                connection.abort()
                raise
            return Response(connection, self)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        if connection.reusable and len(self._idle) < IDLE_KEPT:
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None


class _Connection(asyncio.Protocol):
    """One socket, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._headed = asyncio.get_running_loop().create_future()
        self._wake: asyncio.Future[None] | None = None
        self._keep = False
        self.busy = False
        self.answered = False
        self.complete = False
        self.status = 0
        self.headers: dict[str, str] = {}

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return not self._closed and (not self.busy or (self.complete and self._keep))

    async def exchange(self, data: bytes) -> None:
        """Write a request, wait for the head of the answer. Raises `HttpFailed`."""
        self._reset()
        self.busy = True
        if self._transport is None or self._closed:
            raise HttpFailed("connection closed")
        self._transport.write(data)
        await self._headed

    async def next_part(self) -> bytes | None:
        """More of the body, `None` at its end. Raises `HttpFailed`."""
        while not self._parts:
            if self.complete:
                return None
            if self._closed:
                raise HttpFailed("the stream was cut", connected=True)
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        part = b"".join(self._parts)
        self._parts, self._unread = [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return part

    def abort(self) -> None:
        """Close the socket now."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"answer is no HTTP ({type(error).__name__})")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if "content-length" not in self.headers and "transfer-encoding" not in self.headers and self._headed.done():
            self.complete = True
        self._fail(f"connection lost ({exc})" if exc else "connection closed")

    def _fail(self, text: str) -> None:
        if not self._headed.done():
            self._headed.set_exception(HttpFailed(text, connected=True))
            self._headed.exception()
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200 and not self._headed.done():
            self._headed.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._unread += len(body)
        if self._unread > UNREAD_LIMIT and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._stir()

    def on_message_complete(self) -> None:
        if self.status < 200:
            self.headers = {}
            return
        self._keep = self._parser.should_keep_alive()
        self.complete = True
        self._stir()


@functools.cache
def tls() -> ssl.SSLContext:
    """How every TLS connection is made. Reading the authorities takes 30 ms, in which the loop stands still: once only."""
    return ssl.create_default_context()


async def _connect(scheme: str, host: str, port: int | None) -> _Connection:
    loop = asyncio.get_running_loop()
    secure = scheme == "https"
    context = tls() if secure else None
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            _, connection = await loop.create_connection(_Connection, host, port or (443 if secure else 80), ssl=context)
    except TimeoutError:
        raise HttpFailed(f"no connection to {host} within {CONNECT_LIMIT:g} s") from None
    except (OSError, ssl.SSLError) as error:
        with suppress(AttributeError):
            raise HttpFailed(f"connection to {host}:{port} failed: {error.strerror or error}") from None
        raise
    return connection
