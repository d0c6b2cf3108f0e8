"""Edits and their proof: applies changes by span, then lets the syntax's independent parser judge the result.

Owns the rule that nothing is written unless the parsed document differs from the old one in exactly the members that were to
change, order included. The text is parsed twice, before and after, however many changes there are (a large YAML text the second
time around the change only: `yaml_window`). Pure; knows no client, no file.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mcpwatch.clients.formats.path import MISSING, EditRefused, Element, Entries, Path, Step, Syntax, Value, elements, look, members
from mcpwatch.foreign.shape import same

DROP = object()
"""The value that means: this member goes."""

_EMPTY: tuple[Value, ...] = ({}, [], None)


@dataclass(frozen=True, slots=True)
class Edited:
    """What came out: the whole text, the containers that exist only because we made them, and the text as values."""

    text: str
    made: frozenset[Path]
    document: Value = field(default=None, repr=False)


def edit(
    syntax: Syntax, text: str, changes: Mapping[Path, Value], made: frozenset[Path] = frozenset(), document: Value = MISSING
) -> Edited:
    """`text` with `changes` applied (`DROP` deletes) and proved. Raises `EditRefused`; then nothing may be written.

    `made` are the containers that earlier edits made: one of them that is empty at the end goes too. The empty path among them
    means that there was no document at all, but maybe blank lines. `document` is `text` as values, where that is known.
    """
    try:
        with _PAUSE:
            return _edit(syntax, text, changes, made, syntax.parse(text) if document is MISSING else document)
    finally:
        syntax.forget()


class _Pause:
    """No garbage collection while anybody edits: values make no garbage, and to look for it would take a third of the time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._editors = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._editors:
                self._was_on = gc.isenabled()
                gc.disable()
            self._editors += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._editors -= 1
            if not self._editors and self._was_on:
                gc.enable()


_PAUSE = _Pause()


def _edit(syntax: Syntax, text: str, changes: Mapping[Path, Value], made: frozenset[Path], before: Value) -> Edited:
    document, new = before, text
    for parent, entries in _steps(before, changes):
        if entries[0][1] is DROP:
            new = syntax.drop(new, (*parent, entries[0][0]))
        else:
            blank = () if text.strip(" \t\r\n") else ((),)
            made |= {*blank, *(parent[:depth] for depth in range(1, len(parent) + 1) if look(document, parent[:depth]) is MISSING)}
            new = syntax.put(new, parent, entries)
        for step, value in entries:
            document = _with(document, (*parent, step), value)
    dropped = any(value is DROP for value in changes.values())
    for path in sorted(made, key=len, reverse=True) if dropped else ():
        if look(document, path) in _EMPTY:
            new = syntax.drop(new, path)
            document = _with(document, path, DROP)
            made -= {path}
    if new == text:
        return Edited(new, made, before)
    after = _read_again(syntax, new)
    _prove(before, after, changes, made)
    return Edited(new, made, after)


def _read_again(syntax: Syntax, text: str) -> Value:
    """What was written, as values. Raises `EditRefused` in words that blame the edit: the file could be read."""
    try:
        return syntax.parse(text)
    except EditRefused as error:
        raise EditRefused(f"mcpwatch cannot edit it here, though the file is fine: the result would be {error}") from None


def _steps(document: Value, changes: Mapping[Path, Value]) -> Iterator[tuple[Path, Entries]]:
    """The changes that are needed, new neighbours of one container together."""
    fresh: list[tuple[Step, Value]] = []
    parent: Path = ()
    for path, value in changes.items():
        found = look(document, path)
        new = found is MISSING and value is not DROP
        if fresh and not (new and path[:-1] == parent):
            yield parent, fresh
            fresh = []
        if new:
            parent = path[:-1]
            fresh.append((path[-1], value))
        elif value is DROP or not same(found, value):
            yield path[:-1], [(path[-1], value)]
    if fresh:
        yield parent, fresh


def _with(document: Value, path: Path, value: Value) -> Value:
    """A copy of `document` with `value` at `path` (`DROP`: without it), so far as an edit looks at it."""
    if not path:
        return {} if value is DROP else value
    step, rest = path[0], path[1:]
    if isinstance(step, Element):
        items = elements(document)
        if rest:
            return [_with(item, rest, value) if step.matches(item) else item for item in items]
        kept = [item for item in items if not step.matches(item)]
        return kept if value is DROP else [*kept, value]
    inside = dict(members(document))
    if rest:
        inside[step] = _with(inside.get(step, [] if isinstance(rest[0], Element) else {}), rest, value)
    elif value is DROP:
        inside.pop(step, None)
    else:
        inside[step] = value
    return inside


def _prove(before: Value, after: Value, changes: Mapping[Path, Value], made: frozenset[Path]) -> None:
    for path, value in changes.items():
        found = look(after, path)
        if (found is not MISSING) if value is DROP else not same(found, value):
            raise EditRefused("the edit could not be proved: our entry did not come out as meant")
    bare_before, bare_after = before, after
    for path in sorted({*changes, *_parents(changes, made)} - {()}, key=len, reverse=True):
        bare_before, bare_after = _without(bare_before, path, path in changes), _without(bare_after, path, path in changes)
    if not same(bare_before, bare_after):
        raise EditRefused("the edit could not be proved: something that is not ours would change")


def _parents(changes: Mapping[Path, Value], made: frozenset[Path]) -> set[Path]:
    return {path[:depth] for path in changes for depth in range(1, len(path))} | made


def _without(document: Value, path: Path, ours: bool) -> Value:
    """`document` without the member at `path`; one that is not ours goes only when it is an empty container on the way."""
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
        return {**inside, step: _without(inside[step], rest, ours)}
    left = dict(inside)
    if ours or left[step] in _EMPTY:
        del left[step]
    return left
