"""Ids of the requests on one link: unguessable, so that nothing a client sends can name another session's call. ADR 0078.

Owns the making and the reading of these ids. Must not know calls.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container

BITS = 46
"""14 decimal digits: what a reader with doubles of that precision (Lua) still writes back unchanged."""
_AHEAD = 256
"""Ids made at once: asking the system for randomness costs more than the id."""
LATELY = 4096
"""Ids that are known again after their calls are over."""


class RequestIds:
    """An endless row of ids."""

    def __init__(self) -> None:
        self._ahead: list[int] = []
        self._given: dict[int, None] = {}

    def new(self, taken: Container[int]) -> int:
        """One that is not in `taken`, and above 0."""
        while True:
            if not self._ahead:
                self._ahead = [number >> (64 - BITS) for number in struct.unpack(f"{_AHEAD}Q", os.urandom(8 * _AHEAD))]
            number = self._ahead.pop()
            if number and number not in taken:
                self._given[number] = None
                if len(self._given) > LATELY:
                    del self._given[next(iter(self._given))]
                return number

    def gave(self, number: int | None) -> bool:
        """Whether it was one of these lately."""
        return number in self._given


def number_of(raw: bytes) -> int | None:
    """The id in an answer as the number it was asked with, `None` when it is none. A string of it is taken, as the SDKs do."""
    if len(raw) > 18:
        return None
    if raw.isdigit():
        return int(raw)
    if raw[:1] == b'"' and raw[-1:] == b'"':
        raw = raw[1:-1]
    raw = raw.removesuffix(b".0")
    return int(raw) if raw.isdigit() else None
