"""What the connections of one listener share: the application, the budget, who is there, what runs.

Owns that state alone. Must not know sockets or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcpwatch.gateway.http.budget import Budget
from mcpwatch.gateway.http.http_exchange import Application, HttpExchange

log = logging.getLogger("mcpwatch.gateway")


class WatchedConnection(Protocol):
    """A connection, as its listener looks after it."""

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        ...

    def expire(self, now: float) -> None:
        """Do what is due (`now`: seconds of the loop's clock)."""
        ...

    def drain(self) -> None:
        """Close after the answer under way."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...

    def free(self, exchange: HttpExchange) -> None:
        """The bytes of a request are needed no more."""
        ...


@dataclass(eq=False)
class Shared:
    """The state of one listener. `head_bytes` bounds the head of a request."""

    app: Application
    head_bytes: int
    budget: Budget
    draining: bool = False
    connections: set[WatchedConnection] = field(default_factory=set[WatchedConnection])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection is gone while the listener drains."""

    async def serve(self, connection: WatchedConnection, exchange: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
        """Do the work for one request, in a task of `tasks`; when it breaks, that is answered, or the connection closed."""
        promised = False
        try:
            await work
            promised = exchange.promised
        except Exception:
            log.exception("a request failed")
        finally:
            task = asyncio.current_task()
            if task is not None:
                self.tasks.discard(task)
            if exchange.held:
                connection.free(exchange)
        if exchange.done or promised:
            return
        if exchange.begun:
            connection.abort()
        else:
            exchange.answer(500, b'{"error":"internal error"}')

    def lost(self, connection: WatchedConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self.empty.set()


async def broken(error: Exception) -> None:
    """Work that has broken before it could begin."""
    raise error
