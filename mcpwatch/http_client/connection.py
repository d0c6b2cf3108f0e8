"""One socket to a server: a request out, its answer in, with a bound on every byte. The client's door to httptools.

Owns parsing, flow control and what an answer may be beside its body. Must not know pools.
"""

from __future__ import annotations

import asyncio
import re
import select
import time
from typing import Any, cast

import httptools

from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.framing import Framing
from mcpwatch.model.symptom import NOT_HTTP, Symptom

UNREAD_LIMIT = 1024 * 1024
"""An answer is not read further while this much of it waits (bytes)."""
HEAD_BYTES = 64 * 1024
"""Bytes of the headers of an answer, and of its head with all interim answers (1xx) before it."""
HEAD_LINES = 256
"""Header lines of an answer, interim ones included."""
READ = 256 * 1024
"""What a socket hands over at once at most: no bound is overrun by more (bytes)."""
IDLE_SAFE = 4.0
"""Seconds that a connection may have been idle to be used again, unless its server says: the usual servers close after 5."""
IDLE_CLOSED, AGE_MAX = 1.0, 3.0
"""Seconds after which a plain connection with nothing to do is closed, and after whose opening it is kept no longer: a server that
takes one connection after the other is deaf to everybody else as long as it is open. TLS costs too much to begin so often."""
_TIMEOUT = re.compile(r"(?:^|[,\s])timeout=(\d{1,6})", re.IGNORECASE)


