"""Values in the bytes of a JSON object: where they are, and how to change one without touching anything else. Pure. ADR 0007."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

_TOKEN = re.compile(rb'\s*(?:("(?:[^"\\]|\\.)*")|([{}\[\],:])|([^\s{}\[\],:"]+))', re.DOTALL)


def with_value(data: bytes, path: tuple[str, ...], new: bytes) -> bytes:
    """`data` with the value at `path` (keys from the top) replaced by `new`; unchanged when nothing is there."""
    span = locate(data, path)
    return data if span is None else data[: span[0]] + new + data[span[1] :]


def locate(data: bytes, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Where the value at `path` starts and ends in the JSON object `data`; of doubled keys the last one, as parsers do."""
    position = 0
    span: tuple[int, int] | None = None
    for name in path:
        span = _member(data, position, name)
        if span is None:
            return None
        position = span[0]
    return span


def _member(data: bytes, position: int, name: str) -> tuple[int, int] | None:
    """The span of the value of key `name` in the object that starts at `position`."""
    found: tuple[int, int] | None = None
    for key, _, start, end in members(data, position):
        if key == name:
            found = start, end
    return found


def members(data: bytes, position: int) -> Iterator[tuple[str, int, int, int]]:
    """Of each member of the object that starts at `position`: its key, where that starts, where its value starts and ends."""
    token = _TOKEN.match(data, position)
    if token is None or token.group(2) != b"{":
        return
    position = token.end()
    while (token := _TOKEN.match(data, position)) is not None and token.group(1):
        colon = _TOKEN.match(data, token.end())
        if colon is None:
            return
        start, end = _value(data, colon.end())
        yield json.loads(token.group(1)), token.start(1), start, end
        comma = _TOKEN.match(data, end)
        if comma is None or comma.group(2) != b",":
            return
        position = comma.end()


def with_members(data: bytes, path: tuple[str, ...], fresh: bytes, drop: Callable[[str], bool]) -> bytes:
    """`data` with the members `fresh` (`"key":value,...`, may be empty) put first into the object at `path`.

    Members there whose keys `drop` names go. Objects missing on the path are made, behind what is there.
    """
    position = 0
    for depth, name in enumerate(path):
        span = _member(data, position, name)
        if span is None or data[span[0] : span[0] + 1] != b"{":
            made = b"{" + fresh + b"}"
            for key in reversed(path[depth + 1 :]):
                made = b'{"' + key.encode() + b'":' + made + b"}"
            if span is not None:
                return data[: span[0]] + made + data[span[1] :]
            end = _value(data, position)[1] - 1
            inside = data[position:end].strip()
            comma = b"" if inside == b"{" else b","
            return data[:end] + comma + b'"' + name.encode() + b'":' + made + data[end:]
        position = span[0]
    end = _value(data, position)[1]
    kept = [data[at:stop] for key, at, _, stop in members(data, position) if not drop(key)]
    parts = [fresh, *kept] if fresh else kept
    return data[:position] + b"{" + b",".join(parts) + b"}" + data[end:]


def _value(data: bytes, position: int) -> tuple[int, int]:
    depth = 0
    start = -1
    while (token := _TOKEN.match(data, position)) is not None:
        if start < 0:
            start = token.start(token.lastindex or 0)
        position = token.end()
        mark = token.group(2)
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]")) if mark else 0
        if depth == 0:
            break
    return start, position
