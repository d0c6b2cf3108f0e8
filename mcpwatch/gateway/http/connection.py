"""One client connection: requests and their answers in order, with a bound on everything a client may do.

Owns the order of requests and answers on one socket (HTTP/1.1: kept, pipelined, half-closed) and its deadlines.
Must not know MCP, nor how bytes become requests. Why our own: ADR 0074.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Coroutine
from typing import Any, cast

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.budget import Share, address_of
from mcpwatch.gateway.http.http_exchange import Headers, HttpExchange
from mcpwatch.gateway.http.intake import Intake
from mcpwatch.gateway.http.output import NO_TRANSPORT, Output
from mcpwatch.gateway.http.request_reader import RequestReader
from mcpwatch.gateway.http.shared import Shared, broken
from mcpwatch.gateway.http.spare import SHORT, scarce


class ServerConnection(asyncio.Protocol):
    """One socket. `due` is when it must be looked at again (seconds of the loop's clock)."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._app = shared.app
        self._loop = loop
        self._reader = RequestReader(self, shared.head_bytes)
        self._intake = Intake(self._reader, self)
        self._output = Output(loop)
        self._transport = NO_TRANSPORT
        self._share = Share("")
        self.current: HttpExchange | None = None
        """The request being answered; `_queue` holds those behind it that are whole, the reader the one that is not."""
        self._queue: list[HttpExchange] = []
        self._queued = 0
        """Bytes of the bodies in the queue."""
        self._advancing = self._half = self.deaf = self.closing = False
        self.due = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request; one connection too many is told so."""
        self._transport = self._output.transport = self._intake.transport = cast("asyncio.Transport", transport)
        self._share, welcome = self._shared.budget.enter(address_of(transport.get_extra_info("peername")))
        self._shared.connections.add(self)
        self.due = self._loop.time() + limits.HEAD_LIMIT
        short = bool(self.peer) and scarce(transport)
        if short or not welcome:
            self._reader.give_up()
            self.refuse(503, SHORT if short else "too many connections", [(b"retry-after", b"5")])

    def data_received(self, data: bytes) -> None:
        """Parse; requests that become whole are begun or queued."""
        self._intake.take(data)

    def eof_received(self) -> bool:
        """The client sends no more. What it has asked for whole is still answered, for a while; a stream ends."""
        current = self.current
        waits = current is not None and not current.begun and current is not self._reader.incoming
        if self.closing or not (waits or (current is None and self._queue)):
            return False
        self._half = True
        self.due = self._loop.time() + limits.HALF_CLOSED
        return True

    def pause_writing(self) -> None:
        """The client is behind with its reading."""
        self._output.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._output.resume()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell whoever answers here."""
        self.closing = self.deaf = True
        self._shared.lost(self)
        self._shared.budget.leave(self._share)
        self._give_up()
        for exchange in self._queue:
            self.free(exchange)
        self._queue.clear()
        self._output.resume()
        self._intake.close()  # whoever still answers holds this connection: it must hold itself by nothing
        self._reader.close()
        current, self.current = self.current, None
        if current is not None:
            current.lost()

    def begun(self) -> None:
        """The first byte of a request."""
        if self.current is None:
            self.due = self._loop.time() + limits.HEAD_LIMIT

    def headed(self, exchange: HttpExchange) -> None:
        """A head is whole: whether the body is wanted is known now."""
        exchange.oversize = exchange.length > self._app.body_limit
        if self.current is None and not self._queue:
            self._invite(exchange)

    def part(self, exchange: HttpExchange, body: bytes) -> None:
        """Some of a body; of a refused request it is thrown away."""
        exchange.size += len(body)
        if exchange.oversize:
            return
        if exchange.size > self._app.body_limit:
            exchange.oversize = True
            exchange.parts.clear()
            self.free(exchange)
            if exchange.done:
                self._close()
            elif self.current is exchange:
                self._admit(exchange)
        elif not exchange.done:
            if self._shared.budget.hold(self._share, len(body), self._app.body_limit):
                exchange.held += len(body)
                exchange.parts.append(body)
            else:
                self.refuse(503, "too many requests are being read", [(b"retry-after", b"1")])

    def whole(self, exchange: HttpExchange) -> None:
        """A request is whole."""
        if exchange.done:
            return
        parts = exchange.parts
        exchange.body = b"".join(parts) if len(parts) != 1 else parts[0]
        parts.clear()
        if exchange is self.current:
            self._begin(exchange)
            return
        self._queue.append(exchange)
        self._queued += exchange.size
        self._advance()

    def refuse(self, status: int, text: str, extra: Headers = ()) -> None:
        """Answer what is no request and close; when an answer is under way, only close after it."""
        incoming = self._give_up()
        if self.current is not None and self.current is not incoming:
            self.deaf, self.current.keep = True, False
        elif self._queue or (incoming is not None and incoming.done):
            self._close()
        else:
            exchange = incoming or HttpExchange(self, "GET", "", b"", [], {})
            exchange.keep = False
            exchange.answer(status, json.dumps({"error": text}).encode(), extra=extra)

    @property
    def peer(self) -> str:
        """The address of the client, as connections are counted under it; empty for a unix socket."""
        return self._share.address

    @property
    def unsent(self) -> int:
        """What the client has not read yet, as far as it is still here (bytes)."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.closing:
            self._output.written += len(data)
            self._transport.write(data)

    async def room(self) -> None:
        """Return when the client is not behind with its reading."""
        await self._output.room()

    def finished(self, exchange: HttpExchange) -> None:
        """The answer to a request is whole."""
        self.current = None
        if exchange.held:
            self.free(exchange)
        self.due = self._loop.time() + limits.KEEP_ALIVE
        if not exchange.keep or self._shared.draining or (self._half and not self._queue):
            self._close()
        elif self._queue or self._reader.incoming is not None or self._intake.waits:
            self._advance()

    def abort(self) -> None:
        """Close the socket now, unsent bytes and all."""
        self.closing = self.deaf = True
        self._transport.abort()

    def expire(self, now: float) -> None:
        """Do what is due. A client that still takes its answer is never cut."""
        progress = self._output.look(now)
        if progress == "behind" or (progress == "idle" and now < self.due):
            return
        if progress == "stalled" or self.deaf or self._half:
            self.abort()
        elif self._reader.reading:
            self.refuse(408, "the request did not come to its end in time")
        else:
            self._close()

    def drain(self) -> None:
        """Close after the answer under way; at once when there is none."""
        if self.current is None and not self._queue:
            self._close()
        elif self.current is not None:
            self.current.keep = False

    @property
    def full(self) -> bool:
        """Whether so much waits behind the request being answered that no more is read."""
        incoming = self._reader.incoming
        if incoming is None and not self._queue:
            return False
        behind = incoming.size if incoming is not None and incoming is not self.current else 0
        return len(self._queue) >= limits.PIPELINED or self._queued + behind > limits.PIPELINED_BYTES

    def _invite(self, exchange: HttpExchange) -> None:
        """Admit a request whose body is still to come; one that asks first is told to send it."""
        self.due = self._loop.time() + limits.BODY_LIMIT
        asks = b"expect" in exchange.headers and exchange.newer and exchange.headers[b"expect"].lower() == b"100-continue"
        keep = exchange.keep
        exchange.keep = keep and not asks  # after a refusal nobody knows whether the body comes
        self._admit(exchange)
        if not exchange.done:
            exchange.keep = keep
            if asks:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _admit(self, exchange: HttpExchange) -> None:
        """Ask whether a request may come in; a refusal is its answer."""
        self.current = exchange
        if exchange.oversize:
            exchange.keep = False
            self._app.too_large(exchange)
        else:
            exchange.serve = self._app.admit(exchange)

    def _begin(self, exchange: HttpExchange) -> None:
        serve, exchange.serve = exchange.serve, None  # what serves it holds it: no circle for the collector
        if serve is None:
            return
        self.due = self._loop.time() + limits.HALF_CLOSED if self._half else math.inf
        try:
            rest = serve()
        except Exception as error:  # noqa: BLE001  told where the work of tasks is
            rest = broken(error)
        if rest is not None:
            self.go_on(exchange, rest)

    def go_on(self, exchange: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
        """Do the work for a request in a task of its own."""
        self._shared.tasks.add(self._loop.create_task(self._shared.serve(self, exchange, work), name="request"))

    def _advance(self) -> None:
        """Begin requests that wait, one after the other."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue and self.current is None and not self._output.full and not self.deaf:
                exchange = self._queue.pop(0)
                self._queued -= exchange.size
                self._admit(exchange)
                if not exchange.done:
                    self._begin(exchange)
            incoming = self._reader.incoming
            if incoming is not None and self.current is None and not self._output.full and not incoming.done and not self.deaf:
                self._invite(incoming)
        finally:
            self._advancing = False
        self._intake.go_on()

    def _give_up(self) -> HttpExchange | None:
        """Forget the request that is being read; its head, when that was whole."""
        incoming = self._reader.give_up()
        if incoming is not None:
            incoming.parts.clear()
            incoming.serve = None
            self.free(incoming)
        return incoming

    def free(self, exchange: HttpExchange) -> None:
        """The bytes of a request are needed no more."""
        held, exchange.held = exchange.held, 0
        if held:
            self._shared.budget.free(self._share, held)

    def _close(self) -> None:
        """Close when the client has its answer; while it still sends, a closed socket would take the answer from it."""
        if self._transport.is_closing():
            return
        self.closing = self.deaf = True
        if not self._reader.reading or self._half or (self.peer and scarce(self._transport, 0.5)):
            self._transport.close()
            return
        self.due = self._loop.time() + limits.LINGER
        self.current = None
        self._give_up()
        self._intake.drop()
        if self._transport.can_write_eof():
            self._transport.write_eof()
