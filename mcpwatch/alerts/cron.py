"""Five-field cron expressions as a pure question: does this minute match? Scheduling belongs to the watchdog, not here.

Standard rules: lists, ranges, steps, month and weekday names, 0 and 7 both Sunday, and a day matches when either the day of the
month or the weekday does if both are restricted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Cron:
    """The values each field allows; weekday 0 is Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def matches(self, local: datetime) -> bool:
        """Whether the minute of `local` is one of this expression's."""
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.either_day else (day and weekday)


@lru_cache(maxsize=256)
def parse(text: str) -> Cron:
    """Read an expression such as `0 3 * * sun`. Raises `ValueError` saying which field is wrong and what it may hold."""
    words = text.lower().split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"a cron expression has five fields (minute hour day month weekday), this one has {len(words)}")
    minutes, hours, days, months, weekdays = (_field(word, *spec) for word, spec in zip(words, _FIELDS, strict=True))
    return Cron(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )


def _field(word: str, name: str, low: int, high: int) -> frozenset[int]:
    return frozenset(value for part in word.split(",") for value in _part(part, name, low, high))


def _part(part: str, name: str, low: int, high: int) -> range:
    span, slash, step_text = part.partition("/")
    step = int(step_text) if step_text.isdigit() else 0 if slash else 1
    if span == "*":
        first, last = low, high
    else:
        left, dash, right = span.partition("-")
        first = _value(left, name, low, high)
        last = _value(right, name, low, high) if dash else high if slash else first
    if step < 1 or last < first:
        raise ValueError(f"{name} {part!r} is empty; write a range such as {low}-{high} or a step such as */5")
    return range(first, last + 1, step)


def _value(word: str, name: str, low: int, high: int) -> int:
    if name == "month" and word in _MONTHS:
        return _MONTHS.index(word) + 1
    if name == "weekday" and word in _DAYS:
        return _DAYS.index(word)
    if not word.isdigit() or not low <= int(word) <= high:
        raise ValueError(f"{name} {word!r} is not between {low} and {high}")
    return int(word)
