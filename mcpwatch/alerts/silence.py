"""What mutes an alert by somebody's wish: silences, and maintenance windows one-off or by cron. Pure.

A silence keeps a first message or a repeat from being sent. It never keeps back the end of what a receiver was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from zoneinfo import ZoneInfo

from mcpwatch.alerts.book import Silence
from mcpwatch.model import cron
from mcpwatch.model.time import WallTime

LABELS = ("alert", "kind", "member", "route", "name", "severity", "cause", "symptom")
"""What a pattern may be written for. `name` is the member, the route, or the subject, whichever is there."""

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window from the configuration: from `start` to `end`, or `duration` seconds from every match of `cron`."""

    name: str
    match: tuple[tuple[str, str], ...] = ()
    start: WallTime | None = None
    end: WallTime | None = None
    cron: str = ""
    duration: float = 0.0
    timezone: str = "UTC"

    def active(self, now: WallTime) -> bool:
        """Whether the window is open at `now`."""
        if self.cron:
            return _begun(self, int(now // MINUTE)) is not None
        return (self.start or 0) <= now and (self.end is None or now < self.end)

    def changes(self, now: WallTime) -> WallTime | None:
        """The first moment after `now` at which it may open or close; `None`: never again."""
        if self.cron:
            return _next_in_cron(self, int(now // MINUTE))
        return min((one for one in (self.start, self.end) if one is not None and one > now), default=None)


def matches(patterns: Iterable[tuple[str, str]], labels: Mapping[str, str]) -> bool:
    """Whether every pattern fits its label; several patterns for one label (`a|b`) are alternatives."""
    return all(any(_fits(label, one, labels) for one in pattern.split("|")) for label, pattern in patterns)


def muting(silences: Iterable[Silence], windows: Iterable[Window], labels: Mapping[str, str], now: WallTime) -> str:
    """What mutes an alert with these labels now, in words, or the empty string."""
    for silence in silences:
        if silence.since <= now < silence.until and matches(silence.match, labels):
            return f"{'maintenance' if silence.maintenance else 'silence'} {silence.id}"
    return next((f"maintenance {one.name}" for one in windows if matches(one.match, labels) and one.active(now)), "")


def living(silences: Iterable[Silence], now: WallTime) -> tuple[Silence, ...]:
    """The silences that have not expired."""
    return tuple(silence for silence in silences if now < silence.until)


def _fits(label: str, pattern: str, labels: Mapping[str, str]) -> bool:
    values = {labels.get(key, "") for key in ("member", "route", "name")} if label == "name" else {labels.get(label, "")}
    return any(fnmatchcase(value, pattern) for value in values)


@lru_cache(maxsize=256)
def _begun(window: Window, minute: int) -> int | None:
    """The latest minute at which the window that is open in `minute` began, or `None`: it is closed.

    One UTC minute is one local minute, so DST needs no care.
    """
    rule, zone = cron.parse(window.cron), ZoneInfo(window.timezone)
    open_for = range(minute, minute - _minutes(window), -1)
    return next((one for one in open_for if rule.matches(_at(one).astimezone(zone))), None)


@lru_cache(maxsize=256)
def _next_in_cron(window: Window, minute: int) -> WallTime | None:
    zone = ZoneInfo(window.timezone)
    opens = cron.parse(window.cron).following(_at(minute), lambda at: at.astimezone(zone))
    begun = _begun(window, minute)
    ends = None if begun is None else (begun + _minutes(window)) * MINUTE
    return min((WallTime(one) for one in (opens and opens.timestamp(), ends) if one is not None), default=None)


def _minutes(window: Window) -> int:
    return max(1, int(window.duration // MINUTE))


def _at(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * MINUTE, UTC)
