"""YAML scalars as plain values: what our own entries hold is read as its type, everything else as a text of its own. Pure.

Two different scalars never give the same value, so that comparing values shows every change of a file.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import yaml

from mcpwatch.clients.formats.path import Value

_TAG = "tag:yaml.org,2002:"
_LONGEST = 64
"""Characters of a plain scalar beyond which it is taken for a text without a look at the patterns of numbers."""
_RESOLVERS: dict[str | None, list[tuple[str, Any]]] = cast("Any", yaml.SafeLoader).yaml_implicit_resolvers
TYPED = frozenset(sign or "" for sign in _RESOLVERS)
"""The first signs of plain scalars that may be something else than a text; of those with any other sign none is."""
_BOOLS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def value_of(event: Any) -> Value:
    """The value of a scalar event: text, truth value, null, decimal number; of any other type a text that begins with NUL."""
    text: str = event.value
    tag: str | None = event.tag
    if tag and tag != "!":
        return text if tag == _TAG + "str" else f"\0{tag} {text}"
    if event.style or not event.implicit[0] or len(text) > _LONGEST or text[:1] not in TYPED:
        return text
    if text.isdecimal() and text.isascii() and (text == "0" or text[0] != "0"):
        return int(text)
    tag = _resolved(text)
    if tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return _BOOLS[text.lower()]
    return f"\0{tag} {text}"


def key_of(value: Value) -> str:
    """A key as text: `1` and `"1"` stay apart."""
    return value if isinstance(value, str) else f"\0{type(value).__name__} {value if not isinstance(value, (dict, list)) else ''}"


@functools.lru_cache(1024)
def _resolved(text: str) -> str:
    """The type that YAML 1.1 gives a short plain scalar, without its prefix."""
    for tag, pattern in _RESOLVERS.get(text[:1], []):
        if pattern.match(text):
            return tag.removeprefix(_TAG)
    return "str"