class ClientConnection(asyncio.Protocol):
    """One socket, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._wire: asyncio.Transport | None = None
        """The transport under TLS, or the same."""
        self.closed = False
        self._idle_since = 0.0
        self._closing: asyncio.TimerHandle | None = None
        self.opened_at = time.monotonic()
        self._unused = True
        self._reset()

    def _reset(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._framing = Framing(HEAD_BYTES, READ)
        self._lines = self._body = self._header_bytes = 0
        self._parts: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._headed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake: asyncio.Future[None] | None = None
        self._failure: tuple[str, Symptom, bool, bytes] | None = None
        """Why there is no more of the answer, and whether some of the request was sent; an error is made of it for who waits."""
        self._keep = self._excess = False
        self.busy = False
        self.answered = False
        self.complete = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.arrivals: tuple[float, float, int] = (0.0, 0.0, 0)
        """When the first and the last came of an answer that is not whole, by the monotonic clock, and how many bytes in all."""

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: not behind one that the server answered without taking it whole."""
        if self.closed or not self.busy:
            return not self.closed
        if self._plain and time.monotonic() - self.opened_at > AGE_MAX:
            return False
        sent = self._wire is None or not self._wire.get_write_buffer_size()
        return self.complete and self._keep and not self._excess and sent

    @property
    def fresh(self) -> bool:
        """Whether an idle connection is likely still open at the other end: not idle for long, nothing to read, not closed."""
        if not self.reusable or self.transport is None or self.transport.is_closing():
            return False
        found = _TIMEOUT.search(self.headers.get("keep-alive", ""))
        limit = max(0.0, int(found[1]) - 1.0) if found else IDLE_SAFE
        return time.monotonic() - self._idle_since < limit and not _readable(self.transport)

    @property
    def read(self) -> bool:
        """Whether the answer is whole and nothing of it waits."""
        return self.complete and not self._parts

    @property
    def peer_certificate(self) -> dict[str, object]:
        """The verified certificate of a TLS peer, or nothing."""
        return (self.transport.get_extra_info("peercert") if self.transport is not None else None) or {}

    @property
    def tls_version(self) -> str:
        """The version of TLS in use, or nothing."""
        found = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        return str(found.version() or "") if found is not None else ""

    def idle(self) -> None:
        """Its answer was read; nothing may come until the next request."""
        self.busy = False
        self._idle_since = time.monotonic()
        if self._plain:
            self._closing = asyncio.get_running_loop().call_later(IDLE_CLOSED, self.abort)

    def progressed(self, size: int) -> None:
        """So many bytes more of an answer came. Of an event stream its reader knows what belongs to an event."""
        if size:
            now = time.monotonic()
            first, _, before = self.arrivals
            self.arrivals = (first or now, now, before + size)

    async def exchange(self, data: bytes) -> None:
        """Write a request, wait for the head of the answer. Raises `HttpFailed`."""
        if self.transport is None or self.closed or self.transport.is_closing():
            raise HttpFailed("the connection was closed before the request", Symptom.CUT)
        self._stay()
        if not self._unused:
            self._reset()
        self._unused = False
        self.busy = True
        self.transport.write(data)
        await self._headed

    async def next_part(self) -> bytes | None:
        """More of the body, `None` at its end. Raises `HttpFailed`."""
        while not self._parts:
            if self.complete:
                return None
            if self._failure is not None:
                raise _failed(*self._failure)
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        part = b"".join(self._parts)
        self._parts, self._unread = [], 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return part

    def abort(self) -> None:
        """Close the socket now."""
        self.closed = True
        self._stay()
        if self.transport is not None:
            self.transport.abort()

    @property
    def _plain(self) -> bool:
        return self.transport is not None and self.transport is self._wire and not self.tls_version

    def _stay(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = self._wire = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse; count what is not body."""
        if self.closed:
            return
        if not self.busy:  # an answer that nobody asked for would be taken for that of the next request
            self.abort()
            return
        self.answered = True
        self._body = 0
        if not (self._headed.done() and self.headers.get("content-type", "").lower().startswith("text/event-stream")):
            self.progressed(0 if data.isspace() else len(data))
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._odd("the server wants to switch to another protocol", data)
        except httptools.HttpParserError as error:
            self._odd(f"{NOT_HTTP} ({error})", data)
        else:
            if not self.complete and not self._framing.fits(len(data) - self._body):
                what = "the answer has too much beside its body" if self._headed.done() else "the head of the answer is too large"
                self._break(what, Symptom.TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed: the end of an answer without a length, the failure of any other."""
        self.closed = True
        endless = "content-length" not in self.headers and "transfer-encoding" not in self.headers
        if endless and self._headed.done() and exc is None and self._failure is None:
            self.complete = True
        how = "reset" if isinstance(exc, ConnectionError) else f"lost ({exc})" if str(exc or "") else "closed"
        when = "in the middle of its answer" if self._headed.done() else "before it answered"
        self._fail(f"the connection was {how} {when}", Symptom.CUT)
        self._parser = None  # it refers to this connection: a cycle for the garbage collector, of every request

    def _odd(self, text: str, data: bytes) -> None:
        """What came is no answer; behind a whole one it only ends the connection."""
        if not self.complete:
            self._break(text, Symptom.BAD_REPLY, data)
        self._excess = True

    def _break(self, text: str, symptom: Symptom, said: bytes = b"") -> None:
        self._fail(text, symptom, said)
        self.abort()

    def _fail(self, text: str, symptom: Symptom, said: bytes = b"") -> None:
        """There will be no more of the answer. The request may have been read."""
        if self._failure is None:
            self._failure = text, symptom, self.busy, said
        if not self._headed.done():
            self._headed.set_exception(_failed(*self._failure))
            self._headed.exception()
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """The first byte of an answer."""
        self._excess = self.complete  # a second answer behind the one that was asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of trailers nothing is kept."""
        self._lines += 1
        self._header_bytes += len(name) + len(value)
        if self._lines > HEAD_LINES:
            self._break(f"the answer has more than {HEAD_LINES} header lines", Symptom.TOO_LARGE)
        elif self._header_bytes > HEAD_BYTES and not self._headed.done():
            self._break(f"the answer has more than {HEAD_BYTES >> 10} KiB of headers", Symptom.TOO_LARGE)
        elif not self._headed.done() and not self._excess:
            key = name.decode("latin-1").lower()
            if key == "transfer-encoding" and (key in self.headers or value.strip().lower() != b"chunked"):
                self._break("the answer has another Transfer-Encoding than chunked", Symptom.BAD_REPLY)
            self.headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """A head is whole, that of an interim answer too."""
        status = self._parser.get_status_code()
        if status < 100:
            self._break(f"{NOT_HTTP} (status {status})", Symptom.BAD_REPLY)
        elif status >= 200 and not self._headed.done():
            self.status = status
            self._framing.headed()
            self._headed.set_result(None)
        elif status < 200 and (self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers):
            self._break("an interim answer has a body", Symptom.BAD_REPLY)  # it would be read as the beginning of the real one

    def on_chunk_header(self) -> None:
        """One more chunk."""
        self._framing.chunk()

    def on_body(self, body: bytes) -> None:
        """Some of the body; reading pauses while much of it waits."""
        self._body += len(body)
        if self._excess:
            return
        self._parts.append(body)
        self._unread += len(body)
        if self._unread > UNREAD_LIMIT and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._stir()

    def on_message_complete(self) -> None:
        """An answer is whole."""
        if not self._headed.done():
            self.headers = {}  # those of an interim answer
        elif not self._excess and self._failure is None:
            self._keep = self._parser.should_keep_alive()
            self.complete = True
            self._stir()


def _failed(text: str, symptom: Symptom, sent: bool, said: bytes) -> HttpFailed:
    return HttpFailed(text, symptom, connected=True, sent=sent, said=said)


def _readable(transport: asyncio.Transport) -> bool:
    """Whether something waits in the socket that the loop has not seen: of an idle connection that is its end."""
    poll = select.poll()
    try:
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return True
