"""Bytes of one connection to requests, with a bound on every byte. The server's door to httptools.

Owns parsing and the counting of what is not body: heads, chunk framing, trailers, blank lines between requests.
Must not know sockets, answers or the order of requests.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, cast

import httptools

from mcpwatch.gateway.http import head, limits
from mcpwatch.gateway.http.http_exchange import AnswerSink, Headers, HttpExchange
from mcpwatch.http_client.framing import Framing

log = logging.getLogger("mcpwatch.gateway")


class RequestSink(AnswerSink, Protocol):
    """Takes the parts of requests as they come. `deaf`: nothing that still comes is wanted."""

    deaf: bool

    def begun(self) -> None:
        """The first byte of a request."""
        ...

    def headed(self, exchange: HttpExchange) -> None:
        """A head is whole."""
        ...

    def part(self, exchange: HttpExchange, body: bytes) -> None:
        """Some of its body."""
        ...

    def whole(self, exchange: HttpExchange) -> None:
        """A request is whole."""
        ...

    def refuse(self, status: int, text: str, extra: Headers = ()) -> None:
        """What comes is no request that can be answered: say so and close."""
        ...


NO_SINK = cast("RequestSink", None)
"""Stands for a sink once nothing is read any more."""


class RequestReader:
    """Reads requests one after the other. `incoming` is the one whose head is whole and whose body is not."""

    def __init__(self, sink: RequestSink, head_bytes: int) -> None:
        self._sink = sink
        self._head_bytes = head_bytes
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._framing = Framing(head_bytes, limits.SLICE)
        self._left = 0
        """Bytes of a body of known length that are still to come."""
        self._given = self._body = self._events = 0
        """Of the slice that is being parsed: its length, how much of it was body; requests that began or ended so far."""
        self.incoming: HttpExchange | None = None
        self.reading = False

    def feed(self, data: bytes | memoryview) -> int:
        """Parse the beginning of `data`. Returns how many bytes were used; call again with the rest, if it is still wanted."""
        used = len(data)
        if used > limits.SLICE and used > self._left:
            used = max(limits.SLICE, self._left)
            data = data[:used]
        self._body, events = 0, self._events
        self._given = used
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            used = min(used, upgrade.args[0])
        except httptools.HttpParserCallbackError:
            log.exception("a request could not be taken")
            self._sink.abort()
        except httptools.HttpParserError as error:
            if not self._sink.deaf:
                self._refuse(400, f"this is no HTTP/1.1 request: {error}")
        if (self.reading or events == self._events) and not self._sink.deaf:
            self._count(used - self._body)
        return used or len(data)

    def give_up(self) -> HttpExchange | None:
        """Forget the request that is being read, and return it when its head was whole."""
        exchange, self.incoming = self.incoming, None
        self.reading = True  # what the client still sends must not be taken for silence
        return exchange

    def close(self) -> None:
        """Nothing is read any more: let go of the parser and of the sink, which hold this reader."""
        self._parser, self._sink = None, NO_SINK

    def _count(self, size: int) -> None:
        """Bound what is not body: `size` bytes more of it, and the header lines of the slice that was parsed."""
        fits = self._framing.fits(size)
        if self.incoming is not None:
            if not fits:
                self._refuse(400, "the body has too much around its chunks")
        elif not fits or len(self._lines) > limits.HEAD_LINES:
            self._refuse_head()

    def _is_head_long(self) -> bool:
        """Whether target and headers are above their bound; what came in one small slice is not."""
        if self._framing.within(self._head_bytes - self._given):
            return False
        return len(self._url) + sum(len(name) + len(value) for name, value in self._lines) > self._head_bytes

    def _refuse_head(self) -> None:
        if len(self._lines) > limits.HEAD_LINES:
            self._refuse(431, f"the request has more than {limits.HEAD_LINES} header lines")
        else:
            self._refuse(431 if self.reading else 400, "the head of the request is too large")

    def _refuse(self, status: int, text: str) -> None:
        self._sink.refuse(status, text)

    # --- httptools ---

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._url, self._lines = b"", []
        self._events += 1
        if not self._sink.deaf:
            self.incoming, self.reading = None, True
            self._sink.begun()

    def on_url(self, url: bytes) -> None:
        """Some of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those behind a body (trailers) are counted as framing and not kept."""
        if self.incoming is None:
            self._lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        if self._sink.deaf:
            return
        if len(self._lines) > limits.HEAD_LINES or self._is_head_long():
            self._refuse_head()
            return
        try:
            exchange = head.read(self._sink, self._parser, self._url, self._lines)
        except head.BadHead as wrong:
            self._refuse(400, str(wrong))
            return
        self._framing.headed()
        self._left = exchange.length
        self.incoming = exchange
        self._sink.headed(exchange)

    def on_chunk_header(self) -> None:
        """One more chunk of a body."""
        self._framing.chunk()

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        size = len(body)
        self._body += size
        if self._left:
            self._left -= size
        if self.incoming is not None and not self._sink.deaf:
            self._sink.part(self.incoming, body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._framing.begin()
        self._left = 0
        self._events += 1
        exchange, self.incoming = self.incoming, None
        if self._sink.deaf:
            return
        self.reading = False
        if exchange is not None:
            self._sink.whole(exchange)
