"""A connection without a socket: what a peer sends is handed over, what is done to the socket is noted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.budget import Budget
from mcpwatch.gateway.http.connection import ServerConnection
from mcpwatch.gateway.http.http_exchange import HttpExchange, Serve
from mcpwatch.gateway.http.shared import Shared

READ = 64 * 1024
"""What an endless sender sends at once (bytes)."""


class FakeTransport:
    """Takes what is written; `peer` is its address."""

    def __init__(self, peer: object = ("127.0.0.1", 1)) -> None:
        self.peer = peer
        self.sent = bytearray()
        self.closed = self.aborted = self.paused = self.ended = False

    def get_extra_info(self, name: str) -> object:
        return self.peer if name == "peername" else None

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Keeper:
    """An application that notes whole requests and answers them; `/no` is refused by its head, `/held` is never answered."""

    def __init__(self, body_limit: int = 100_000) -> None:
        self.body_limit = body_limit
        self.admitted = 0
        self.served: list[HttpExchange] = []

    def admit(self, turn: HttpExchange) -> Serve | None:
        self.admitted += 1
        if turn.path == "/no":
            turn.answer(401, b"{}")
            return None
        return lambda: self._serve(turn)

    def too_large(self, turn: HttpExchange) -> None:
        turn.answer(413, b"{}")

    async def _serve(self, turn: HttpExchange) -> None:
        self.served.append(turn)
        if turn.path == "/held":
            await asyncio.get_running_loop().create_future()
        turn.answer(200, turn.body)


class Wireless:
    """A connection of the server on a transport that is none."""

    def __init__(
        self, app: Keeper | None = None, budget: Budget | None = None, head_bytes: int = 4096, peer: object = None
    ) -> None:
        self.app = app or Keeper()
        self.shared = Shared(self.app, head_bytes, budget or Budget(limits.CONNECTIONS, limits.CONNECTIONS_PER_ADDRESS))
        self.transport = FakeTransport(peer or ("127.0.0.1", 1))
        self.connection = ServerConnection(self.shared, asyncio.get_running_loop())
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        self.taken = 0

    async def send(self, data: bytes, size: int = READ) -> bool:
        """Hand over bytes, as long as they are taken; whether all of them were. Lets what runs go on after each piece."""
        for start in range(0, len(data), size):
            if self.transport.closed or self.transport.paused:
                return False
            piece = data[start : start + size]
            self.connection.data_received(piece)
            self.taken += len(piece)
            await asyncio.sleep(0)
        return True

    async def flood(self, begin: bytes, again: bytes, most: int) -> int:
        """Send `begin`, then `again` until nothing more is taken, but at most `most` bytes; returns how many bytes were taken."""
        await self.send(begin)
        piece = again * max(1, READ // len(again))
        while self.taken <= most and await self.send(piece):
            continue
        return self.taken

    def end(self) -> None:
        """The client is gone; what runs is cancelled."""
        self.connection.connection_lost(None)
        for task in list(self.shared.tasks):
            task.cancel()


def held_bytes(connection: Any) -> int:
    """Bytes that a connection keeps in memory: what was not parsed, heads and bodies that are not whole, the queue."""
    reader, intake = connection._reader, connection._intake
    incoming = reader.incoming
    heads = sum(len(name) + len(value) for name, value in reader._lines) + len(reader._url)
    body = sum(map(len, incoming.parts)) if incoming is not None else 0
    queue = sum(len(turn.body) + sum(len(name) + len(value) for name, value in turn.lines) for turn in connection._queue)
    return len(intake._rest) + heads + body + queue
