"""A callback that holds the loop is told with its name; one that merely waits for a busy machine is not."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcpwatch.app.slow import MARK, VARIABLE, watch

pytestmark = pytest.mark.anyio


async def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_task_that_computes_for_too_long_is_named() -> None:
    told: list[str] = []
    undo = watch({VARIABLE: "0.05"}, told.append)
    try:
        await asyncio.create_task(burn(0.1))
        await asyncio.create_task(burn(0.0))
    finally:
        undo()
    assert len(told) == 1
    assert told[0].startswith(MARK)
    assert "burn" in told[0]


async def test_a_callback_that_sleeps_is_not_taken_for_work() -> None:
    told: list[str] = []
    undo = watch({VARIABLE: "0.05"}, told.append)
    try:
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        undo()
    assert told == []


async def test_nothing_is_measured_unless_it_is_asked_for() -> None:
    before = asyncio.Handle.__dict__["_run"]
    for value in ("", "0", "often"):
        watch({VARIABLE: value})()
        assert asyncio.Handle.__dict__["_run"] is before
