"""One HTTP request and its answer: what came, and the two ways to answer it, whole or as a stream.

Owns the bytes of answers. Must not know parsing, sockets being opened or closed, or MCP.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from mcpwatch.gateway.http import limits

Headers = Sequence[tuple[bytes, bytes]]
Rest = Coroutine[Any, Any, None] | None
"""What is still to be done for a request when its handler returns: nothing, or work for a task of its own."""
Serve = Callable[[], Rest]

JSON = b"application/json"
_STATUS = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus}
_CLOSE = b"connection: close\r\n"
_EVENT = b"event: message\r\ndata: %b\r\n\r\n"
_CHUNKED_EVENT = b"%x\r\n" + _EVENT + b"\r\n"
_EVENT_FRAME = len(_EVENT % b"")


def _status(status: int) -> bytes:
    return b"HTTP/1.1 %d \r\n" % status


class Application(Protocol):
    """What a listener serves."""

    body_limit: int

    def admit(self, turn: HttpExchange) -> Serve | None:
        """The head of a request is here: what shall serve it once its body is, or `None` when it is answered already."""
        ...

    def too_large(self, turn: HttpExchange) -> None:
        """Answer a request whose body is longer than `body_limit`."""
        ...


class AnswerSink(Protocol):
    """Where the bytes of answers go: one connection. `closing`: the client is gone, or nothing more is sent to it."""

    closing: bool

    @property
    def peer(self) -> str:
        """The address of the client; empty for a unix socket."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def room(self) -> None:
        """Return when the client is not behind with its reading."""
        ...

    def finished(self, exchange: HttpExchange) -> None:
        """The answer to a request is whole."""
        ...

    def go_on(self, exchange: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
        """Do more for a request in a task of its own, which ends with the listener; when it breaks, that is answered."""
        ...

    def abort(self) -> None:
        """Close now, unsent bytes and all."""
        ...


class HttpExchange(Struct, eq=False):
    """One request, whole, and the answer to it. `path` is unquoted; names in `headers` and `lines` are lower case.

    `on_lost` is called when the client goes away before the answer is whole; set it by `when_lost`.
    """

    _connection: AnswerSink
    method: str
    path: str
    query: bytes
    lines: list[tuple[bytes, bytes]]
    headers: dict[bytes, bytes]
    """The `lines` by name; of one that comes twice the last."""
    newer: bool = True
    keep: bool = True
    body: bytes = b""
    parts: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    held: int = 0
    length: int = 0
    """Bytes of the body: come so far, counted in the budget, said by Content-Length."""
    begun: bool = False
    done: bool = False
    oversize: bool = False
    promised: bool = False
    """Whether it is answered from elsewhere when the work for it has come to its end without an answer."""
    serve: Serve | None = None
    on_lost: Callable[[], object] | None = None
    _stream: OpenStream | None = None

    @property
    def peer(self) -> str:
        """The address of the client; empty for a unix socket."""
        return self._connection.peer

    def answer(self, status: int, body: bytes = b"", media: bytes = JSON, extra: Headers = ()) -> None:
        """The whole answer, in one write. Nothing happens when one has begun already."""
        if self.begun or self.done:
            return
        self.begun = True
        kind = b"content-type: " + media + b"\r\n" if body else b""
        length = b"" if status == 204 else b"content-length: %d\r\n" % len(body)
        shown = body if self.method != "HEAD" else b""
        more = self._lines(extra) if extra or not self.keep else b""
        self._connection.write(b"%b%b%b%b\r\n%b" % (_STATUS.get(status) or _status(status), kind, length, more, shown))
        self.finish()

    def stream(self, extra: Headers = (), media: bytes = b"text/event-stream", status: int = 200, first: bytes = b"") -> OpenStream:
        """Begin an answer that goes on, `first` in the same write; never told to a proxy or a cache to keep."""
        self.begun = True
        kind = b"content-type: %b\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n" % media
        if self.newer:
            kind += b"transfer-encoding: chunked\r\n"
            first = first and b"%x\r\n%b\r\n" % (len(first), first)
        else:
            self.keep = False
        self._connection.write(b"%b%b%b\r\n%b" % (_STATUS.get(status) or _status(status), kind, self._lines(extra), first))
        self._stream = OpenStream(self, self._connection)
        return self._stream

    def finish(self) -> None:
        """The answer is whole: the connection goes on with the next request."""
        if not self.done:
            self.done = True
            self.on_lost = self._stream = None
            self._connection.finished(self)

    def when_lost(self, call: Callable[[], object]) -> bool:
        """Have the client's going away told to `call`; at once when it is gone by now. Whether it is still here."""
        if self._connection.closing:
            call()
            return False
        self.on_lost = call
        return True

    def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the rest of the work for this request in a task of its own."""
        self._connection.go_on(self, work)

    def lost(self) -> None:
        """The client went away."""
        if self._stream is not None:
            self._stream.end("client")
        if self.on_lost is not None:
            self.on_lost()

    def cut(self) -> None:
        """End a begun answer so that the client sees it is not whole."""
        self._connection.abort()

    def _lines(self, extra: Headers) -> bytes:
        text = b"".join([name + b": " + value + b"\r\n" for name, value in extra]) if extra else b""
        return text if self.keep else text + _CLOSE


class OpenStream:
    """An open event stream, written straight to the socket: no task wakes for a message.

    `ended` is done when the client went away, reads too slowly, or the gateway ends it.
    """

    def __init__(self, exchange: HttpExchange, connection: AnswerSink) -> None:
        self._exchange = exchange
        self._connection = connection
        self._chunked = exchange.newer
        self._most = limits.SLOW_LIMIT
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if connection.closing:
            self.end("client")

    def write(self, data: bytes) -> None:
        """One JSON-RPC message as an event, in one write."""
        if self._open(len(data)):
            self._connection.write(_CHUNKED_EVENT % (len(data) + _EVENT_FRAME, data) if self._chunked else _EVENT % data)

    def raw(self, text: bytes) -> None:
        """Bytes of the stream; at least one."""
        if text and self._open(len(text)):
            self._connection.write(b"%x\r\n%b\r\n" % (len(text), text) if self._chunked else text)

    async def room(self) -> None:
        """Return when the client has read most of what it was sent, or is gone."""
        await self._connection.room()

    def end(self, reason: str) -> None:
        """Let whoever opened the stream finish."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def finish(self) -> None:
        """The end of the stream, on the wire too."""
        self.end("finished")
        if self._chunked and not self._exchange.done:
            self._connection.write(b"0\r\n\r\n")
        self._exchange.finish()

    def _open(self, size: int) -> bool:
        """Whether `size` bytes more may be written. What is left unread of one long message does not make its reader slow."""
        if self.ended.done() or self._connection.closing:
            return False
        unsent = self._connection.unsent
        if unsent > self._most:
            self.end("slow")
            self._connection.abort()
            return False
        if unsent <= limits.SLOW_LIMIT:
            self._most = limits.SLOW_LIMIT + size
        return True
