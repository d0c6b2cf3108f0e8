"""The same bytes read by our parsers and by h11: what each of them takes for a message."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import h11

from mcpwatch.gateway.http.http_exchange import Headers, HttpExchange
from mcpwatch.gateway.http.request_reader import RequestReader
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.failure import HttpFailed

HEAD_BYTES = 16 * 1024

Request = tuple[bytes, bytes, bytes]
"""Method, target as it was sent, body."""


@dataclass
class Reading:
    """What was read: whole requests, and why no more was: an error, or that a connection ends here. Neither: more is waited for."""

    requests: list[Request] = field(default_factory=list[Request])
    error: str = ""
    closed: bool = False
    partial: tuple[bytes, bytes] | None = None
    """Method and body of the request that the error ended."""


class Recorder:
    """Takes the requests of a `RequestReader`. `targets` of requests are as the parser gave them."""

    def __init__(self) -> None:
        self.deaf = self.closing = False
        self.unsent = 0
        self.peer = ""
        self.reading = Reading()
        self.reader = RequestReader(self, HEAD_BYTES)

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.deaf:
            view = view[self.reader.feed(view) :]

    def begun(self) -> None:
        """A request begins."""

    def headed(self, exchange: HttpExchange) -> None:
        """Its head is whole."""

    def part(self, exchange: HttpExchange, body: bytes) -> None:
        exchange.parts.append(body)

    def whole(self, exchange: HttpExchange) -> None:
        target = exchange.path.encode() + (b"?" + exchange.query if exchange.query else b"")
        self.reading.requests.append((exchange.method.encode(), target, b"".join(exchange.parts)))
        if not exchange.keep:
            self.deaf = self.reading.closed = True

    def refuse(self, status: int, text: str, extra: Headers = ()) -> None:
        self.deaf = True
        self.reading.error = f"{status} {text}"

    def write(self, data: bytes) -> None:
        raise AssertionError("a reader writes nothing")

    async def room(self) -> None:
        """There is always room."""

    def finished(self, exchange: HttpExchange) -> None:
        """Nothing is answered here."""

    def go_on(self, exchange: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
        raise AssertionError("nothing is answered here")

    def abort(self) -> None:
        raise AssertionError("a callback failed")


def ours(data: bytes, cuts: tuple[int, ...] = ()) -> Reading:
    """What our server reads, the bytes handed over in pieces that end at `cuts`."""
    recorder = Recorder()
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        recorder.feed(data[start:end])
    return recorder.reading


def by_h11(data: bytes) -> Reading:
    """What h11 reads as a server."""
    found = Reading()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=4 * HEAD_BYTES)
    connection.receive_data(data)
    head, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if head is not None:
                    found.requests.append((bytes(head.method), bytes(head.target), body))
                head = None
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    found.closed = True
                    return found
                connection.start_next_cycle()
            else:
                found.closed = event is h11.PAUSED
                return found
    except h11.ProtocolError as error:
        found.error = str(error)
        found.partial = (bytes(head.method), body) if head is not None else None
        return found


@dataclass
class Answer:
    """What was read of one answer. `whole`: to its end, while the connection is still open."""

    status: int = 0
    body: bytes = b""
    whole: bool = False
    error: str = ""


class Transport:
    """A socket that sends nowhere."""

    def write(self, data: bytes) -> None:
        """Nobody is there."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """There is nothing to close."""

    def pause_reading(self) -> None:
        """What is left in the socket is handed over all the same."""

    def resume_reading(self) -> None:
        """See above."""


async def our_answer(data: bytes, cuts: tuple[int, ...] = ()) -> Answer:
    """What our client reads of the answer to a GET; the connection stays open."""
    connection = ClientConnection()
    connection.connection_made(cast("asyncio.Transport", Transport()))
    asking = asyncio.get_running_loop().create_task(connection.exchange(b"GET / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        if end > start:
            connection.data_received(data[start:end])
    found = Answer(whole=connection.complete)
    connection.connection_lost(ConnectionResetError())
    try:
        await asking
        found.status = connection.status
        while (part := await connection.next_part()) is not None:
            found.body += part
    except HttpFailed as error:
        found.error = str(error)
    return found


def answer_by_h11(data: bytes) -> Answer:
    """What h11 reads of the answer to a GET."""
    found = Answer()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 * 1024)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                found.status = event.status_code
            elif isinstance(event, h11.Data):
                found.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.whole = True
                return found
            elif not isinstance(event, h11.InformationalResponse):
                return found
    except h11.ProtocolError as error:
        found.error = str(error)
        return found
