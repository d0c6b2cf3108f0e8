"""How fast members are started: the first few at once, a storm one after the other. Pure; the runtime sleeps what it says.

A hundred members that die at once, or a cold boot, must not make a hundred interpreters start in the same instant: each would be
slower, all would miss their start grace, and the checks of those that live would be late.
"""

from __future__ import annotations

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
