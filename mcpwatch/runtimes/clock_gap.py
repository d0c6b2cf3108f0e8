"""Times in which the watchdog did not watch: stopped, suspended, hung, or its clock set. Pure; `self_watch` feeds it.

Three clocks tell them apart: monotonic time stands still while the machine is suspended, boot time goes on, wall time can be set.
What happened in a gap is unknown, and must not be judged as if it had been seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcpwatch.model.time import WallTime

TOLERANCE = 2.0
"""Seconds by which a tick may be late, or the wall clock be off, before it is told: a busy machine is not a gap."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One reading of the three clocks, in seconds."""

    monotonic: float
    boot: float
    wall: float


@dataclass(frozen=True, slots=True)
class Gap:
    """`seconds` not watched (or, for `clock_step`, by which the wall clock was set: negative is back), ending at `until`."""

    cause: Literal["stopped", "suspended", "clock_step"]
    seconds: float
    until: WallTime

    @property
    def text(self) -> str:
        """One sentence for people."""
        match self.cause:
            case "suspended":
                return f"the machine was suspended for {self.seconds:.1f}s; what happened meanwhile is unknown"
            case "stopped":
                return f"the watchdog did not run for {self.seconds:.1f}s; what happened meanwhile is unknown"
            case "clock_step":
                return f"the wall clock was set {'on' if self.seconds > 0 else 'back'} by {abs(self.seconds):.1f}s"


def gaps(before: Tick, now: Tick, every: float, tolerance: float = TOLERANCE) -> tuple[Gap, ...]:
    """What was missed between two ticks that should be `every` seconds apart."""
    ran, passed, shown = now.monotonic - before.monotonic, now.boot - before.boot, now.wall - before.wall
    found: list[Gap] = []
    suspended, late, stepped = passed - ran, ran - every, shown - passed
    if suspended > tolerance:
        found.append(Gap("suspended", suspended, WallTime(now.wall)))
    if late > tolerance:
        found.append(Gap("stopped", late, WallTime(now.wall)))
    if abs(stepped) > tolerance:
        found.append(Gap("clock_step", stepped, WallTime(now.wall)))
    return tuple(found)
