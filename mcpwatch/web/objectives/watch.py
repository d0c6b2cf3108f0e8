"""One route over time: from looks (probes) to seconds that were good, bad or announced, and to outages. Time comes in as data.

What a probe said holds until the next one, but not longer than `hold`: after that nobody knows. Lengths are measured on the
monotonic clock and placed on the wall clock as it is now, so a clock that is set makes no time good or bad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mcpwatch.model.time import Instant, WallTime
from mcpwatch.web.objectives.hour import HOUR, Hour, Outage

State = Literal["good", "bad", "unknown"]
EXIT = "exit"
"""The look that the end of a member counts as."""
_WORSE: dict[State, int] = {"unknown": 0, "good": 1, "bad": 2}
HourOf = Callable[[int], Hour]
"""Gives the counters of an hour (hours since the epoch)."""


@dataclass(frozen=True, slots=True)
class CheckObservation:
    """What one probe of one check said."""

    check: str
    state: State
    hold: float
    """Seconds for which that is known at most."""


class RouteWatch:
    """The memory of one route between two looks."""

    def __init__(self, hour_of: HourOf) -> None:
        self._hour_of = hour_of
        self._looks: dict[str, tuple[State, Instant]] = {}
        self._at: Instant | None = None
        self._outage: Outage | None = None

    @property
    def outage(self) -> Outage | None:
        """The outage that is going on; `end` is when it was last seen."""
        return self._outage

    @property
    def ended(self) -> bool:
        """Whether its member ended and nothing has answered since."""
        return EXIT in self._looks

    def look(self, look: CheckObservation, now: Instant, wall: WallTime, *, announced: bool) -> None:
        """A probe has ended."""
        self.pass_time(now, wall, announced=announced)
        if look.state == "good":
            self._looks.pop(EXIT, None)  # what answers has not ended
        self._looks[look.check] = (look.state, Instant(now + look.hold))
        state = self._state(now)
        if state == "bad":
            self.fail(wall, announced=announced)
        elif state == "good":
            self._end(wall)

    def fail(self, wall: WallTime, *, announced: bool, cause: str = "") -> None:
        """Something says that the route is down from now on at the latest (a probe, or the end of its member)."""
        if self._outage is None:
            self._outage = Outage(wall, wall, announced=announced, cause=cause)
        else:
            self._outage = replace(self._outage, end=max(wall, self._outage.begin), cause=cause or self._outage.cause)

    def told(self, wall: WallTime, cause: str = "") -> None:
        """The verdict fell: the outage is detected."""
        if self._outage is not None:
            detected = self._outage.detected if self._outage.detected is not None else wall
            self._outage = replace(self._outage, detected=detected, cause=cause or self._outage.cause)

    def blind(self, *, slept: bool = False) -> None:
        """Nobody watched since the last look: that time is unknown, and so is the state until the next look.

        A member that ended before the machine `slept` is no less gone after it: nothing else would ever tell that again.
        """
        self._looks = {check: look for check, look in self._looks.items() if slept and check == EXIT}
        self._at = None

    def pass_time(self, now: Instant, wall: WallTime, *, announced: bool) -> None:
        """Count the time since the last call by what was known in it."""
        if self._at is None or not self._looks:
            self._at = now
            return
        begin = self._at
        ends = sorted({until for _, until in self._looks.values() if begin < until < now})
        for end in (*ends, now):
            self._count(self._state(begin), wall - (now - begin), end - begin, announced=announced)
            begin = end
        self._looks = {check: (state, until) for check, (state, until) in self._looks.items() if until > now}
        self._at = now

    def _end(self, wall: WallTime) -> None:
        """It works again. What never reached a verdict was no outage that anybody was told of, but its seconds are counted."""
        outage, self._outage = self._outage, None
        if outage is not None and outage.detected is not None:
            self._hour_of(int(wall // HOUR)).outages.append(replace(outage, end=max(wall, outage.begin)))

    def _state(self, at: Instant) -> State:
        """The worst of what is known then."""
        worst: State = "unknown"
        for state, until in self._looks.values():
            if until > at and _WORSE[state] > _WORSE[worst]:
                worst = state
        return worst

    def _count(self, state: State, wall: float, seconds: float, *, announced: bool) -> None:
        """Add the seconds to the hours they fall into."""
        while seconds > 1e-9 and state != "unknown":
            number = int(wall // HOUR)
            part = min(seconds, (number + 1) * HOUR - wall)
            hour = self._hour_of(number)
            if state == "good":
                hour.good += part
            elif announced:
                hour.announced += part
            else:
                hour.bad += part
            wall, seconds = wall + part, seconds - part
