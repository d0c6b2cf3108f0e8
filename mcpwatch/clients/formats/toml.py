"""TOML by text span: appends, replaces or deletes one table and keeps every other byte.

Owns a scanner of statements (headers and `key = value` lines, with the multi-line strings and arrays they may hold). Knows no
client. tomlkit is not used: it moves a user's dotted entry into ours and turns CRLF into LF. A new table goes to the end of the
file with one blank line before it; what was appended and dropped again leaves the file as it was.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import cast

from mcpwatch.clients.formats.path import EditRefused, Path, Value

_BLANK_OR_COMMENT = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\Z)")
_GAP = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_VALUE_TOKEN = re.compile(
    r'"""[\s\S]*?(?<!\\)(?:\\\\)*"""(?:"{0,2})'
    r"|'''[\s\S]*?'''(?:'{0,2})"
    r'|"(?:[^"\\\r\n]|\\.)*"'
    r"|'[^'\r\n]*'"
    r"|#[^\r\n]*"
    r"|[\[\]{}]"
    r"|\r?\n"
    r"|[^\"'#\[\]{}\r\n]+"
)
_QUOTED = re.compile(r"\"(?:[^\"\\\r\n]|\\.)*\"|'[^'\r\n]*'")


@dataclass(frozen=True, slots=True)
class _Statement:
    """A header or an assignment: its absolute path and the span of its whole lines, newline included."""

    path: tuple[str, ...]
    start: int
    end: int
    header: bool


class Toml:
    """TOML 1.0, for tables that hold our entries."""

    name = "toml"

    def parse(self, text: str) -> Value:
        """The document, read by the standard library."""
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise EditRefused(f"not valid TOML: {_place(str(error))}") from None
        except (RecursionError, ValueError) as error:
            raise EditRefused(f"not readable as TOML: {type(error).__name__}") from None

    def put(self, text: str, path: Path, value: Value) -> str:
        """`text` with the table at `path` set, in its place when it is there, else at the end."""
        names = _names(path)
        if not isinstance(value, dict):
            raise EditRefused("only a table can be set in TOML")
        eol = "\r\n" if "\r\n" in text else "\n"
        block = eol.join(_table(names, cast("dict[str, Value]", value)))
        mine = [item for item in _statements(text) if item.path[: len(names)] == names]
        if not mine:
            return _append(text, block, eol)
        if not mine[0].header or mine[0].path != names:
            raise EditRefused(f"'{'.'.join(names)}' is written without a table header of its own")
        run = _run(mine)
        start, end = run[0].start, run[-1].end
        rest = _cut(text, mine[len(run) :])
        return rest[:start] + block + (eol if text[start:end].endswith("\n") else "") + rest[end:]

    def drop(self, text: str, path: Path) -> str:
        """`text` without the table at `path`, whatever way it is written."""
        names = _names(path)
        mine = [item for item in _statements(text) if item.path[: len(names)] == names]
        return _cut(text, mine, with_gap=True)


def _place(message: str) -> str:
    found = re.search(r"\(at (line \d+), column \d+\)", message)
    return f"{found.group(1)}: {message.split(' (at', maxsplit=1)[0]}" if found else "broken"


def _names(path: Path) -> tuple[str, ...]:
    names = tuple(step for step in path if isinstance(step, str))
    if len(names) != len(path) or not names:
        raise EditRefused("lists of tables are not edited in TOML")
    return names


# ---- writing -----------------------------------------------------------------------------------------------------------


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _table(names: tuple[str, ...], members: dict[str, Value]) -> list[str]:
    return [f"[{'.'.join(map(_key, names))}]", *(f"{_key(key)} = {_inline(item)}" for key, item in members.items())]


def _inline(value: Value) -> str:
    if isinstance(value, dict):
        members = cast("dict[str, Value]", value)
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in members.items()) + " }" if members else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in cast("list[Value]", value)) + "]"
    if value is None:
        raise EditRefused("TOML has no null")
    return json.dumps(value, ensure_ascii=False)


def _append(text: str, block: str, eol: str) -> str:
    if not text:
        return block + eol
    if text.endswith("\n"):
        return text + eol + block + eol
    return text + eol + eol + block


def _run(statements: list[_Statement]) -> list[_Statement]:
    """The first header and the assignments that follow it without a gap."""
    run = statements[:1]
    for item in statements[1:]:
        if item.header or item.start != run[-1].end:
            break
        run.append(item)
    return run


def _cut(text: str, statements: list[_Statement], *, with_gap: bool = False) -> str:
    """`text` without these statements; with `with_gap` also without the blank line before each header."""
    pieces: list[str] = []
    at = 0
    for index, item in enumerate(statements):
        start = item.start
        if with_gap and item.header:
            last = (
                statements[-1].end == len(text)
                and not text.endswith("\n")
                and len(_run(statements[index:])) == len(statements) - index
            )
            start = _before_gap(text, start, last=last)
        pieces.append(text[at : max(at, start)])
        at = item.end
    return "".join(pieces) + text[at:]


def _before_gap(text: str, start: int, *, last: bool) -> int:
    before = _without_eol(text[:start])
    if last:
        return len(_without_eol(before))
    return len(before) if not before or before.endswith("\n") else start


def _without_eol(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


# ---- reading -----------------------------------------------------------------------------------------------------------


def _statements(text: str) -> list[_Statement]:
    found: list[_Statement] = []
    table: tuple[str, ...] = ()
    at = 0
    while at < len(text):
        blank = _BLANK_OR_COMMENT.match(text, at)
        if blank and blank.end() > at:
            at = blank.end()
            continue
        start = at
        at = _skip(text, at)
        if text[at] == "[":
            depth = 2 if text.startswith("[[", at) else 1
            table, at = _dotted(text, at + depth)
            found.append(_Statement(table, start, _line_end(text, at), header=True))
        else:
            names, at = _dotted(text, at)
            found.append(_Statement(table + names, start, _value_end(text, at), header=False))
        at = found[-1].end
    return found


def _skip(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


def _dotted(text: str, at: int) -> tuple[tuple[str, ...], int]:
    names: list[str] = []
    while True:
        at = _skip(text, at)
        match = _QUOTED.match(text, at) or _BARE.match(text, at)
        if match is None:
            raise EditRefused(f"line {text.count(chr(10), 0, at) + 1}: expected a key")
        names.append(next(iter(tomllib.loads(f"{match.group()} = 1"))))
        at = _skip(text, match.end())
        if text[at : at + 1] != ".":
            return tuple(names), at
        at += 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _value_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        match = _VALUE_TOKEN.match(text, at)
        if match is None:
            raise EditRefused(f"line {text.count(chr(10), 0, at) + 1}: a string is never closed")
        token = match.group()
        at = match.end()
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        elif token in ("\n", "\r\n") and depth == 0:
            return at
    return at
