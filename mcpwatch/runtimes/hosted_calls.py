"""Since when clients have been waiting for answers of members, as the gateway tells. For a thread: asking blocks, and not for long.

One question is asked for all members, and what came of it kept for a moment: a gateway that hangs, or is stopped, answers none, and
who asks is to learn just that of it from the machine, with members by the dozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mcpwatch.clock import Clock, SystemClock
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.time import Instant
from mcpwatch.runtimes.admin import AdminClient
from mcpwatch.runtimes.hosted_children import read_document

LIMIT = 2.0
"""Seconds that the answer may take."""
KEPT = 1.0
"""Seconds for which it counts."""


class OldestCalls:
    """What one gateway tells."""

    def __init__(self, gateway: AdminClient, clock: Clock | None = None, limit: float = LIMIT) -> None:
        self._gateway = gateway
        self._clock = clock or SystemClock()
        self._limit = limit
        self._told: Mapping[str, Instant] = {}
        self._until: float | None = None

    def since(self, member: str) -> Instant | None:
        """Since when the oldest request of a client waits for a member, hosted or by URL; `None`: none, or not told."""
        if self._until is None or self._clock.now() >= self._until:
            self._told = asyncio.run(self._ask())
            self._until = self._clock.now() + KEPT
        return self._told.get(member)

    async def _ask(self) -> dict[str, Instant]:
        try:
            async with asyncio.timeout(self._limit):
                reply = await self._gateway.request("GET", "/members")
        except (RuntimeFailed, TimeoutError):
            return {}
        now, children = self._clock.now(), read_document(reply.body).children
        return {one.name: Instant(now - one.oldest_call) for one in children if one.oldest_call is not None}
