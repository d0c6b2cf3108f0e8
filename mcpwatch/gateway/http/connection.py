"""One client connection: bytes to requests and back, with a bound on everything a client may do. The server's door to httptools.

Owns the order of requests and answers on one socket (HTTP/1.1: kept, pipelined, chunked). Must not know MCP. Why our own: ADR 0014.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from mcpwatch.gateway.http import head, limits
from mcpwatch.gateway.http.http_exchange import HttpExchange, Serve

if TYPE_CHECKING:
    from mcpwatch.gateway.http.listener import Listener

log = logging.getLogger("mcpwatch.gateway")


class Connection(asyncio.Protocol):
    """One socket. `due` is when it must be looked at again (seconds of the loop's clock)."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._app = listener.app
        self._loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport = cast("asyncio.Transport", None)
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._head = 0
        self._fed = 0
        self._incoming: HttpExchange | None = None
        """The request that is being read; `_turn` is the one being answered, `_queue` holds those between."""
        self._turn: HttpExchange | None = None
        self._queue: deque[HttpExchange] = deque()
        self._reading = False
        self._deaf = False
        self._advancing = False
        self._room: asyncio.Future[None] | None = None
        self._stalled = math.inf
        self.closing = False
        self.due = math.inf

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._listener.connections.add(self)
        self.due = self._loop.time() + limits.HEAD_LIMIT

    def data_received(self, data: bytes) -> None:
        """Parse; requests that become whole are begun or queued."""
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                continue
            except httptools.HttpParserCallbackError:
                log.exception("a request could not be taken")
                self.abort()
            except httptools.HttpParserError as error:
                self._refuse(400, f"this is no HTTP/1.1 request: {error}")
            break
        if self._reading and self._incoming is None and not self._deaf:
            self._fed += len(data)
            if self._fed > self._listener.head_bytes:
                self._refuse(431, "the head of the request is too large")

    def pause_writing(self) -> None:
        """The client is behind with its reading."""
        self._room = self._loop.create_future()
        self._stalled = self._loop.time() + limits.STALL_LIMIT

    def resume_writing(self) -> None:
        """It has caught up."""
        self._stalled = math.inf
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell whoever answers here."""
        self.closing = self._deaf = True
        self._listener.lost(self)
        self._queue.clear()
        self._incoming = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._turn is not None:
            self._turn.lost()

    # --- httptools ---

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._url, self._lines = b"", []
        self._head = self._fed = 0
        self._incoming = None
        self._reading = True
        if self._turn is None:
            self.due = self._loop.time() + limits.HEAD_LIMIT

    def on_url(self, url: bytes) -> None:
        """Some of the target."""
        self._url += url
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._lines.append((name.lower(), value))
        self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """A head is whole: whether the body is wanted is known now."""
        if self._deaf:
            return
        if self._head > self._listener.head_bytes:
            self._refuse(431, "the head of the request is too large")
            return
        try:
            turn = head.read(self, self._parser, self._url, self._lines)
        except head.BadHead as wrong:
            self._refuse(400, str(wrong))
            return
        self._incoming = turn
        length = turn.headers.get(b"content-length", b"0")
        turn.oversize = len(length) > 15 or int(length) > self._app.body_limit
        if self._turn is None and not self._queue:
            self._invite(turn)

    def on_body(self, body: bytes) -> None:
        """Some of a body; of a refused request it is thrown away."""
        turn = self._incoming
        if turn is None or turn.oversize or self._deaf:
            return
        turn.size += len(body)
        if turn.size <= self._app.body_limit:
            if not turn.done:
                turn.parts.append(body)
            return
        turn.oversize = True
        turn.parts.clear()
        if turn.done:
            self._close()
        elif self._turn is turn:
            self._admit(turn)

    def on_message_complete(self) -> None:
        """A request is whole."""
        turn, self._incoming = self._incoming, None
        self._reading = False
        if turn is None or self._deaf or turn.done:
            return
        parts = turn.parts
        turn.body = b"".join(parts) if len(parts) != 1 else parts[0]
        parts.clear()
        if turn is self._turn:
            self._begin(turn)
            return
        self._queue.append(turn)
        if len(self._queue) >= limits.PIPELINED:
            self._transport.pause_reading()
        self._advance()

    # --- from an answer ---

    @property
    def unsent(self) -> int:
        """What the client has not read yet, as far as it is still here (bytes)."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.closing:
            self._transport.write(data)

    async def room(self) -> None:
        """Return when the client is not behind with its reading."""
        if self._room is not None:
            await self._room

    def finished(self, turn: HttpExchange) -> None:
        """The answer to a request is whole."""
        self._turn = None
        self.due = self._loop.time() + limits.KEEP_ALIVE
        if not turn.keep or self._listener.draining:
            self._close()
        else:
            self._advance()

    def abort(self) -> None:
        """Close the socket now, unsent bytes and all."""
        self.closing = self._deaf = True
        self._transport.abort()

    # --- from the listener ---

    def expire(self, now: float) -> None:
        """Do what is due."""
        if now >= self._stalled or (now >= self.due and self._deaf):
            self.abort()
        elif now >= self.due and self._reading:
            self._refuse(408, "the request did not come to its end in time")
        elif now >= self.due:
            self._close()

    def drain(self) -> None:
        """Close after the answer under way; at once when there is none."""
        if self._turn is None and not self._queue:
            self._close()
        elif self._turn is not None:
            self._turn.keep = False

    # --- inside ---

    def _invite(self, turn: HttpExchange) -> None:
        """Admit a request whose body is still to come; one that asks first is told to send it."""
        self.due = self._loop.time() + limits.BODY_LIMIT
        asks = turn.newer and turn.headers.get(b"expect", b"").lower() == b"100-continue"
        keep = turn.keep
        turn.keep = keep and not asks  # after a refusal nobody knows whether the body comes
        self._admit(turn)
        if not turn.done:
            turn.keep = keep
            if asks:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _admit(self, turn: HttpExchange) -> None:
        """Ask whether a request may come in; a refusal is its answer."""
        self._turn = turn
        if turn.oversize:
            turn.keep = False
            self._app.too_large(turn)
        else:
            turn.serve = self._app.admit(turn)

    def _begin(self, turn: HttpExchange) -> None:
        serve = turn.serve
        if serve is not None:
            self.due = math.inf
            task = self._loop.create_task(self._serve(turn, serve), name="request")
            tasks = self._listener.tasks
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _serve(self, turn: HttpExchange, serve: Serve) -> None:
        try:
            await serve()
        except Exception:
            log.exception("a request failed")
        if turn.done:
            return
        if turn.begun:
            self.abort()
        else:
            turn.answer(500, b'{"error":"internal error"}')

    def _advance(self) -> None:
        """Begin requests that wait, one after the other."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue and self._turn is None and self._room is None and not self._deaf:
                turn = self._queue.popleft()
                if len(self._queue) == limits.PIPELINED - 1:
                    self._transport.resume_reading()
                self._admit(turn)
                if not turn.done:
                    self._begin(turn)
        finally:
            self._advancing = False

    def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request and close; when an answer is under way, only close after it."""
        turn, self._incoming = self._incoming, None
        self._reading = True
        if self._turn is not None and self._turn is not turn:
            self._deaf, self._turn.keep = True, False
        elif self._queue or (turn is not None and turn.done):
            self._close()
        else:
            turn = turn or HttpExchange(self, "GET", "", b"", [])
            turn.keep = False
            turn.answer(status, json.dumps({"error": text}).encode())

    def _close(self) -> None:
        """Close when the client has its answer; while it still sends, a closed socket would take the answer from it."""
        if self._transport.is_closing():
            return
        if not self._reading:
            self.closing = self._deaf = True
            self._transport.close()
            return
        self._deaf = True
        self.closing = True
        self.due = self._loop.time() + limits.LINGER
        self._turn = self._incoming = None
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
