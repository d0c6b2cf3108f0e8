"""What a member writes that helps nobody (no message, no answer to anything): told in the log, one by one, then as a number.

Owns the rate of the telling. Must not know links or processes.
"""

from __future__ import annotations

import asyncio
import logging

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
