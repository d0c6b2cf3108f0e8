"""One HTTP/1.1 connection of one probe: dialled stage by stage, parsed by llhttp (httptools), bounded in every direction.

Every failure is a `ProbeFailure` with its symptom. Knows HTTP framing; knows nothing of MCP, sessions or expectations.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from typing import cast

import httptools

from mcpwatch.checks import tls
from mcpwatch.checks.failure import REASON_MAX, ProbeFailure, one_line
from mcpwatch.forward_proxy import ForwardProxy, tunnel
from mcpwatch.model.probe import Symptom

HEAD_LIMIT = 64 * 1024
"""Bytes of response headers taken."""
BUFFER_LIMIT = 24 * 1024 * 1024
"""Bytes of one response waiting to be read; a server that sends more unasked is cut off."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that say something about this process and this machine, nothing about the peer."""

Headers = list[tuple[bytes, bytes]]


class Connection(asyncio.Protocol):
    """One connection: one exchange at a time, the response body read chunk by chunk."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._chunks: deque[bytes] = deque()
        self.closed = False
        self.uses = 0
        self._tunnelled = False
        self._begin()
        self._complete = True

    def _begin(self) -> None:
        """Forget the exchange before."""
        self._chunks.clear()
        self._buffered = 0
        self._head_size = 0
        self._headers: Headers = []
        self._status = 0
        self._framed = False
        self._complete = False
        self._failure: ProbeFailure | None = None
        self.received = 0

    # what the event loop and the parser call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ProbeFailure(Symptom.BAD_REPLY, "the server wants to switch to another protocol"))
        except httptools.HttpParserCallbackError:
            self.abort()
        except httptools.HttpParserError as error:
            text = one_line(data, REASON_MAX)
            self._fail(ProbeFailure(Symptom.BAD_REPLY, f"the answer is not HTTP ({error})", said=text))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body without a length, or a cut."""
        self.closed = True
        if self._complete:
            return
        if self._status and not self._framed and exc is None:
            self._finish()
            return
        how = "reset" if isinstance(exc, ConnectionError) else "closed"
        when = "in the middle of its answer" if self._status else "before it answered"
        self._fail(ProbeFailure(Symptom.CUT, f"the connection was {how} {when}"))

    def on_message_begin(self) -> None:
        """A response begins; what comes after a whole one that nobody asked for is surplus, and the end of the connection."""
        if self._complete:
            raise ConnectionError("more came than the length of the answer")
        self._headers = []
        self._head_size = 0
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within bounds."""
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_LIMIT:
            self._fail(ProbeFailure(Symptom.TOO_LARGE, f"the answer has more than {HEAD_LIMIT // 1024} KiB of headers"))
            return
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._framed = True
        self._headers.append((lower, value))

    def on_headers_complete(self) -> None:
        """The status is known: wake who asked."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._status = status
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, within bounds."""
        self._buffered += len(body)
        if self._buffered > BUFFER_LIMIT:
            self._fail(ProbeFailure(Symptom.TOO_LARGE, f"the server sent more than {BUFFER_LIMIT >> 20} MiB at once"))
            return
        self._chunks.append(body)
        self._rouse()

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self._status:
            self._finish()

    # what the transport calls

    async def tunnel(self, proxy: ForwardProxy, host: str, port: int) -> None:
        """Ask the proxy that it is connected to for a tunnel to a server; `secure` is due then. Raises `ProbeFailure`."""
        if self._transport is None:
            raise ProbeFailure(Symptom.UNREACHABLE, f"{proxy.shown} closed the connection")
        if refusal := await tunnel(self._transport, proxy, host, port):
            self.abort()
            raise ProbeFailure(Symptom.UNREACHABLE, f"{host}: {refusal}")
        self._tunnelled = True

    async def secure(self, host: str, context: ssl.SSLContext) -> None:
        """Go through the TLS handshake on a connection just connected."""
        if self._transport is None:
            raise ProbeFailure(Symptom.CUT, "the connection was closed before the TLS handshake")
        encrypted = await tls.handshake(self._transport, self, context, host, direct=not self._tunnelled)
        self._transport = encrypted

    async def exchange(self, request: bytes) -> tuple[int, Headers]:
        """Send a whole request and return status and headers of its response; then read `chunk` until it is empty."""
        if self._transport is None or self.closed or not self._complete:
            raise ProbeFailure(Symptom.CUT, "the connection was closed before the request")
        self.uses += 1
        self._begin()
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            await self._head
        finally:
            self._head = None
        return self._status, self._headers

    async def chunk(self) -> bytes:
        """The next piece of the body, or nothing at its end."""
        while True:
            if self._chunks:
                piece = self._chunks.popleft()
                self._buffered -= len(piece)
                return piece
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    @property
    def idle(self) -> bool:
        """Whether the connection can carry another exchange."""
        return self._complete and not self.closed and not self._chunks

    @property
    def peer_certificate(self) -> dict[str, object]:
        """The verified certificate of a TLS peer, or nothing."""
        found = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return cast("dict[str, object]", found or {})

    @property
    def tls_version(self) -> str:
        """The version of TLS in use, or nothing."""
        found = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return str(found.version() or "") if found is not None else ""

    def abort(self) -> None:
        """Drop the connection at once; nothing of it is left."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _finish(self) -> None:
        self._complete = True
        if not self._parser.should_keep_alive() and self._transport is not None and not self.closed:
            self.closed = True
            self._transport.close()
        self._rouse()

    def _fail(self, failure: ProbeFailure) -> None:
        if not self._complete:
            self._complete = True
            self._failure = failure
            if self._head is not None and not self._head.done():
                self._head.set_exception(failure)
            self._rouse()
        self.abort()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def connect(host: str, port: int, addresses: tuple[str, ...], patience: float) -> Connection:
    """A TCP connection to the first address that takes one; every address but the last has `patience` seconds."""
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for address in addresses:
        limit = None if address == addresses[-1] else patience
        try:
            async with asyncio.timeout(limit):
                _, connection = await loop.create_connection(Connection, address, port)
        except TimeoutError:
            if limit is None:
                raise
            continue
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise  # it is the prober that cannot: no word about the peer
            last = error
            continue
        return connection
    raise _unconnected(host, port, last)


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host; a literal address is its own."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return (host,)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProbeFailure(Symptom.UNRESOLVED, f"the name {host} does not resolve: {reason}") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _unconnected(host: str, port: int, error: OSError | None) -> ProbeFailure:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, ConnectionRefusedError):
        return ProbeFailure(Symptom.REFUSED, f"{where} refuses connections: nothing listens there")
    reason = (error.strerror or str(error)) if error else "no address"
    return ProbeFailure(Symptom.UNREACHABLE, f"{where} cannot be reached: {reason}")
