"""What is told of logging itself: that it stopped, that it goes on, and a member that writes faster than lines can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Troubled
from mcpwatch.model.time import Instant
from mcpwatch.ports import Publish

TELL_FLOOD = 30.0
"""Seconds between two facts about one flood."""
SUBJECT = "logs"
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


class ToldTrouble:
    """Publishes each trouble when it begins and when it is over."""

    def __init__(self, publish: Publish, clock: Clock) -> None:
        self._publish = publish
        self._clock = clock
        self._trouble = ""
        self._lost: dict[str, int] = {}
        self._flood_told: dict[str, float] = {}
        self._rates: dict[tuple[str, str], LineRate] = {}

    @property
    def loud(self) -> bool:
        """Whether a member is loud, so that its end is to be noticed though it writes nothing more."""
        return any(rate.loud for rate in self._rates.values())

    def lines(self, lines: Mapping[tuple[str, str], int]) -> None:
        """Tell when a stream begins to be loud, and when that is over. `lines`: of a member's stream, since the last time."""
        now = self._clock.now()
        for member, stream in {*lines, *(one for one, rate in self._rates.items() if rate.loud)}:
            before = self._rates.get((member, stream))
            rate = self._rates[member, stream] = counted(before, lines.get((member, stream), 0), now)
            if rate.loud == (before is not None and before.loud):
                continue
            text = f"{member}: floods its {stream}: about {rate.latest:.0f} lines a second"
            level, text = ("warning", text) if rate.loud else ("info", f"{member}: its {stream} is calm again")
            subject, wall = f"{stream} of {member}", self._clock.wall()
            self._publish(Troubled(at=wall, text=text, level=level, subject=subject, cleared=not rate.loud, member=member))

    def trouble(self, trouble: Exception | None) -> None:
        """Tell that logging stopped, and that it goes on; each once."""
        words = str(trouble) if trouble else ""
        if bool(words) == bool(self._trouble):
            return
        text = words or "members' output is logged again"
        level = "error" if words else "info"
        self._publish(Troubled(at=self._clock.wall(), text=text, level=level, subject=SUBJECT, cleared=not words))
        self._trouble = words

    def floods(self, floods: tuple[tuple[str, int], ...]) -> None:
        """Tell a flood when it begins, now and then while it lasts, and when it is over. The journal has a line for each gap."""
        now = self._clock.wall()
        for member, lines in floods:
            subject = f"logs of {member}"
            if lines:
                self._lost[member] = lines
                if now - self._flood_told.get(member, 0.0) < TELL_FLOOD:
                    continue
                self._flood_told[member] = now
                text = f"{member}: writes faster than its output can be kept; {lines} lines were not logged so far"
                self._publish(Troubled(at=now, text=text, level="warning", subject=subject, member=member))
            elif (dropped := self._lost.pop(member, None)) is not None:
                self._flood_told.pop(member, None)
                text = f"{member}: its output is kept again; {dropped} lines were not logged"
                self._publish(Troubled(at=now, text=text, subject=subject, member=member, cleared=True))
