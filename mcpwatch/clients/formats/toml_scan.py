"""TOML read by hand: statements, keys and the ends of values, each character a bounded number of times. Pure.

Owns no values: what a document means is tomli's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import tomli

from mcpwatch.clients.formats.path import EditRefused, Value
from mcpwatch.foreign.scan import line_end, string_end

MAX_PARTS = 32
"""Parts of one dotted key. The parser takes the square of their number."""
_GAP = re.compile(r"[ \t]*")
BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = r"\"(?!\"\")[^\"\\\n]*+\"|'(?!'')[^'\n]*+'"
_INSIDE = rf"(?:[^\"'#\[\]{{}}\n]++|{_STRING})*+"
_REST = r"[ \t\r]*+(?:#[^\n]*+)?+\n"
_SIMPLE = re.compile(
    rf"[ \t]*+([\w-]++)[ \t]*+=[ \t]*+((?:{_STRING})|[^\"'#\[\]{{}}\n]++|\[{_INSIDE}\]|\{{{_INSIDE}\}}){_REST}", re.ASCII
)
"""An assignment on a line of its own, as most are; possessive, so that there is nothing to go back to."""
_PART = re.compile(r"([\w-]++)|\"([^\"\\\n]*+)\"", re.ASCII)
_HEADER = re.compile(rf"[ \t]*+\[((?:[\w-]++|\"[^\"\\\n]*+\")(?:\.(?:[\w-]++|\"[^\"\\\n]*+\"))*+)\]{_REST}", re.ASCII)
"""A header of a table on a line of its own, without blanks in its name."""
_PLAIN = re.compile(r"[^\"'#\[\]{}\n]+")


class Statement(NamedTuple):
    """A header or an assignment: its absolute path, the span of its whole lines, newline included, and where its value begins.

    A tuple, because a file of a megabyte has 40,000 of them.
    """

    path: tuple[str, ...]
    start: int
    end: int
    header: bool
    value: int = -1


def broken(text: str, at: int, what: str) -> EditRefused:
    """A refusal that names the line of `at`."""
    return EditRefused(f"line {text.count(chr(10), 0, at) + 1}: {what}")


def statements(text: str) -> list[Statement]:
    """Every statement of `text`, in order. Raises `EditRefused` where it is no TOML."""
    found: list[Statement] = []
    table: tuple[str, ...] = ()
    at = 0
    while at < len(text):
        if simple := _SIMPLE.match(text, at):
            found.append(Statement((*table, simple[1]), at, simple.end(), header=False, value=simple.start(2)))
            at = simple.end()
            continue
        if (simple := _HEADER.match(text, at)) and simple[1].count(".") < MAX_PARTS:
            table = tuple(bare or quoted for bare, quoted in _PART.findall(simple[1]))
            found.append(Statement(table, at, simple.end(), header=True))
            at = simple.end()
            continue
        start, at = at, skip(text, at)
        sign = text[at : at + 1]
        if sign in ("", "\n", "#", "\r"):
            at = _next_line(text, at)
            continue
        if sign == "[":
            depth = 2 if text.startswith("[[", at) else 1
            table, at = dotted(text, at + depth)
            found.append(Statement(table, start, _next_line(text, at), header=True))
        else:
            names, at = dotted(text, at)
            if text[at : at + 1] != "=":
                raise broken(text, at, "expected '='")
            value = skip(text, at + 1)
            found.append(Statement(table + names, start, _value_end(text, value), header=False, value=value))
        at = found[-1].end
    return found


def skip(text: str, at: int) -> int:
    """Just after the blanks at `at`."""
    match = _GAP.match(text, at)
    return match.end() if match else at


def dotted(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The parts of the key at `at`, and just after it."""
    names: list[str] = []
    while True:
        at = skip(text, at)
        end = _key_end(text, at)
        part = text[at:end]
        if part[0] not in "\"'":
            names.append(part)
        elif "\\" in part and part[0] == '"':
            names.append(next(iter(_loads(f"{part} = 1"))))
        else:
            names.append(part[1:-1])
        at = skip(text, end)
        if text[at : at + 1] != ".":
            return tuple(names), at
        if len(names) >= MAX_PARTS:
            raise broken(text, at, f"a key of more than {MAX_PARTS} parts, which mcpwatch does not read")
        at += 1


def _key_end(text: str, at: int) -> int:
    if text[at : at + 1] in ('"', "'"):
        end = text.find("'", at + 1) + 1 if text[at] == "'" else string_end(text, at)
        if end > 0 and "\n" not in text[at:end]:
            return end
    elif match := BARE.match(text, at):
        return match.end()
    raise broken(text, at, "expected a key")


def _loads(text: str) -> dict[str, Value]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise EditRefused(f"not valid TOML: a key: {str(error).split(' (at', maxsplit=1)[0]}") from None


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _value_end(text: str, at: int) -> int:
    """Just after the line break that ends the value at `at`."""
    depth = 0
    while at < len(text):
        sign = text[at]
        if sign in "\"'":
            at = value_string_end(text, at)
        elif sign == "#":
            at = max(line_end(text, at), at + 1)
        elif sign in "[{":
            depth, at = depth + 1, at + 1
        elif sign in "]}":
            depth, at = depth - 1, at + 1
        elif sign == "\n":
            at += 1
            if depth <= 0:
                return at
        else:
            match = _PLAIN.match(text, at)
            at = match.end() if match else at + 1
    return at


_ENDS: dict[str, Callable[[str, int], int]] = {
    '"""': lambda text, at: _quotes_end(text, at, escapes=True),
    "'''": lambda text, at: _quotes_end(text, at, escapes=False),
    '"': string_end,
    "'": lambda text, at: text.find("'", at + 1) + 1 or -1,
}


def value_string_end(text: str, at: int) -> int:
    """Just after the string of any of the four kinds that opens at `at`."""
    kind = text[at : at + 3] if text[at : at + 3] in _ENDS else text[at]
    end = _ENDS[kind](text, at)
    if end < 0:
        raise broken(text, at, "a string is never closed")
    return end


def _quotes_end(text: str, at: int, *, escapes: bool) -> int:
    """Just after the three quotes that close the string at `at`, and up to two more, which are its own; -1 when nothing does."""
    quote, start = text[at], at + 3
    at = start
    while (found := text.find(quote * 3, at)) >= 0:
        back = found
        while escapes and back > start and text[back - 1] == "\\":
            back -= 1
        if (found - back) % 2 == 0:
            end = found + 3
            return end + next((extra for extra in (0, 1) if text[end + extra : end + extra + 1] != quote), 2)
        at = found + 1
    return -1
