"""Generated answers of a server: a good conversation with one value changed, a case each.

A case is what a server says to `initialize` and to `tools/list`, as JSON text. Every path of the good answers is taken away and
replaced by each value of `VALUES`; nothing depends on the date or a global seed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

Json = dict[str, Any]
Path = tuple[str | int, ...]

HELLO: Json = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {"listChanged": True}, "prompts": {}},
        "serverInfo": {"name": "n", "version": "1", "title": "N"},
        "instructions": "say it",
        "_meta": {"a": 1},
    },
}
LISTED: Json = {
    "jsonrpc": "2.0",
    "id": 2,
    "result": {
        "tools": [
            {
                "name": "echo",
                "title": "Echo",
                "description": "Say it again",
                "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
                "outputSchema": {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]},
                "annotations": {"title": "E", "readOnlyHint": True},
                "_meta": {"b": 2},
            }
        ],
        "_meta": {"c": 3},
    },
}
ABSENT = object()
VALUES: dict[str, Any] = {
    "gone": ABSENT,
    "null": None,
    "true": True,
    "7": 7,
    "text": "text",
    "list": [],
    "object": {},
    "NaN": float("nan"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One conversation: its name, and the two answers as text."""

    name: str
    hello: str
    listed: str


def cases() -> Iterator[Case]:
    """The good conversation, then every one with a single change."""
    yield Case("good", json.dumps(HELLO), json.dumps(LISTED))
    for method, good in (("initialize", HELLO), ("tools/list", LISTED)):
        for path in paths(good):
            if path in (("id",), ("result", "protocolVersion")) and method == "initialize":
                continue  # ids have cases of their own; another version is another conversation
            for name, value in VALUES.items():
                changed = put(good, path, value)
                if changed == good:
                    continue
                text = json.dumps(changed)
                shown = f"{method} {'.'.join(str(step) for step in path)}={name}"
                pair = (text, json.dumps(LISTED)) if good is HELLO else (json.dumps(HELLO), text)
                yield Case(shown, *pair)


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, outer ones first."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(cast("dict[str | int, Any]", value).items())
    elif isinstance(value, list):
        inner = list(enumerate(cast("list[Any]", value)))
    for key, part in inner:
        yield (*before, key)
        yield from paths(part, (*before, key))


def put(good: Json, path: Path, value: Any) -> Json:
    """A copy of `good` with `value` at `path`, or without that place for `ABSENT`."""
    changed: Any = copy.deepcopy(good)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is ABSENT:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(value)
    return changed
