"""What clients wait for and get from members, as the gateway tells. For a thread: asking blocks, and not for long.

One question is asked for all members, and what came of it kept for a moment: a gateway that hangs, or is stopped, answers none, and
who asks is to learn just that of it from the machine, with members by the dozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mcpwatch.clock import Clock, SystemClock
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.member import ClientCalls
from mcpwatch.model.time import Instant
from mcpwatch.runtimes.admin import AdminClient
from mcpwatch.runtimes.hosted_children import read_document

LIMIT = 2.0
"""Seconds that the answer may take."""
KEPT = 1.0
"""Seconds for which it counts."""


class GatewayCalls:
    """What one gateway tells."""

    def __init__(self, gateway: AdminClient, clock: Clock | None = None, limit: float = LIMIT) -> None:
        self._gateway = gateway
        self._clock = clock or SystemClock()
        self._limit = limit
        self._told: Mapping[str, ClientCalls] = {}
        self._until: float | None = None

    def of(self, member: str) -> ClientCalls:
        """Those of one member, hosted or by URL."""
        if self._until is None or self._clock.now() >= self._until:
            self._told = asyncio.run(self._ask())
            self._until = self._clock.now() + KEPT
        return self._told.get(member, ClientCalls())

    async def _ask(self) -> dict[str, ClientCalls]:
        try:
            async with asyncio.timeout(self._limit):
                reply = await self._gateway.request("GET", "/members")
        except (RuntimeFailed, TimeoutError):
            return {}
        now, children = self._clock.now(), read_document(reply.body).children
        return {one.name: _calls(one.served, now) for one in children}


def _calls(served: Mapping[str, float], now: float) -> ClientCalls:
    def at(name: str) -> Instant | None:
        return Instant(now - served[name]) if name in served else None

    return ClientCalls(
        waiting_since=at("oldest_call"),
        answered_at=at("last_answer"),
        called_at=at("last_tool_answer"),
        progress_at=at("last_progress"),
        given_up=at("given_up"),
        lately=int(served.get("answers", 0)),
    )
