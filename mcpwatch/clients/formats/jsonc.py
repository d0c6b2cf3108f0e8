"""JSON and JSONC by text span: sets or deletes one member and keeps every other byte.

Owns the scanner of one container at a time (nested values are skipped by a regular expression, so a file of megabytes costs
little), the layout of what it inserts, and the parsers that read the whole text independently of it. Knows no client.

What is put into a container and dropped again leaves the container as it was, byte for byte. One pair of originals would look
alike once filled (`{}` and `{<newline>}`); the rarer one is told apart by a blank line before its closing bracket.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.clients.formats.path import EditRefused, Element, Path, Step, Value

_BLANK = re.compile(r"[ \t\r\n]*")
_TRIVIA = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*[\s\S]*?\*/)*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_DEEP = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|//[^\r\n]*|/\*[\s\S]*?\*/|[\[\]{}]', re.DOTALL)
_ATOM = re.compile(r"[^\s,\]}/]+")
_COMMENTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|//[^\r\n]*|/\*[\s\S]*?\*/', re.DOTALL)
_COMMAS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|,(?=\s*[\]}])', re.DOTALL)
_LINE_COMMENT_END = re.compile(r'(?:"[^"\\\r\n]*(?:\\.[^"\\\r\n]*)*"|/\*[\s\S]*?\*/|[^"/\r\n]|/(?!/))*//[^\r\n]*')


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
        if not text.strip(" \t\r\n"):
            return {}
        plain = text if self.strict else _COMMAS.sub(_blank_comma, _COMMENTS.sub(_blank_comment, text))
        try:
            return json.loads(plain)
        except json.JSONDecodeError as error:
            raise EditRefused(f"not valid {self.name.upper()}: line {error.lineno}: {error.msg}") from None
        except (RecursionError, ValueError) as error:
            raise EditRefused(f"not readable as {self.name.upper()}: {type(error).__name__}") from None

    def put(self, text: str, path: Path, value: Value) -> str:
        """`text` with the member at `path` set; an existing one gets a new value in its own place."""
        if not text.strip(" \t\r\n"):
            eol = "\n"
            return f"{_dump(_nest(path, value), '', '  ', eol)}{eol}"
        box = _root(text)
        for depth, step in enumerate(path):
            found = _find(text, box, step)
            rest = path[depth + 1 :]
            if found is None:
                return _insert(text, box, step, _nest(rest, value))
            if not rest:
                return text[: found.value] + _laid_out(text, found.start, value) + text[found.end :]
            box = _enter(text, found, rest[0])
        raise EditRefused("an empty path")

    def drop(self, text: str, path: Path) -> str:
        """`text` without the member at `path`."""
        if not text.strip(" \t\r\n"):
            return text
        box = _root(text)
        for depth, step in enumerate(path):
            found = _find(text, box, step)
            if found is None:
                return text
            if depth == len(path) - 1:
                return _remove(text, box, box.items.index(found))
            box = _enter(text, found, path[depth + 1])
        raise EditRefused("an empty path")


def _blank_comment(match: re.Match[str]) -> str:
    token = match.group()
    return token if token.startswith('"') else re.sub(r"[^\r\n]", " ", token)


def _blank_comma(match: re.Match[str]) -> str:
    token = match.group()
    return token if token.startswith('"') else " "


def _nest(path: Path, value: Value) -> Value:
    for step in reversed(path):
        value = [value] if isinstance(step, Element) else {step: value}
    return value


# ---- reading -----------------------------------------------------------------------------------------------------------


def _trivia(text: str, at: int) -> int:
    match = _TRIVIA.match(text, at)
    return match.end() if match else at


def _broken(text: str, at: int, what: str) -> EditRefused:
    return EditRefused(f"line {text.count(chr(10), 0, at) + 1}: {what}")


def _root(text: str) -> _Box:
    at = _trivia(text, 0)
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
    at = _trivia(text, start + 1)
    while text[at : at + 1] != closing:
        if items and items[-1].comma is None:
            raise _broken(text, at, "expected ','")
        first = at
        key = ""
        if closing == "}":
            match = _STRING.match(text, at)
            if match is None:
                raise _broken(text, at, "expected a quoted key")
            key = cast("str", json.loads(match.group(), strict=False))
            at = _trivia(text, match.end())
            if text[at : at + 1] != ":":
                raise _broken(text, at, "expected ':'")
            at = _trivia(text, at + 1)
        end = _value_end(text, at)
        after = _trivia(text, end)
        comma = after if text[after : after + 1] == "," else None
        items.append(_Item(key, first, at, end, comma))
        at = _trivia(text, after + 1) if comma is not None else after
    return _Box(start, at, tuple(items))


def _value_end(text: str, at: int) -> int:
    first = text[at : at + 1]
    if first == '"':
        match = _STRING.match(text, at)
    elif first in ("{", "["):
        return _matching(text, at)
    else:
        match = _ATOM.match(text, at)
    if match is None:
        raise _broken(text, at, "expected a value")
    return match.end()


def _matching(text: str, at: int) -> int:
    depth = 0
    for match in _DEEP.finditer(text, at):
        token = match.group()
        if token in ("{", "["):
            depth += 1
        elif token in ("}", "]"):
            depth -= 1
            if depth == 0:
                return match.end()
    raise _broken(text, at, "this bracket is never closed")


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
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _line_indent(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    match = re.compile(r"[ \t]*").match(text, start)
    return match.group() if match else ""


def _own_line(text: str, at: int) -> bool:
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return not before.strip(" \t") and "\n" in text[:at]


def _unit(text: str) -> str | None:
    """One level of this document's indentation, or `None` when it is written on one line."""
    box = _root(text)
    if not box.items:
        return "  "
    first = box.items[0]
    if not _own_line(text, first.start):
        return None if "\n" not in text[box.open : box.close] else "  "
    deep, base = _line_indent(text, first.start), _line_indent(text, box.open)
    return deep[len(base) :] if deep.startswith(base) and len(deep) > len(base) else "  "


