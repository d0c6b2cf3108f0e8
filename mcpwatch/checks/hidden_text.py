"""Lint of what models read and people do not see: terminal escapes, NUL, zero-width, direction and tag characters.

A model reads every string that a server lists: names, titles, descriptions, schemas, prompts, resources, instructions. Characters
that a person does not see there can carry instructions. Pure; bounded by `LINES_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from mcpwatch.checks.failure import NAME_MAX, WORD_MAX, one_line

LINES_MAX = 20
"""Lines told of one server."""
DEPTH_MAX = 40
"""Levels of a definition that are looked through."""

_JOINER = r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])"
"""A joiner within another script than ASCII, or within an emoji."""
_FLAG = "(?<=\U0001f3f4)[\U000e0020-\U000e007f]{1,7}"
"""The tags of a flag."""
_SUSPECT = re.compile(
    f"{_JOINER}|{_FLAG}|("
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff])"
)
"""What hides something is in its group; what is lawful is outside."""
_NAMES: tuple[tuple[str, str], ...] = (
    ("\x1b\x9b", "a terminal escape (ANSI)"),
    ("\x00", "a NUL character"),
    ("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "characters that change the direction of text"),
    ("\u200b\u200c\u200d\u2060\ufeff", "zero-width characters"),
)


def lint(kind: str, items: list[dict[str, Any]], key: str = "name") -> tuple[str, ...]:
    """A line for every string of listed items that holds such characters, with its place and what it hides."""
    lines: list[str] = []
    for item in items:
        name = one_line(str(item.get(key, "")), NAME_MAX)
        for place, text in strings(item):
            told = hidden(text)
            if told:
                lines.append(f"{kind} {name!r}: its {place} holds {told}")
            if len(lines) > LINES_MAX:
                return (*lines[:LINES_MAX], "and more of the kind")
    return tuple(lines)


def strings(value: object, place: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value with its place, keys of objects included (a property's name is read too)."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict) and depth < DEPTH_MAX:
        for key, part in cast("dict[str, Any]", value).items():
            inner = f"{place}.{one_line(key, WORD_MAX)}" if place else one_line(key, WORD_MAX)
            yield f"{inner} (the key)", key
            yield from strings(part, inner, depth + 1)
    elif isinstance(value, list) and depth < DEPTH_MAX:
        for number, part in enumerate(cast("list[Any]", value)):
            yield from strings(part, f"{place}[{number}]", depth + 1)


def hidden(text: str) -> str:
    """What a text hides, in words, or the empty string. Joiners within other scripts and emoji, and flags, hide nothing."""
    if text.isascii() and text.isprintable():
        return ""
    found = [match[1] for match in _SUSPECT.finditer(text) if match[1]]
    if not found:
        return ""
    tags = "".join(chr(ord(tag) - 0xE0000) for tag in found if "\U000e0020" <= tag <= "\U000e007e")
    if tags:
        return f"tag characters that nobody sees and models read: {one_line(tags, NAME_MAX)!r}"
    first = found[0]
    name = next((words for characters, words in _NAMES if first in characters), "an invisible or control character")
    return f"{name}: U+{ord(first):04X}{f' and {len(found) - 1} more' if len(found) > 1 else ''}"
