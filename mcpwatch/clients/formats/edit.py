"""Edits and their proof: applies changes by span, then lets the syntax's independent parser judge the result.

Owns the rule that nothing is written unless the parsed document differs from the old one in exactly the members that were to
change, order included, and unless a second application changes nothing. Pure; knows no client and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from mcpwatch.clients.formats.path import MISSING, EditRefused, Element, Path, Syntax, Value, elements, look, members

DROP = object()
"""The value that means: this member goes."""

_EMPTY: tuple[Value, ...] = ({}, [], None)


@dataclass(frozen=True, slots=True)
class Edited:
    """What came out: the whole text, and the containers that exist only because we made them."""

    text: str
    made: frozenset[Path]


def edit(syntax: Syntax, text: str, changes: Mapping[Path, Value], made: frozenset[Path] = frozenset()) -> Edited:
    """`text` with `changes` applied (`DROP` deletes) and proved. Raises `EditRefused`; then nothing may be written.

    `made` are the containers that earlier edits made: one of them that is empty at the end goes too.
    """
    before = syntax.parse(text)
    document, new = before, text
    for path, value in changes.items():
        if value is DROP:
            new = syntax.drop(new, path)
        elif look(document, path) != value:
            made |= {path[:depth] for depth in range(1, len(path)) if look(document, path[:depth]) is MISSING}
            new = syntax.put(new, path, value)
        else:
            continue
        document = syntax.parse(new)
    dropped = any(value is DROP for value in changes.values())
    for path in sorted(made, key=len, reverse=True) if dropped else ():
        if look(document, path) in _EMPTY:
            new = syntax.drop(new, path)
            document = syntax.parse(new)
            made -= {path}
    if new != text:
        _prove(before, document, changes, made)
    return Edited(new, made)


def _prove(before: Value, after: Value, changes: Mapping[Path, Value], made: frozenset[Path]) -> None:
    for path, value in changes.items():
        found = look(after, path)
        if (found is not MISSING) if value is DROP else not same(found, value):
            raise EditRefused("the edit could not be proved: our entry did not come out as meant")
    bare_before, bare_after = before, after
    for path in sorted({*changes, *_parents(changes, made)}, key=len, reverse=True):
        bare_before, bare_after = _without(bare_before, path, path in changes), _without(bare_after, path, path in changes)
    if not same(bare_before, bare_after):
        raise EditRefused("the edit could not be proved: something that is not ours would change")


def _parents(changes: Mapping[Path, Value], made: frozenset[Path]) -> set[Path]:
    return {path[:depth] for path in changes for depth in range(1, len(path))} | made


def _without(document: Value, path: Path, ours: bool) -> Value:
    """`document` without the member at `path`; one that is not ours goes only when it is an empty container on the way."""
    if not path:
        return document
    step, rest = path[0], path[1:]
    if isinstance(step, Element):
        items = elements(document)
        if rest:
            return [_without(item, rest, ours) if step.matches(item) else item for item in items]
        return [item for item in items if not (step.matches(item) and (ours or item in _EMPTY))]
    inside = members(document)
    if step not in inside:
        return document
    if rest:
        return {key: _without(item, rest, ours) if key == step else item for key, item in inside.items()}
    return {key: item for key, item in inside.items() if key != step or (not ours and item not in _EMPTY)}


def same(left: Value, right: Value) -> bool:
    """Whether two documents are equal in type, value and order of keys. Shared parts (aliases) are compared once."""
    return _same(left, right, set())


def _same(left: Value, right: Value, seen: set[tuple[int, int]]) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, (dict, list)):
        pair = (id(cast("object", left)), id(right))
        if pair in seen:
            return True
        seen.add(pair)
    if isinstance(left, dict):
        ours, theirs = members(cast("Value", left)), members(right)
        return list(ours) == list(theirs) and all(_same(ours[key], theirs[key], seen) for key in ours)
    if isinstance(left, list):
        mine, other = elements(cast("Value", left)), elements(right)
        return len(mine) == len(other) and all(_same(a, b, seen) for a, b in zip(mine, other, strict=True))
    return bool(left == right) or (left != left and right != right)
