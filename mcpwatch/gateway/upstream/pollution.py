"""What a member writes that helps nobody (no message, no answer to anything): told in the log, one by one, then as a number.

Owns the rate of the telling, and what such a line was meant to be. Must not know links or processes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from typing import cast

from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.model.wire import NOT_UTF8, SPREAD

SHOWN = 5
"""Lines told one by one."""
APART = 10.0
"""Seconds between two tellings after that."""
LENGTH = 200
"""Bytes of a line that are told."""

log = logging.getLogger("mcpwatch.gateway")


NO_MESSAGE = "stdout holds a line that is no JSON-RPC message", "stdout holds %d more lines that are no JSON-RPC message, the last"
UNASKED = "answers a request that was not sent, by its id", "answers %d more requests that were not sent, the last by its id"
"""The words for one, and for more."""
SPREAD_LINES, SPREAD_BYTES = 2000, 256 * 1024
"""Lines, and bytes, of one that is looked at."""


class Pollution:
    """What one member wrote of one kind."""

    def __init__(self, member: str, words: tuple[str, str] = NO_MESSAGE) -> None:
        self._member, (self._one, self._many) = member, words
        self._told = 0
        self._more = 0
        self._last = b""
        self._due = False

    def tell(self, line: bytes) -> None:
        """One more line; `line` may be of any length."""
        self._last = line[:LENGTH]
        if self._told < SHOWN:
            self._told += 1
            log.warning(f"%s: {self._one}: %r", self._member, self._shown())
            return
        self._more += 1
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(APART, self._tell_more)

    def _tell_more(self) -> None:
        self._due = False
        more, self._more = self._more, 0
        log.warning(f"%s: {self._many}: %r", self._member, more, self._shown())

    def _shown(self) -> str:
        return self._last.decode(errors="replace")


class NoMessages:
    """The lines of one member that are no message: told, counted, and searched for what would be one if it were written otherwise.

    `fail` ends the call of an id for such an answer, with why.
    """

    def __init__(self, member: str, counts: Counts, fail: Callable[[bytes, str], object]) -> None:
        self._member, self._counts, self._fail = member, counts, fail
        self._pollution = Pollution(member)
        self._lines: list[bytes] = []
        self._size = 0
        self._told_at = -math.inf

    def take(self, line: bytes) -> None:
        """One more of them."""
        self._counts.polluted += 1
        self._pollution.tell(line)
        if not line.isascii() and not _is_text(line):
            self._found(line, NOT_UTF8)
        elif line.strip() in (b"{", b"[") and line.strip() == line.rstrip():
            self._lines, self._size = [line], len(line)
        elif self._lines:
            self._lines.append(line)
            self._size += len(line)
            if line.rstrip() in (b"}", b"]"):
                whole, self._lines = b"\n".join(self._lines), []
                self._found(whole, SPREAD)
            elif len(self._lines) > SPREAD_LINES or self._size > SPREAD_BYTES:
                self._lines = []

    def _found(self, text: bytes, why: str) -> None:
        try:
            found: object = json.loads(text.decode(errors="replace"))
        except (ValueError, RecursionError):
            return
        if not isinstance(found, dict) or "jsonrpc" not in found:
            return
        if time.monotonic() - self._told_at >= APART:
            self._told_at = time.monotonic()
            log.warning("%s: stdout holds %s: %r", self._member, why, text[:LENGTH].decode(errors="replace"))
        if "method" not in found and type(raw := cast("dict[str, object]", found).get("id")) is int:
            self._fail(b"%d" % raw, f"answered with {why}")


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
