"""What the connections of one listener share: the application, the budget, who is there, what runs.

Owns that state alone. Must not know sockets or HTTP.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from mcpwatch.gateway.http.budget import Budget
from mcpwatch.gateway.http.http_exchange import App


class Held(Protocol):
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


@dataclass(eq=False)
class Shared:
    """The state of one listener. `head_bytes` bounds the head of a request."""

    app: App
    head_bytes: int
    budget: Budget
    draining: bool = False
    connections: set[Held] = field(default_factory=set[Held])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection is gone while the listener drains."""

    def ended(self) -> None:
        """The task that runs now has served its request."""
        task = asyncio.current_task()
        if task is not None:
            self.tasks.discard(task)

    def lost(self, connection: Held) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self.empty.set()
