"""The two clocks, and the only place that reads them for deciding. Everything below takes time as data."""

from __future__ import annotations

import time
from typing import Protocol

from mcpwatch.model.time import Instant, WallTime

_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What tells time; tests bring their own."""

    def now(self) -> Instant:
        """Seconds on the boot clock: counts time spent suspended, never steps back."""
        ...

    def wall(self) -> WallTime:
        """Seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        """Seconds on the boot clock."""
        return Instant(time.clock_gettime(_BOOT))

    def wall(self) -> WallTime:
        """Seconds since the Unix epoch."""
        return WallTime(time.time())
