"""The stdout of a stdio server: whole lines, the messages in them, and what came instead of messages. Bounded; knows no process."""

from __future__ import annotations

import asyncio

from mcpwatch.checks import rpc
from mcpwatch.checks.failure import REASON_MAX, ProbeFailure, one_line
from mcpwatch.checks.rpc import Message
from mcpwatch.model.probe import Symptom

LINE_LIMIT = 24 * 1024 * 1024
"""Bytes of one line."""
READ_SIZE = 65_536
"""Bytes read at once."""
POLLUTED_MAX = 20
"""Lines kept that are no messages."""


class Stdout:
    """What one server wrote so far."""

    def __init__(self) -> None:
        self._rest = bytearray()
        """What came after the last whole line."""
        self._searched = 0
        self._heard = False
        """Whether any message came."""
        self.polluted: list[str] = []
        """Lines that are no messages."""

    async def line(self, stream: asyncio.StreamReader) -> bytes:
        """The next line with its end, also one that lacks it; nothing when the stream is over. Raises `ProbeFailure(TOO_LARGE)`."""
        while (at := self._rest.find(b"\n", self._searched)) < 0:
            self._searched = len(self._rest)
            if self._searched > LINE_LIMIT:
                raise ProbeFailure(Symptom.TOO_LARGE, f"a line of its stdout is longer than {LINE_LIMIT >> 20} MiB")
            piece = await stream.read(READ_SIZE)
            if not piece:
                if not self._rest:
                    return b""
                piece = b"\n"
            self._rest += piece
        line = bytes(self._rest[: at + 1])
        del self._rest[: at + 1]
        self._searched = 0
        return line

    def messages(self, line: bytes) -> list[Message]:
        """The messages in a line; one that holds none is kept as pollution."""
        if not line.strip():
            return []
        try:
            messages = rpc.parse(line)
        except ProbeFailure:
            self._pollute(line)
            return []
        self._heard = True
        return messages

    def instead(self) -> str:
        """The first thing that came when no message ever came, an unfinished line too; else the empty string."""
        if self._heard:
            return ""
        if self._rest:
            self._pollute(bytes(self._rest))
        return self.polluted[0] if self.polluted else ""

    def _pollute(self, line: bytes) -> None:
        text = one_line(line, REASON_MAX)
        if text and len(self.polluted) < POLLUTED_MAX:
            self.polluted.append(text)
