"""JSON and JSONC by text span: sets or deletes members and keeps every other byte.

Owns the reading of one container at a time (nested values are skipped by `foreign.scan`, each character a bounded number of times),
the layout of what it inserts, and the parsers that read the whole text independently of it. Knows no client.

What is put into a container and dropped again leaves the container as it was, byte for byte. One pair of originals would look
alike once filled (`{}` and `{<newline>}`); the rarer one is told apart by a blank line before its closing bracket.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.clients.formats.path import EditRefused, Element, Entries, Path, Step, Value, nest
from mcpwatch.foreign.scan import blank_end, bracket_end, plain, string_end, trivia, trivia_end

_WHITE = " \t\r\n"
_ENDS = frozenset(" \t\r\n,]}/")


@dataclass(frozen=True, slots=True)
class _Item:
    """One member or element: `start` of its key (or value), the span of its value, where its comma is (`None`: has none)."""

    key: str
    start: int
    value: int
    end: int
    comma: int | None


@dataclass(frozen=True, slots=True)
class _Box:
    """One container: its brackets' places and what it holds."""

    open: int
    close: int
    items: tuple[_Item, ...]


class Jsonc:
    """JSON with comments and trailing commas; with `strict`, JSON as RFC 8259 has it (the client reads nothing else)."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.name = "json" if strict else "jsonc"

    def parse(self, text: str) -> Value:
        """The document, read by the standard library; comments and trailing commas are blanked first unless strict."""
        if not text.strip(_WHITE):
            return {}
        try:
            return json.loads(text if self.strict else plain(text))
        except json.JSONDecodeError as error:
            raise EditRefused(f"not valid {self.name.upper()}: line {error.lineno}: {error.msg}") from None
        except RecursionError:
            raise EditRefused("nested too deeply for mcpwatch to read") from None
        except ValueError as error:
            raise EditRefused(f"not readable as {self.name.upper()}: {type(error).__name__}") from None

    def put(self, text: str, parent: Path, entries: Entries) -> str:
        """`text` with `entries` set in the container at `parent`; a single one that is there gets a new value in its own place."""
        if not text.strip(_WHITE):
            return _dump(nest(parent, entries), "", "  ", _eol(text)) + text
        box = _root(text)
        for depth, step in enumerate(parent):
            found = _find(text, box, step)
            if found is None:
                return _insert(text, box, [(step, nest(parent[depth + 1 :], entries))])
            box = _enter(text, found, parent[depth + 1] if depth + 1 < len(parent) else entries[0][0])
        found = _find(text, box, entries[0][0]) if len(entries) == 1 else None
        if found is None:
            return _insert(text, box, entries)
        return text[: found.value] + _laid_out(text, found.start, entries[0][1]) + text[found.end :]

    def drop(self, text: str, path: Path) -> str:
        """`text` without the member at `path`; an empty path takes the whole document out, not the white space around it."""
        if not text.strip(_WHITE):
            return text
        box = _root(text)
        if not path:
            return text[: box.open] + text[box.close + 1 :]
        for step, below in zip(path, (*path[1:], None), strict=True):
            found = _find(text, box, step)
            if found is None:
                return text
            if below is None:
                return _remove(text, box, box.items.index(found))
            box = _enter(text, found, below)
        return text

    def forget(self) -> None:
        """Nothing is kept."""


# ---- reading -----------------------------------------------------------------------------------------------------------


def _broken(text: str, at: int, what: str) -> EditRefused:
    return EditRefused(f"line {text.count(chr(10), 0, at) + 1}: {what}")


def _root(text: str) -> _Box:
    at = trivia_end(text, 0)
    if text[at : at + 1] != "{":
        raise _broken(text, at, "expected an object at the top")
    return _box(text, at)


def _enter(text: str, item: _Item, step: Step) -> _Box:
    wanted = "[" if isinstance(step, Element) else "{"
    if text[item.value] != wanted:
        kind = "a list" if wanted == "[" else "an object"
        raise _broken(text, item.value, f"'{item.key}' should be {kind}")
    return _box(text, item.value)


def _box(text: str, start: int) -> _Box:
    items: list[_Item] = []
    closing = "}" if text[start] == "{" else "]"
    at = trivia_end(text, start + 1)
    while text[at : at + 1] != closing:
        if items and items[-1].comma is None:
            raise _broken(text, at, "expected ','")
        first = at
        key = ""
        if closing == "}":
            end = string_end(text, at) if text[at : at + 1] == '"' else -1
            if end < 0:
                raise _broken(text, at, "expected a quoted key")
            key = cast("str", json.loads(text[at:end], strict=False))
            at = trivia_end(text, end)
            if text[at : at + 1] != ":":
                raise _broken(text, at, "expected ':'")
            at = trivia_end(text, at + 1)
        end = _value_end(text, at)
        after = trivia_end(text, end)
        comma = after if text[after : after + 1] == "," else None
        items.append(_Item(key, first, at, end, comma))
        at = trivia_end(text, after + 1) if comma is not None else after
    return _Box(start, at, tuple(items))


def _value_end(text: str, at: int) -> int:
    first = text[at : at + 1]
    if first == '"':
        end = string_end(text, at)
    elif first in ("{", "["):
        end = bracket_end(text, at)
    else:
        end = at
        while end < len(text) and text[end] not in _ENDS:
            end += 1
        end = end if end > at else -1
    if end < 0:
        raise _broken(text, at, "expected a value")
    return end


def _find(text: str, box: _Box, step: Step) -> _Item | None:
    if isinstance(step, Element):
        syntax = Jsonc()
        hits = [item for item in box.items if step.matches(syntax.parse(text[item.value : item.end]))]
    else:
        hits = [item for item in box.items if item.key == step]
    if len(hits) > 1:
        raise _broken(text, hits[1].start, "the same key twice")
    return hits[0] if hits else None


# ---- writing -----------------------------------------------------------------------------------------------------------


def _eol(text: str) -> str:
    at = text.find("\n")
    if at < 0:
        return "\r" if "\r" in text else "\n"
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _line_start(text: str, at: int) -> int:
    start = text.rfind("\n", 0, at) + 1
    return text.rfind("\r", start, at) + 1 or start


def _line_indent(text: str, at: int) -> str:
    line = text[_line_start(text, at) : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _own_line(text: str, at: int) -> bool:
    start = _line_start(text, at)
    return start > 0 and not text[start:at].strip(" \t")


def _unit(text: str) -> str | None:
    """One level of this document's indentation, or `None` when it is written on one line."""
    box = _root(text)
    if not box.items:
        return "  "
    first = box.items[0]
    if not _own_line(text, first.start):
        return None if _eol(text)[-1] not in text[box.open : box.close] else "  "
    deep, base = _line_indent(text, first.start), _line_indent(text, box.open)
    return deep[len(base) :] if deep.startswith(base) and len(deep) > len(base) else "  "


