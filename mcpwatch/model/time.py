"""The two kinds of time. `Instant` orders and measures; `WallTime` is for people, files and other machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

Instant = NewType("Instant", float)
"""Seconds on the boot clock (monotonic, counts suspend). Comparable only on one machine, within one boot."""

WallTime = NewType("WallTime", float)
"""Seconds since the Unix epoch, UTC."""


def later(instant: Instant, seconds: float) -> Instant:
    """`instant` plus `seconds`."""
    return Instant(instant + seconds)


def iso(at: WallTime) -> str:
    """RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T04:10:00.123Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