def _dump(value: Value, indent: str, unit: str | None, eol: str) -> str:
    if unit is None:
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, indent=cast("Any", unit)).replace("\n", eol + indent)


def _laid_out(text: str, start: int, value: Value) -> str:
    unit = _unit(text) if _own_line(text, start) else None
    return _dump(value, _line_indent(text, start), unit, _eol(text))


def _insert(text: str, box: _Box, step: Step, value: Value) -> str:
    unit, eol = _unit(text), _eol(text)
    base = _line_indent(text, box.open)
    head = "" if isinstance(step, Element) else json.dumps(step, ensure_ascii=False) + ": "
    point = len(text[: box.close].rstrip(" \t\r\n"))
    tail = text[point : box.close]
    if not box.items:
        if unit is None:
            return text[:point] + head + _dump(value, "", None, eol) + text[point:]
        deeper = base + unit
        closing = eol if "\n" in tail else eol + base
        return text[:point] + eol + deeper + head + _dump(value, deeper, unit, eol) + closing + text[point:]
    last = box.items[-1]
    deeper = _line_indent(text, last.start)
    spread = _own_line(text, last.start)
    comma_before = "" if last.comma is not None else ","
    comma_after = "," if last.comma is not None else ""
    if spread:
        lead, body = eol + deeper, _dump(value, deeper, unit or "  ", eol)
    else:
        lead, body = (eol if _ends_in_line_comment(text, point) else " "), _dump(value, "", None, eol)
    middle = text[last.end : point]
    return text[: last.end] + comma_before + middle + lead + head + body + comma_after + tail + text[box.close :]


def _remove(text: str, box: _Box, index: int) -> str:
    item = box.items[index]
    end = item.end if item.comma is None else item.comma + 1
    start = len(text[: item.start].rstrip(" \t\r\n"))
    if len(box.items) == 1:
        return text[:start] + _without_closing_line(text, end, box)
    if _ends_in_line_comment(text, start) and not re.compile(r"[ \t]*\r?\n").match(text, end):
        start = item.start
        blank = _BLANK.match(text, end)
        end = blank.end() if blank and index < len(box.items) - 1 else end
    if index == len(box.items) - 1 and item.comma is None:
        comma = cast("int", box.items[index - 1].comma)
        return text[:comma] + text[comma + 1 : start] + text[end:]
    if index == 0:
        return _without_first(text, box, start, end)
    return text[:start] + text[end:]


def _without_first(text: str, box: _Box, start: int, end: int) -> str:
    """The first of several goes; on one line, the next one takes its place."""
    first, second = box.items[0], box.items[1]
    if text[end : second.start].strip(" \t\r\n") or _own_line(text, first.start):
        return text[:start] + text[end:]
    return text[: first.start] + text[second.start :]


def _without_closing_line(text: str, end: int, box: _Box) -> str:
    """What follows the only item of a container, less the line that `_insert` gave the closing bracket."""
    after, eol = text[end:], _eol(text)
    blank = text[end : box.close]
    if blank.strip(" \t\r\n") or "\n" not in blank or not blank.startswith(eol):
        return after
    base = _line_indent(text, box.open)
    cut = eol if blank.count("\n") > 1 else eol + base if blank.startswith(eol + base) else ""
    return after[len(cut) :]


def _ends_in_line_comment(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    line = text[start:at]
    return "//" in line and _LINE_COMMENT_END.fullmatch(line) is not None
