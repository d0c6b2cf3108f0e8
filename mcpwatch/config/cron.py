"""Whether five cron fields are well formed and can ever fire. Computes no times: the schedule does."""

from __future__ import annotations

import re

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_PART = re.compile(r"(?:(?P<all>\*)|(?P<low>[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?)(?:/(?P<step>\d+))?")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def check_cron(text: str) -> str:
    """`text` with single spaces. Raises `ValueError` naming the field that is wrong."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{text!r} has {len(fields)} fields; cron has five: minute hour day month weekday, e.g. '*/10 * * * *'")
    values = [_values(field, *rule) for field, rule in zip(fields, _FIELDS, strict=True)]
    days, months = values[2], values[3]
    if fields[4] == "*" and not any(day <= _LONGEST[month - 1] for day in days for month in months):
        raise ValueError(f"{text!r} never comes: no such day in that month")
    return " ".join(fields)


def _values(field: str, what: str, lowest: int, highest: int, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(f"{what} {part!r} is not cron; write *, 5, 1-5, */10 or 0,30")
        low = lowest if match["all"] else _number(match["low"], what, lowest, highest, names)
        high = highest if match["all"] else _number(match["high"], what, lowest, highest, names) if match["high"] else low
        if match["step"] and not match["all"] and not match["high"]:
            high = highest
        step = int(match["step"] or 1)
        if high < low or step < 1:
            raise ValueError(f"{what} {part!r} is empty")
        found.update(range(low, high + 1, step))
    return found


def _number(text: str, what: str, lowest: int, highest: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + lowest
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise ValueError(f"{what} {text!r} is not between {lowest} and {highest}")
    return int(text)
