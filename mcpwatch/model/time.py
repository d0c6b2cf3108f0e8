"""The two kinds of time. `Instant` orders and measures; `WallTime` is for people, files and other machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

Instant = NewType("Instant", float)
"""Seconds on the boot clock (monotonic, counts suspend). Comparable only on one machine, within one boot."""

WallTime = NewType("WallTime", float)
"""Seconds since the Unix epoch, UTC."""

CLOCK_SET = 2.0
"""Seconds by which the wall clock must be off for it to have been set."""


def later(instant: Instant, seconds: float) -> Instant:
    """`instant` plus `seconds`."""
    return Instant(instant + seconds)


def placed(told: WallTime | None, at: Instant | None, now: Instant, wall: WallTime) -> WallTime | None:
    """A moment on the wall clock as it is now, `told` by it as it was then; a clock that was not set since leaves it as it is."""
    if told is None or at is None:
        return told
    meant = WallTime(wall - (now - at))
    return meant if abs(meant - told) > CLOCK_SET else told


def iso(at: WallTime) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T04:10:00.123Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
