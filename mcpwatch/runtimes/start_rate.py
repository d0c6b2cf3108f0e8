"""How fast members are started: the first few at once, a storm one after the other, and never so many that the loop stands.

A hundred members that die at once, or a cold boot, must not make a hundred interpreters start in the same instant: each would be
slower, all would miss their start grace, and the checks of those that live would be late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 10
"""Starts that are made at once."""
RATE = 150.0
"""Starts a second beyond that."""


@dataclass(frozen=True, slots=True)
class StartRate:
    """When the next starts may be made: a virtual time that each start moves on by `1/RATE`, at most `BURST` behind."""

    due: float = float("-inf")

    def take(self, now: float) -> tuple[StartRate, float]:
        """The pace after one more start, and the seconds that this one has to wait."""
        due = max(self.due, now - BURST / RATE) + 1 / RATE
        return StartRate(due), max(0.0, due - now)


TURN = 0.03
"""Seconds of processor that starts may take in one turn of the loop."""


class StartTurns:
    """Who is due starts at once until `TURN` is spent, and then in the loop's next turn: what came in is answered in between."""

    def __init__(self, spent: Callable[[], float] = time.thread_time) -> None:
        self._spent = spent
        self._until: float | None = None
        self._next: asyncio.Event | None = None

    async def take(self) -> None:
        """Return when one more may be started, which must be done without a wait. In each turn that is at least one."""
        while self._until is not None and self._spent() >= self._until:
            self._next = self._next or asyncio.Event()
            await self._next.wait()
        if self._until is None:
            self._until = self._spent() + TURN
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Another turn of the loop: what was spent in the last one is held against nobody."""
        waited, self._until, self._next = self._next, None, None
        if waited is not None:
            waited.set()
