"""How long a start may take: its limit, and longer while it says that it waits for a person to log in.

Owns that one deadline. Must not know links, restarts or the handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

AGAIN = 5.0
"""Seconds more for one that waits, after which it is looked at again."""


def never() -> bool:
    """It waits for nobody."""
    return False


@asynccontextmanager
async def patient(limit: float, waits: Callable[[], bool]) -> AsyncGenerator[None]:
    """As `asyncio.timeout`, but nothing ends while `waits()` is true when the time is over. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    due = loop.time() + limit
    async with asyncio.timeout(None) as bound:

        def over() -> None:
            nonlocal timer
            if waits():
                timer = loop.call_later(AGAIN, over)
            else:
                bound.reschedule(loop.time())

        timer = loop.call_at(due, over)
        try:
            yield
        finally:
            timer.cancel()
