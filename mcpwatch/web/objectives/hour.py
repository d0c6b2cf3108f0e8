"""What was measured of one route in one hour of wall time, and the sum of many hours. Pure; also its JSON form in the store.

Seconds are counted, not probes: a route that is looked at more often while it is down is not more down for that. An hour is
written over what was kept of it, so one that another watchdog began, or that comes again because the clock was set back, must
take up what is stored first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HOUR = 3600
STEP = 1.02
"""Width of a latency bucket: a percentile is told at most 2 % too high."""
OUTAGES = '"outages":'
"""What the JSON of an hour holds in which an outage ended."""
FLOOR = 0.0001
"""Seconds: everything faster is in the first bucket."""


Seconds = tuple[float, float, float]
"""Good, bad and announced seconds of an hour: a plain tuple, for a large fleet has many and the garbage collector skips them."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One time without service, all times on the wall clock. `detected` is when the verdict fell, `None` when it never did."""

    begin: float
    end: float
    detected: float | None = None
    announced: bool = False
    cause: str = ""

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return max(0.0, self.end - self.begin)


@dataclass(slots=True)
class Hour:
    """Counters of one route. `good`, `bad` and `announced` (down in an announced maintenance) are seconds; the rest is unknown."""

    good: float = 0.0
    bad: float = 0.0
    announced: float = 0.0
    connects: dict[int, int] = field(default_factory=dict[int, int])
    """Connections made, by latency bucket."""
    calls: int = 0
    errors: int = 0
    counted: bool = False
    """Whether the gateway told its counters at all."""
    clients: int = 0
    """Most clients at once."""
    outages: list[Outage] = field(default_factory=list[Outage])

    @property
    def seconds(self) -> Seconds:
        """Good, bad and announced seconds alone."""
        return self.good, self.bad, self.announced

    @property
    def watched(self) -> float:
        """Seconds in which the state of the route was known."""
        return self.good + self.bad + self.announced

    def connected(self, seconds: float) -> None:
        """Count one connection."""
        bucket = bucket_of(seconds)
        self.connects[bucket] = self.connects.get(bucket, 0) + 1


def bucket_of(seconds: float) -> int:
    """The latency bucket of a time: its upper bound is not less than the time."""
    return 0 if seconds <= FLOOR else math.ceil(math.log(seconds / FLOOR, STEP) - 1e-9)


def percentile(connects: Mapping[int, int], share: float) -> float | None:
    """Seconds within which `share` of the connections were made (upper bound of its bucket); `None` without any."""
    total, seen = sum(connects.values()), 0
    for bucket in sorted(connects):
        seen += connects[bucket]
        if seen >= share * total - 1e-9:
            return FLOOR * STEP**bucket
    return None


def summed(hours: Iterable[Hour]) -> Hour:
    """All of them as one."""
    total = Hour()
    for hour in hours:
        add(total, hour)
    return total


def add(total: Hour, hour: Hour) -> None:
    """Add an hour to a sum."""
    total.good += hour.good
    total.bad += hour.bad
    total.announced += hour.announced
    total.calls += hour.calls
    total.errors += hour.errors
    total.counted = total.counted or hour.counted
    total.clients = max(total.clients, hour.clients)
    total.outages += hour.outages
    for bucket, count in hour.connects.items():
        total.connects[bucket] = total.connects.get(bucket, 0) + count


def to_json(hour: Hour) -> str:
    """As kept in the store."""
    outages = [[one.begin, one.end, one.detected, one.announced, one.cause] for one in hour.outages]
    body = {
        "good": round(hour.good, 3),
        "bad": round(hour.bad, 3),
        "announced": round(hour.announced, 3),
        "connects": hour.connects,
        "calls": hour.calls,
        "errors": hour.errors,
        "counted": hour.counted,
        "clients": hour.clients,
        "outages": outages,
    }
    return json.dumps({key: value for key, value in body.items() if value}, separators=(",", ":"))


def last_outage(hour: Hour) -> Outage | None:
    """The one that ended last in this hour."""
    return max(hour.outages, key=lambda one: one.end, default=None)


def from_json(text: str) -> Hour:
    """As read from the store; what is not understood counts as nothing."""
    try:
        body: dict[str, Any] = json.loads(text)
        return Hour(
            float(body.get("good", 0)),
            float(body.get("bad", 0)),
            float(body.get("announced", 0)),
            {int(bucket): int(count) for bucket, count in body.get("connects", {}).items()},
            int(body.get("calls", 0)),
            int(body.get("errors", 0)),
            bool(body.get("counted", False)),
            int(body.get("clients", 0)),
            [Outage(*one) for one in body.get("outages", [])],
        )
    except (ValueError, TypeError, AttributeError):
        return Hour()


Hours = dict[int, Hour]


class WholeHours:
    """The hours of all routes of a meter that begins in hour `present`."""

    def __init__(self, present: int) -> None:
        self._latest = present
        self._whole: set[int] = set()
        self.behind: set[int] = {present - 1, present}
        """Hours that must take up what is stored of them."""

    def of(self, hours: Hours, number: int) -> Hour:
        """The counters of an hour of one route."""
        found = hours.get(number)
        if found is None:
            found = hours[number] = Hour()
            if number > self._latest:
                self._latest = number
                self._whole.add(number)
            elif number not in self._whole:
                self.behind.add(number)
        return found

    def taken_up(self, number: int) -> None:
        """What is stored of this hour was added to all routes."""
        self.behind.discard(number)
        self._whole.add(number)

    def forget(self, hours: Hours, present: int) -> None:
        """Forget the hours of a route that are over and written."""
        for number in [number for number in hours if number < present - 1 and number not in self.behind]:
            del hours[number]

    def turn(self, present: int) -> None:
        """Hours that were forgotten are whole no more, should they come again."""
        self._whole = {number for number in self._whole if number >= present - 1}
