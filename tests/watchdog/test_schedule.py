"""When checks run: the grid, its slots, and the place of a job in them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from mcpwatch.watchdog.schedule import SLOT, SLOTS, GridTrigger, Schedule, offset

NAMES = [f"direct:m{n}:mcp" for n in range(600)]


@pytest.mark.parametrize("interval", [2.0, 30.0, 45.0, 3600.0])
def test_checks_of_one_interval_share_slots_and_fill_all_of_them_evenly(interval: float) -> None:
    slot = min(SLOT, interval / SLOTS)
    places = [offset(name, interval) / slot for name in NAMES]
    assert all(abs(place - round(place)) < 1e-6 for place in places)
    assert all(0 <= place < interval / slot for place in places)
    assert max(Counter(places).values()) <= 3 * max(1, len(NAMES) // int(interval / slot)) + 5
    assert len(set(places)) >= SLOTS - 1


def test_a_place_depends_on_nothing_but_the_name() -> None:
    assert offset(NAMES[0], 30.0) == offset(NAMES[0], 30.0)
    assert len({offset(name, 30.0) for name in NAMES}) == SLOTS


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_after_a_clock_step_the_next_place_is_less_than_an_interval_away(step: float) -> None:
    now = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)
    trigger = GridTrigger("direct:time:mcp", 30.0)
    before = trigger.get_next_fire_time(None, now)
    stepped = now + timedelta(seconds=step)
    after = trigger.get_next_fire_time(None, stepped)
    assert timedelta(0) < after - stepped <= timedelta(seconds=30)
    assert (after - before).total_seconds() % 30.0 == 0.0


@pytest.mark.anyio
async def test_a_run_that_a_stop_ends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    schedule, began, ended = Schedule(), asyncio.Event(), asyncio.Event()

    async def job(_: float) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    schedule.start()
    schedule.put("direct:time:mcp", job, interval=0.1)
    async with asyncio.timeout(30):
        await began.wait()
        schedule.stop()
        await ended.wait()
        await asyncio.sleep(0)
    assert caplog.records == []
