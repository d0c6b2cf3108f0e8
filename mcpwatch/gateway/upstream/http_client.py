"""A small HTTP/1.1 client for upstreams: kept connections, streamed answers, server-sent events.

Owns connections to upstreams and what is sent twice (ADR 0075). Must not know JSON-RPC or MCP. Why not httpx: ADR 0074.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from mcpwatch.forward_proxy import PORTS, REJECTED, BadProxy, ForwardProxy, ascii_name, forward_proxy
from mcpwatch.gateway.upstream.answer_reader import UpstreamConnection
from mcpwatch.gateway.upstream.dial import dial
from mcpwatch.gateway.upstream.sse_parser import ANSWER_LIMIT, Event, EventParser, HttpFailed
from mcpwatch.trust import BY_DEFAULT, Trust

IDLE_KEPT = 16
"""Connections kept open per client when they have nothing to do."""
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
"""Methods whose request may be sent once more when a kept connection turns out to be closed: doing it twice does it once."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SHOWN = 200
"""Characters of a header of the upstream that an error shows."""


class Response:
    """An answer whose head has come. Read it to the end or close it."""

    def __init__(self, connection: UpstreamConnection, client: Client) -> None:
        self._connection = connection
        self._client = client
        self._over = False
        self.status = connection.status
        self.headers = connection.headers

    @property
    def media(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def oddity(self) -> str:
        """Why this answer is of no use although it is one: a redirect, or compressed. Empty when it is neither."""
        if self.status in REDIRECTS:
            where = self.headers.get("location", "").partition("?")[0][:SHOWN]
            return f"upstream answered {self.status} and redirects to {where!r}; write that URL into the configuration"
        coding = self.headers.get("content-encoding", "").strip().lower()
        if coding not in {"", "identity"}:
            return f"upstream answered compressed ({coding[:SHOWN]!r}) although it was asked not to; switch compression off there"
        return ""

    async def read(self) -> bytes:
        """The whole body. Raises `HttpFailed`."""
        parts: list[bytes] = []
        size = 0
        try:
            async for part in self.chunks():
                parts.append(part)
                size += len(part)
                if size > ANSWER_LIMIT:
                    raise HttpFailed(f"answer of more than {ANSWER_LIMIT} bytes", connected=True, sent=True)
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
    """Requests to one origin, by the proxy that the environment names for it. `headers` go with every request."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    trust: Trust = BY_DEFAULT
    _idle: list[UpstreamConnection] = field(default_factory=list["UpstreamConnection"])
    _proxy: ForwardProxy | None = field(default=None, init=False)
    _unusable: str = field(default="", init=False)

    def __post_init__(self) -> None:
        try:
            self._proxy = forward_proxy(self.url, os.environ)
        except BadProxy as error:
            self._unusable = str(error)

    async def request(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Response:
        """Send a request and return when the head of its answer is there; bound it from outside. Raises `HttpFailed`.

        A request is sent once. When a kept connection was closed before any answer came, one of a method in `REPEATABLE` is sent
        once more on a new connection; any other may have been executed, and the error says so (`sent`).
        Nothing is sent when the method, the target or a header holds a line break or NUL: it would begin a request of its own.
        """
        if self._unusable:
            raise HttpFailed(self._unusable)
        parts, port = _split(url)
        head = self._head(method, parts, headers, body)
        repeat = method in REPEATABLE
        while True:
            kept = self._kept()
            connection = kept or await dial(parts.scheme, parts.hostname or "", port, self.trust, self._proxy)
            try:
                await connection.exchange(head + body)
            except HttpFailed as error:
                connection.abort()
                if kept is None or connection.answered or (error.sent and not repeat):
                    raise
                if error.sent:  # the other kept connections are as old: not one more of them
                    repeat = False
                    self.close()
            except asyncio.CancelledError:
                connection.abort()
                raise
            else:
                if connection.status == REJECTED and self._proxy is not None and parts.scheme == "http":
                    connection.abort()
                    raise HttpFailed(self._proxy.rejection)
                return Response(connection, self)

    def _head(self, method: str, url: SplitResult, headers: dict[str, str], body: bytes) -> bytes:
        """The head of a request; to a proxy that passes it on in clear, with the whole URL. Raises `HttpFailed`."""
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host = url.netloc.rpartition("@")[2]
        if not host.isascii():
            host = host.replace(host.partition(":")[0], ascii_name(host.partition(":")[0]), 1)
        if self._proxy is not None and url.scheme == "http":
            target, headers = f"http://{host}{target}", headers | self._proxy.headers()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in {key.lower() for key in headers}]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        if any(mark in line for line in lines for mark in "\r\n\0"):
            raise HttpFailed("a line break or NUL in the head of a request", connected=True)  # no sign that the server is gone
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        if connection.reusable and len(self._idle) < IDLE_KEPT:
            connection.idle()
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().abort()

    def _kept(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.abort()
        return None


def _split(url: str) -> tuple[SplitResult, int | None]:
    """The parts of a URL and the port that it names. Raises `HttpFailed`, in words without it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in PORTS or not parts.hostname:
        raise HttpFailed("what its configuration names is no URL; write http://HOST:PORT/PATH or https://HOST/PATH")
    return parts, port
