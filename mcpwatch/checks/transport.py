"""The httpx transport of one probe: its connections, dialled through the stages of its timeline, never shared, always closed.

One probe has one `ProbeTransport` with at most a handful of connections: no pool to scan (ADR 0015). What is worth sharing between
probes - TLS contexts, resolved names - is in `TransportCache`. Knows HTTP; knows nothing of MCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator

import httpx

from mcpwatch.checks import tls
from mcpwatch.checks.connection import Connection, connect, resolve
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.forward_proxy import REJECTED, BadProxy, ForwardProxy, forward_proxy
from mcpwatch.model.probe import Stage, Symptom, Target
from mcpwatch.trust import Contexts, TrustFailed

NAME_TTL = 30.0
"""Seconds a resolved name is used again."""
NAMES_MAX = 4096
"""Resolved names kept; beyond it all are dropped."""
FALLBACK_AFTER = 1.0
"""Seconds the first of several addresses of a host gets before the next is tried."""
SETTLE = 0.02
"""Seconds a short event stream gets to end after its answer before its connection is dropped."""
CONNECTIONS_MAX = 8
"""Connections one probe may open; a server that closes after every answer may use them up slowly."""


class TransportCache:
    """What all probes share: TLS contexts by trust, resolved names for a while."""

    def __init__(self) -> None:
        self._contexts = Contexts()
        self._names: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}

    def context(self, target: Target) -> ssl.SSLContext:
        """The TLS context for a target. Raises `ProbeFailure` when one of its files cannot be used."""
        try:
            return self._contexts.of(tls.trust(target))
        except TrustFailed as error:
            raise ProbeFailure(Symptom.TLS, str(error)) from error

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a host, asked of the resolver at most once in `NAME_TTL` seconds."""
        now = asyncio.get_running_loop().time()
        kept = self._names.get((host, port))
        if kept and now - kept[0] < NAME_TTL:
            return kept[1]
        found = await resolve(host, port)
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[host, port] = (now, found)
        return found

    def forget(self, host: str, port: int) -> None:
        """Resolve this host anew next time."""
        self._names.pop((host, port), None)


