"""Waiting for something to become true, by turns of the event loop and within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TURNS = 100
"""Turns after which it lets others have the processor: what it waits for is another process, or time."""


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Return as soon as `true()`; raises `TimeoutError` when that takes longer than `seconds`."""
    async with asyncio.timeout(seconds):
        turns = 0
        while not true():
            turns += 1
            await asyncio.sleep(0 if turns < TURNS else 0.002)
