"""Plain values from a foreign document: compared and measured without recursion, so that no shape of them costs more than its size.

Values may be shared and may hold themselves (YAML's aliases).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

Value = Any


def same(left: Value, right: Value) -> bool:
    """Whether two documents are equal in type, value and order of keys. A pair of shared parts is compared once."""
    todo: list[tuple[Value, Value]] = [(left, right)]
    seen: set[tuple[int, int]] = set()
    while todo:
        one, other = todo.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, (dict, list)):
            pair = (id(cast("object", one)), id(other))
            if pair in seen:
                continue
            seen.add(pair)
            pairs = _pairs(cast("Value", one), other)
            if pairs is None:
                return False
            todo += pairs
        elif one != other and (one == one or other == other):
            return False
    return True


def _pairs(one: Value, other: Value) -> Iterable[tuple[Value, Value]] | None:
    """What must be equal for two containers to be, or `None` when their keys or lengths differ already."""
    if isinstance(one, dict):
        mine, theirs = cast("dict[object, Value]", one), cast("dict[object, Value]", other)
        return zip(mine.values(), theirs.values(), strict=True) if list(mine) == list(theirs) else None
    here, there = cast("list[Value]", one), cast("list[Value]", other)
    return zip(here, there, strict=True) if len(here) == len(there) else None


def within(value: Value, values: int) -> bool:
    """Whether a document holds at most so many values, those of shared parts counted each time they are met."""
    todo: list[Value] = [value]
    count = 0
    while todo:
        count += 1
        if count > values:
            return False
        item = todo.pop()
        if isinstance(item, dict):
            todo += cast("dict[object, Value]", item).values()
        elif isinstance(item, list):
            todo += cast("list[Value]", item)
    return True


def deeper(value: Value, levels: int) -> bool:
    """Whether containers of a tree (no alias in it) are nested deeper than `levels`."""
    here: list[Value] = [value]
    for _ in range(levels + 1):
        here = [inner for item in here for inner in _children(item)]
        if not here:
            return False
    return True


def _children(item: Value) -> Iterable[Value]:
    if isinstance(item, dict):
        return cast("dict[object, Value]", item).values()
    return cast("list[Value]", item) if isinstance(item, list) else ()