class Body(httpx.AsyncByteStream):
    """A response body on a connection; closing it early drops the connection.

    With `limit` set it is an event stream: `size` counts bytes since it was last put to zero and may not pass the limit,
    and a byte order mark at the start is dropped. With `over` set there is no more to read, whatever came.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.limit: int | None = None
        self.size = 0
        self.over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        first = True
        while not self.over and (piece := await self._connection.chunk()):
            if self.limit is not None:
                self.size += len(piece)
                if self.size > self.limit:
                    raise ProbeFailure(Symptom.TOO_LARGE, f"one event of the stream is larger than {self.limit >> 20} MiB")
                if first:
                    piece = piece.removeprefix(b"\xef\xbb\xbf")
                    first = False
                    if not piece:
                        continue
            yield piece

    async def skip(self, limit: int) -> None:
        """Read over a body that says nothing; one longer than `limit` bytes is dropped with its connection."""
        size = 0
        while size <= limit and (piece := await self._connection.chunk()):
            size += len(piece)
        await self.aclose()

    async def settle(self) -> None:
        """Give a short stream a moment to end by itself, so that its connection can be used again; then close it."""
        if not self._connection.idle and not self._connection.closed:
            with contextlib.suppress(TimeoutError, ProbeFailure):
                async with asyncio.timeout(SETTLE):
                    while await self._connection.chunk():
                        pass
        await self.aclose()

    async def aclose(self) -> None:
        """Drop the connection unless its response is whole."""
        if not self._connection.idle:
            self._connection.abort()


class ProbeTransport(httpx.AsyncBaseTransport):
    """The connections of one probe."""

    def __init__(self, target: Target, shared: TransportCache, timeline: ProbeTimeline) -> None:
        self._target = target
        self._shared = shared
        self._timeline = timeline
        self._connections: list[Connection] = []
        self._way: ForwardProxy | None = None
        self._chosen = False
        self.certificate: dict[str, object] = {}
        self.tls_version = ""
        """The TLS version of the first connection, `TLSv1.3`; empty without TLS."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on an idle connection or a new one. Raises `ProbeFailure`."""
        url = request.url
        payload = _serialize(request, self._proxy(url))
        connection = next((connection for connection in self._connections if connection.idle), None)
        if connection is None:
            connection = await self._dial(url)
        try:
            status, headers = await connection.exchange(payload)
        except ProbeFailure as failure:
            if failure.symptom is not Symptom.CUT or connection.uses < 2 or connection.received:
                raise
            # the server closed an idle connection just as we used it: not its fault, and not processed
            connection = await self._dial(url)
            status, headers = await connection.exchange(payload)
        if status == REJECTED and self._way is not None and url.scheme == "http":
            connection.abort()
            raise ProbeFailure(Symptom.UNREACHABLE, f"{url.host}: {self._way.rejection}")
        return httpx.Response(status, headers=headers, stream=Body(connection), request=request)

    async def _dial(self, url: httpx.URL) -> Connection:
        self._connections = [connection for connection in self._connections if not connection.closed]
        if len(self._connections) >= CONNECTIONS_MAX:
            raise ProbeFailure(Symptom.BAD_REPLY, f"the server leaves {CONNECTIONS_MAX} answers unfinished")
        first = not self._timeline.dialled
        self._timeline.dialled = True
        host = url.host
        port = port_of(url.scheme, url.port)
        proxy = self._proxy(url)
        connection = await self._connect(host, port, first=first) if proxy is None else await self._reach(proxy, first=first)
        self._connections.append(connection)
        if url.scheme == "https":
            if proxy is not None:
                await connection.tunnel(proxy, host, port)
            if first:
                self._timeline.enter(Stage.TLS)
            await connection.secure(host, self._shared.context(self._target))
            self.certificate = self.certificate or connection.peer_certificate
            self.tls_version = self.tls_version or connection.tls_version
        return connection

    async def _connect(self, host: str, port: int, *, first: bool) -> Connection:
        if first:
            self._timeline.enter(Stage.RESOLVE)
        addresses = await self._shared.addresses(host, port)
        if first:
            self._timeline.enter(Stage.CONNECT)
        return await connect(host, port, addresses, FALLBACK_AFTER)

    async def _reach(self, proxy: ForwardProxy, *, first: bool) -> Connection:
        """Connect to a proxy. That it cannot be reached says nothing about the server behind it."""
        try:
            return await self._connect(proxy.host, proxy.port, first=first)
        except ProbeFailure as failure:
            raise ProbeFailure(Symptom.UNREACHABLE, f"{proxy.shown} cannot be used: {failure.message}") from failure

    def _proxy(self, url: httpx.URL) -> ForwardProxy | None:
        """The proxy of the environment for the target, whose origin every URL has. Raises `ProbeFailure`."""
        if not self._chosen:
            try:
                self._way = forward_proxy(str(url), os.environ)
            except BadProxy as error:
                raise ProbeFailure(Symptom.UNREACHABLE, str(error)) from error
            self._chosen = True
        return self._way

    async def prepare(self, url: httpx.URL) -> None:
        """Dial the first connection, so that what follows is timed without it."""
        if not self._timeline.dialled:
            await self._dial(url)

    def abort(self) -> None:
        """Drop every connection at once. Never blocks."""
        for connection in self._connections:
            connection.abort()
        self._connections = []

    async def aclose(self) -> None:
        """Drop every connection."""
        self.abort()


def port_of(scheme: str, port: int | None) -> int:
    """The port of a URL: as written (0 is a port like any other, and refuses), else that of its scheme."""
    return port if port is not None else 443 if scheme == "https" else 80


def _serialize(request: httpx.Request, proxy: ForwardProxy | None) -> bytes:
    target: bytes = request.extensions.get("target") or request.url.raw_path
    own: list[tuple[bytes, bytes]] = []
    if proxy is not None and request.url.scheme == "http":  # a tunnel passes everything on as it is
        target = b"http://" + request.url.netloc + target
        own = [(name.encode(), value.encode()) for name, value in proxy.headers().items()]
    head = [request.method.encode(), b" ", target, b" HTTP/1.1\r\n"]
    for name, value in (*request.headers.raw, *own):
        head += (name, b": ", value, b"\r\n")
    body = request.read()
    if body:
        head.append(b"Content-Length: %d\r\n" % len(body))
    head += (b"\r\n", body)
    return b"".join(head)
