"""Which tools a client sees, and under which names: lists cut and renamed item by item, every other byte kept.

Pure. Must not know members, sessions or links.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from mcpwatch.gateway.protocol import json_edit
from mcpwatch.gateway.settings import ToolRules

Rename = Callable[[str], str | None]
"""Own name of an item to its shown name; `None` hides it."""


def shown_name(rules: ToolRules, own: str) -> str | None:
    """The name under which a tool is shown, `None` when the rules hide it. Rules speak of own names."""
    if (rules.allow and own not in rules.allow) or own in rules.block:
        return None
    return dict(rules.rename).get(own, own)


def own_name(rules: ToolRules, shown: str) -> str | None:
    """The member's own name of a shown tool, `None` when there is no such tool to see."""
    own = next((own for own, new in rules.rename if new == shown), shown)
    return own if shown_name(rules, own) == shown else None


def items(body: bytes, key: str) -> list[bytes]:
    """The raw items of list `key` in an answer; empty when it has none."""
    span = json_edit.locate(body, ("result", key))
    if span is None:
        return []
    try:
        return [bytes(item) for item in msgspec.json.decode(body[span[0] : span[1]], type=list[Raw])]
    except msgspec.DecodeError:
        return []


def renamed(item: bytes, key: str, rename: Rename) -> bytes | None:
    """One raw item with its `key` renamed, `None` when it is to be hidden."""
    span = json_edit.locate(item, (key,))
    if span is None:
        return item
    own = json.loads(item[span[0] : span[1]])
    new = rename(own) if isinstance(own, str) else own
    if new is None or new == own:
        return item if new is not None else None
    return item[: span[0]] + json.dumps(new).encode() + item[span[1] :]


def filtered(body: bytes, key: str, rename: Rename) -> bytes:
    """An answer whose list `key` holds only what `rename` shows, under its shown names."""
    kept = [new for item in items(body, key) if (new := renamed(item, "name", rename)) is not None]
    return json_edit.with_value(body, ("result", key), b"[" + b",".join(kept) + b"]")


def parameter(data: bytes, *path: str) -> Any:
    """The value at `path` below `params` of a message, `None` when there is none."""
    span = json_edit.locate(data, ("params", *path))
    return json.loads(data[span[0] : span[1]]) if span is not None else None


def with_parameter(data: bytes, value: str, *path: str) -> bytes:
    """A message with the string at `path` below `params` replaced."""
    return json_edit.with_value(data, ("params", *path), json.dumps(value).encode())
