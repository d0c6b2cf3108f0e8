"""Cron expressions: the only reading of them, for checks and for maintenance windows alike. Pure; the caller brings the time zone.

Five fields (minute, hour, day of month, month, weekday) or a name such as `@hourly`. Lists, ranges, steps, names of months and
days. Weekdays count from Sunday, 0 and 7 both mean it. When day of month and weekday are both restricted, either one matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for common expressions, as cron knows them."""
SEARCHED = timedelta(days=9 * 366)
"""How far ahead the next match is looked for: 29 February is at most eight years away."""

_PART = re.compile(r"(?:\*|(?P<low>[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?)(?:/(?P<step>[0-9]{1,4}))?", re.ASCII)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTE = timedelta(minutes=1)
_NEAR_MIDNIGHT = 180
"""Minutes before local midnight from which a walk goes by the hour: a clock change may move midnight that far."""

ToLocal = Callable[[datetime], datetime]
"""Turns a UTC time into the local time that an expression is written in."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The values that each field allows; weekday 0 is Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def matches(self, local: datetime) -> bool:
        """Whether the minute of `local` is one of this expression's."""
        return local.minute in self.minutes and local.hour in self.hours and self._on(local)

    def following(self, after: datetime, to_local: ToLocal) -> datetime | None:
        """The first matching minute later than `after` (aware), in UTC; `None` when there is none within `SEARCHED`.

        A local minute that a clock change skips does not come; one that it repeats comes twice.
        """
        at = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        end = at + SEARCHED
        while at < end:
            local = to_local(at)
            if not self._on(local):
                left = 1440 - local.hour * 60 - local.minute
                at += _MINUTE * (left - _NEAR_MIDNIGHT if left > _NEAR_MIDNIGHT else 60 - local.minute)
            elif local.hour not in self.hours:
                at += _MINUTE * (60 - local.minute)
            elif local.minute not in self.minutes:
                at += _MINUTE
            else:
                return at
        return None

    def _on(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return local.month in self.months and ((day or weekday) if self.either_day else (day and weekday))


@lru_cache(maxsize=1024)
def parse(text: str) -> Cron:
    """Read an expression such as `0 3 * * sun`. Raises `ValueError` saying which field is wrong and what it may hold."""
    words = NAMED.get(text.strip().lower(), text.lower()).split()
    if text.strip().startswith("@") and len(words) == 1:
        raise ValueError(f"{text.strip()!r} is no name of cron's; write {', '.join(NAMED)} or five fields")
    if len(words) != len(_FIELDS):
        raise ValueError(f"{text!r} has {len(words)} fields; cron has five: minute hour day month weekday, e.g. '*/10 * * * *'")
    minutes, hours, days, months, weekdays = (_field(word, *rule) for word, rule in zip(words, _FIELDS, strict=True))
    either = not words[2].startswith("*") and not words[4].startswith("*")
    if not either and not any(day <= _LONGEST[month - 1] for day in days for month in months):
        raise ValueError(f"{text!r} never comes: no such day in that month")
    return Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)


def checked(text: str) -> str:
    """`text` in lower case with single spaces. Raises `ValueError` as `parse` does."""
    parse(text)
    return " ".join(text.lower().split())


def _field(word: str, what: str, lowest: int, highest: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{what} {part!r} is not cron; write *, 5, 1-5, */10 or 0,30")
        low, high, step = lowest, highest, int(match["step"] or 1)
        if match["low"]:
            low = _number(match["low"], what, lowest, highest, names)
            high = _number(match["high"], what, lowest, highest, names) if match["high"] else highest if match["step"] else low
        if high < low or step < 1:
            raise ValueError(f"{what} {part!r} is empty; write a range such as {lowest}-{highest} or a step such as */5")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, what: str, lowest: int, highest: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + lowest
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise ValueError(f"{what} {text!r} is not between {lowest} and {highest}")
    return int(text)
