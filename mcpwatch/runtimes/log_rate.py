"""Whether a stream of a member is loud: so many lines a second, for so long, that nobody finds a word in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcpwatch.model.time import Instant

WINDOW = 5.0
"""Seconds for which lines are counted, at least."""
SPANS = 3
"""So many of these in a row make a stream loud: a burst that lies across two of them does not."""
LOUD = 1000.0
"""Lines a second from which on a stream is loud; it is calm again below half of that."""


@dataclass(frozen=True, slots=True)
class LineRate:
    """The lines of one stream since a moment; the lines a second of the span before, and how many loud ones came in a row."""

    since: Instant
    lines: int = 0
    latest: float = 0.0
    spans: int = 0
    loud: bool = False


def counted(rate: LineRate | None, lines: int, now: Instant) -> LineRate:
    """The rate after so many lines more."""
    if rate is None:
        return LineRate(now, lines)
    took, lines = now - rate.since, rate.lines + lines
    if took < WINDOW:
        return replace(rate, lines=lines)
    latest = lines / took
    spans = rate.spans + 1 if latest >= LOUD else 0
    return LineRate(now, 0, latest, spans, latest >= LOUD / 2.0 if rate.loud else spans >= SPANS)
