"""Plain values from a foreign document: compared and measured without recursion, so that no shape of them costs more than its size.

Values may be shared and may hold themselves (YAML's aliases).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

Value = Any
_type_of: Callable[[object], object] = type


def same(left: Value, right: Value) -> bool:
    """Whether two documents are equal in type, value and order of keys. A pair of shared parts is compared once."""
    todo: list[tuple[list[Value], list[Value]]] = [([left], [right])]
    seen: set[tuple[int, int]] = set()
    while todo:
        ours, theirs = todo.pop()
        if len(ours) != len(theirs):
            return False
        for one, other in zip(ours, theirs, strict=True):
            if one is other:
                continue
            kind = _type_of(one)
            if kind is not _type_of(other):
                return False
            if kind is dict or kind is list:
                pair = (id(one), id(other))
                if pair not in seen:
                    seen.add(pair)
                    if kind is dict:
                        if list(one) != list(other):
                            return False
                        todo.append((list(one.values()), list(other.values())))
                    else:
                        todo.append((one, other))
            elif one != other and (one == one or other == other):
                return False
    return True


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
