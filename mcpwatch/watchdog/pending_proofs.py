"""Probes of starts that are under way: a start that is due to be proven waits for the one that may prove it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from functools import partial

from mcpwatch.model.time import Instant

LATE = 1.0
"""Seconds beyond its timeout for which such a probe is waited for at most: a prober that is late itself holds nobody up."""


class PendingProofs:
    """At most one for each check: when it began, and what is set when it is over."""

    def __init__(self) -> None:
        self._living: dict[str, tuple[Instant, asyncio.Event]] = {}

    @contextlib.contextmanager
    def under_way(self, check: str, began: Instant) -> Generator[None]:
        """A probe of a start runs, and what it finds is judged, for the length of a block."""
        mine = self._living[check] = (began, asyncio.Event())
        try:
            yield
        finally:
            mine[1].set()
            if self._living.get(check) is mine:
                del self._living[check]

    def before(self, check: str, due: Instant, timeout: float) -> Callable[[], Awaitable[None]] | None:
        """What ends when the probe of this check does, if one is under way that began before then; else `None`."""
        began, over = self._living.get(check, (due, asyncio.Event()))
        return partial(_ended, over, timeout + LATE) if began < due and not over.is_set() else None


async def _ended(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()
    over.set()  # and is waited for once
