"""TOML by text span: appends, replaces or deletes one table and keeps every other byte.

Owns the edits and the reading of one inline table; `toml_scan` finds the statements. Knows no client. tomlkit is not used: it moves
a user's dotted entry into ours and turns CRLF into LF. A new table goes to the end of the file with one blank line before it, or
into the inline table that the user keeps them in; what was put and dropped again leaves the file as it was.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import cast

import tomli

from mcpwatch.clients.formats.path import EditRefused, Entries, Path, Value, nest
from mcpwatch.clients.formats.toml_scan import BARE, MAX_PARTS, Statement, broken, dotted, skip, statements, value_string_end

_MANY_DOTS = re.compile(rf"(?:\.[^.\n]*+){{{MAX_PARTS}}}")
_INLINE = re.compile(r"[^\"'\[\]{},]+")


@dataclass(frozen=True, slots=True)
class _Pair:
    """One pair of an inline table: its dotted key, and the span from the key to the end of the value."""

    names: tuple[str, ...]
    start: int
    value: int
    end: int


class Toml:
    """TOML 1.0, for tables that hold our entries."""

    name = "toml"

    def parse(self, text: str) -> Value:
        """The document, read by tomli: the standard library's parser, compiled."""
        if _MANY_DOTS.search(text):
            statements(text)
        try:
            return tomli.loads(text)
        except tomli.TOMLDecodeError as error:
            raise EditRefused(f"not valid TOML: {_place(str(error))}") from None
        except RecursionError:
            raise EditRefused("nested too deeply for mcpwatch to read") from None
        except ValueError as error:
            raise EditRefused(f"not readable as TOML: {type(error).__name__}") from None

    def put(self, text: str, parent: Path, entries: Entries) -> str:
        """`text` with tables set in `parent`: one that is there in its place, new ones at its end or in its inline table."""
        if not all(isinstance(value, dict) for _, value in entries):
            raise EditRefused("only a table can be set in TOML")
        eol = "\r\n" if "\r\n" in text else "\n"
        found = statements(text)
        holder = _inline_holder(text, found, _names((*parent, entries[0][0])))
        if holder is not None:
            return _put_inline(text, holder, (*parent, entries[0][0]), entries)
        blocks = [eol.join(_table(_names((*parent, step)), cast("dict[str, Value]", value))) for step, value in entries]
        names = _names((*parent, entries[0][0]))
        mine = [item for item in found if item.path[: len(names)] == names] if len(entries) == 1 else []
        if not mine:
            return _append(text, (eol + eol).join(blocks), eol)
        if not mine[0].header or mine[0].path != names:
            raise EditRefused(f"'{'.'.join(names)}' is written without a table header of its own")
        run = _run(mine)
        start, end = run[0].start, run[-1].end
        rest = _cut(text, mine[len(run) :])
        return rest[:start] + blocks[0] + (eol if text[start:end].endswith("\n") else "") + rest[end:]

    def drop(self, text: str, path: Path) -> str:
        """`text` without the table at `path`, whatever way it is written."""
        if not path:
            return text
        names, found = _names(path), statements(text)
        holder = _inline_holder(text, found, names)
        if holder is not None:
            return _drop_inline(text, holder, names)
        return _cut(text, [item for item in found if item.path[: len(names)] == names], with_gap=True)

    def forget(self) -> None:
        """Nothing is kept."""


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
    return name if BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


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


def _run(statements: list[Statement]) -> list[Statement]:
    """The first header and the assignments that follow it without a gap."""
    run = statements[:1]
    for item in statements[1:]:
        if item.header or item.start != run[-1].end:
            break
        run.append(item)
    return run


def _cut(text: str, statements: list[Statement], *, with_gap: bool = False) -> str:
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
    before = _eol_before(text, start)
    if last:
        return _eol_before(text, before)
    return before if before == 0 or text[before - 1] == "\n" else start


def _eol_before(text: str, at: int) -> int:
    """Where the line break that ends at `at` begins; `at` when none does."""
    if at == 0 or text[at - 1] != "\n":
        return at
    return at - 2 if text[at - 2 : at - 1] == "\r" else at - 1


# ---- inline tables -----------------------------------------------------------------------------------------------------


def _inline_holder(text: str, statements: list[Statement], names: tuple[str, ...]) -> Statement | None:
    """The assignment of an inline table to something above `names`, or `None`."""
    for item in statements:
        above = not item.header and len(item.path) < len(names) and names[: len(item.path)] == item.path
        if above and text[item.value : item.value + 1] == "{":
            return item
    return None


def _put_inline(text: str, holder: Statement, path: Path, entries: Entries) -> str:
    opening, rest = holder.value, _names(path)[len(holder.path) :]
    while True:
        pairs = _pairs(text, opening)
        found = next((pair for pair in pairs if rest[: len(pair.names)] == pair.names), None)
        if found is None:
            break
        if len(found.names) == len(rest):
            return text[: found.value] + _inline(entries[0][1]) + text[found.end :]
        if text[found.value] != "{":
            raise EditRefused(f"'{'.'.join(rest)}' is in the way of an entry")
        opening, rest = found.value, rest[len(found.names) :]
    inner: Path = rest[:-1]
    added = cast("dict[str, Value]", nest(inner, entries))
    body = ", ".join(f"{_key(name)} = {_inline(value)}" for name, value in added.items())
    if not pairs:
        return text[: opening + 1] + body + text[opening + 1 :]
    return text[: pairs[-1].end] + ", " + body + text[pairs[-1].end :]


def _drop_inline(text: str, holder: Statement, names: tuple[str, ...]) -> str:
    opening, rest = holder.value, names[len(holder.path) :]
    while True:
        pairs = _pairs(text, opening)
        mine = [index for index, pair in enumerate(pairs) if pair.names[: len(rest)] == rest]
        if mine:
            for index in reversed(mine):
                start = pairs[index - 1].end if index > 0 else pairs[index].start
                end = pairs[index].end if index > 0 or len(pairs) == 1 else pairs[1].start
                text, pairs = text[:start] + text[end:], pairs[:index]
            return text
        found = next((pair for pair in pairs if rest[: len(pair.names)] == pair.names), None)
        if found is None or text[found.value] != "{":
            return text
        opening, rest = found.value, rest[len(found.names) :]


def _pairs(text: str, opening: int) -> list[_Pair]:
    """The pairs of the inline table that opens at `opening`."""
    pairs: list[_Pair] = []
    at = skip(text, opening + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] in ("\n", "\r", "#"):
            raise broken(text, opening, "mcpwatch does not edit an inline table of several lines; write it as tables: [name.entry]")
        start = at
        names, at = dotted(text, at)
        value = skip(text, at + 1)
        end, at = _inline_end(text, value)
        pairs.append(_Pair(names, start, value, end))
        at = skip(text, at + 1) if text[at : at + 1] == "," else at
    return pairs


def _inline_end(text: str, at: int) -> tuple[int, int]:
    """Where a value of an inline table ends, and where the comma or bracket after it is."""
    depth, last = 0, at
    while at < len(text):
        sign = text[at]
        if depth == 0 and sign in ",}":
            return last, at
        if sign in "\"'":
            at = value_string_end(text, at)
        elif sign in "[{":
            depth, at = depth + 1, at + 1
        elif sign in "]}":
            depth, at = depth - 1, at + 1
        elif sign == ",":
            at += 1
        else:
            match = _INLINE.match(text, at)
            at = match.end() if match else at + 1
            last = at - (len(match.group()) - len(match.group().rstrip(" \t"))) if match and match.group().strip(" \t") else last
            continue
        last = at
    raise broken(text, at, "an inline table is never closed")
