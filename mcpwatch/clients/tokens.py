"""Which texts are tokens of ours, past or present: known by digest, found in values and in whole files. Pure.

Past tokens are never kept, only their digests. A token in a file is found by hashing every word that could be one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

from mcpwatch.clients.formats.path import Value
from mcpwatch.foreign.document import with_texts

SHORTEST = 8
"""Characters; a shorter word in a file is never taken for a token, though a whole value that is one still is."""
KEPT = 50
"""Digests of past tokens that are kept."""
_WORD = re.compile(r"[^\s\"'`,;<>(){}\[\]]+")
_BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of this proxy: digests of those that were and of those that are, and the one that clients are given now."""

    past: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    current: str = field(default="", repr=False)

    def dead(self, text: str) -> bool:
        """Whether `text` is a token that opens nothing any more."""
        mark = digest(text)
        return mark in self.past and mark not in self.present

    def ours(self, text: str) -> bool:
        """Whether `text` is a token of ours, dead or alive."""
        return digest(text) in self.past | self.present

    def holds_dead(self, text: str) -> bool:
        """Whether a file's text holds a dead token."""
        return bool(self.past) and any(self.dead(word) for word in _words(text))

    def renewed(self, value: Value, token: str) -> Value:
        """`value` with `token` in place of each dead one."""

        def renewed(text: str) -> str:
            head = _BEARER if text.startswith(_BEARER) else ""
            return head + token if self.dead(text[len(head) :]) else text

        return with_texts(value, renewed)


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def texts(value: Value) -> Iterator[str]:
    """Every text in a value of ours, keys aside."""
    if isinstance(value, dict):
        for item in cast("dict[str, Value]", value).values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in cast("list[Value]", value):
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def holds(values: Iterable[Value], token: str) -> bool:
    """Whether a text in any of the values holds `token`."""
    return token != "" and any(token in text for value in values for text in texts(value))


def masked(text: str, secrets: Iterable[str], mask: str) -> str:
    """`text` without the secrets, also as JSON, TOML and YAML write them: with escapes."""
    for secret in secrets:
        for spelling in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]} if secret else ():
            text = text.replace(spelling, mask)
    return text


def dumps(past: Iterable[str]) -> str:
    """Digests as the store keeps them."""
    return json.dumps(list(past)[-KEPT:])


def loads(text: str | None) -> tuple[str, ...]:
    """The inverse of `dumps`; nothing when it cannot be read."""
    try:
        found: object = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(item for item in cast("list[object]", found) if isinstance(item, str)) if isinstance(found, list) else ()


def _words(text: str) -> Iterator[str]:
    """The words of a text, and the values of those that are written with an escape or after `=` or `:`."""
    for match in _WORD.finditer(text):
        word = match.group()
        if len(word) < SHORTEST:
            continue
        yield word
        if "\\" in word:
            yield word.replace("\\\\", "\\").replace("\\/", "/")
        for sign in ("=", ":"):
            if sign in word:
                yield word.rpartition(sign)[2]
