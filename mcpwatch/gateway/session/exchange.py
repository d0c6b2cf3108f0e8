"""The answer to one POST as it comes: messages in order, and the waiting for more of them. Must not know HTTP or members."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcpwatch.gateway.protocol.call import FINAL, SUSPENDED, Delivery


class Exchange:
    """The sink of one POST: messages in order, until the answer."""

    __slots__ = ("_wake", "done", "messages", "told")

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.done = False
        self._wake: asyncio.Future[None] | None = None
        self.told: Callable[[], None] | None = None
        """Called once, at the next message or the end, where nobody waits in `more`."""

    def deliver(self, data: bytes, share: Delivery) -> None:
        """One more message."""
        if share == SUSPENDED:
            return
        if data:
            self.messages.append(data)
        self.done = self.done or share == FINAL
        self.wake()

    def wake(self) -> None:
        """Let `more` return, or call `told`."""
        if self.told is not None:
            told, self.told = self.told, None
            told()
        if self._wake is not None:
            _wake(self._wake)

    def abandon(self) -> None:
        """The client went away: nothing more is waited for."""
        self.deliver(b"", FINAL)

    async def more(self, limit: float) -> list[bytes]:
        """What came since the last call, after at most `limit` seconds; empty when nothing did."""
        if not self.messages and not self.done:
            loop = asyncio.get_running_loop()
            wake = self._wake = loop.create_future()
            timer = loop.call_later(limit, _wake, wake)
            try:
                await wake
            finally:
                timer.cancel()
        messages, self.messages = self.messages, []
        return messages


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