def _dump(value: Value, indent: str, unit: str | None, eol: str) -> str:
    if unit is None:
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, indent=cast("Any", unit)).replace("\n", eol + indent)


def _laid_out(text: str, start: int, value: Value) -> str:
    unit = _unit(text) if _own_line(text, start) else None
    return _dump(value, _line_indent(text, start), unit, _eol(text))


def _members(entries: Entries, indent: str, unit: str | None, eol: str) -> str:
    """The entries as they stand between brackets, without what is before the first and after the last."""
    heads = ["" if isinstance(step, Element) else json.dumps(step, ensure_ascii=False) + ": " for step, _ in entries]
    bodies = [head + _dump(value, indent, unit, eol) for head, (_, value) in zip(heads, entries, strict=True)]
    return (", " if unit is None else "," + eol + indent).join(bodies)


def _insert(text: str, box: _Box, entries: Entries) -> str:
    unit, eol = _unit(text), _eol(text)
    point = len(text[: box.close].rstrip(_WHITE))
    tail = text[point : box.close]
    if not box.items:
        base = _line_indent(text, box.open)
        deeper = base + (unit or "")
        if unit is None and not trivia(text, box.open + 1, point)[1]:
            return text[:point] + _members(entries, "", None, eol) + text[point:]
        closing = eol if eol[-1] in tail else eol + base
        return text[:point] + eol + deeper + _members(entries, deeper, unit or "  ", eol) + closing + text[point:]
    last = box.items[-1]
    deeper = _line_indent(text, last.start)
    comma_before = "" if last.comma is not None else ","
    comma_after = "," if last.comma is not None else ""
    if _own_line(text, last.start):
        lead, body = eol + deeper, _members(entries, deeper, unit or "  ", eol)
    else:
        after = last.end if last.comma is None else last.comma + 1
        lead, body = (eol if trivia(text, after, point)[1] else " "), _members(entries, "", None, eol)
    middle = text[last.end : point]
    return text[: last.end] + comma_before + middle + lead + body + comma_after + tail + text[box.close :]


def _remove(text: str, box: _Box, index: int) -> str:
    item = box.items[index]
    end = item.end if item.comma is None else item.comma + 1
    start = len(text[: item.start].rstrip(_WHITE))
    if len(box.items) == 1:
        return text[:start] + _without_closing_line(text, end, box)
    if trivia(text, _before(box, index), start)[1] and not _ends_line(text, end):
        start = item.start
        end = blank_end(text, end) if index < len(box.items) - 1 else end
    if index == len(box.items) - 1 and item.comma is None:
        comma = cast("int", box.items[index - 1].comma)
        return text[:comma] + text[comma + 1 : start] + text[end:]
    if index == 0:
        return _without_first(text, box, start, end)
    return text[:start] + text[end:]


def _before(box: _Box, index: int) -> int:
    """Where the white space and comments before an item begin."""
    return box.open + 1 if index == 0 else cast("int", box.items[index - 1].comma) + 1


def _ends_line(text: str, at: int) -> bool:
    """Whether nothing but blanks follows on the line."""
    return "\n" in (between := text[at : blank_end(text, at)]) or "\r" in between


def _without_first(text: str, box: _Box, start: int, end: int) -> str:
    """The first of several goes; on one line, the next one takes its place."""
    first, second = box.items[0], box.items[1]
    if text[end : second.start].strip(_WHITE) or _own_line(text, first.start):
        return text[:start] + text[end:]
    return text[: first.start] + text[second.start :]


def _without_closing_line(text: str, end: int, box: _Box) -> str:
    """What follows the only item of a container, less the line that `_insert` gave the closing bracket."""
    after, eol = text[end:], _eol(text)
    blank = text[end : box.close]
    if blank.strip(_WHITE) or not blank.startswith(eol):
        return after
    base = _line_indent(text, box.open)
    cut = eol if blank.count(eol[-1]) > 1 else eol + base if blank.startswith(eol + base) else ""
    return after[len(cut) :]
