"""When checks run: the grid, its slots, and the place of a job in them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from mcpwatch.watchdog import schedule as module
from mcpwatch.watchdog.schedule import CROWD, SLOT, SLOTS, CronTrigger, GridTrigger, Job, Schedule, offset, trigger_of

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


@pytest.mark.parametrize("jobs", [200, 480, 481, 5000, 20_000])
def test_where_a_slot_has_a_crowd_its_jobs_begin_in_equal_parts_of_it_and_none_leaves_it(jobs: int) -> None:
    names = [f"route:m{n}:mcp" for n in range(jobs)]
    places = [offset(name, 60.0, jobs) for name in names]
    assert [place // SLOT for place in places] == [offset(name, 60.0) // SLOT for name in names]
    together = Counter(places)
    assert max(together.values()) <= 3 * CROWD
    assert sum(together.values()) / len(together) > CROWD / 4
    if jobs <= 30 * CROWD:
        assert places == [offset(name, 60.0) for name in names]


@pytest.mark.slow
@pytest.mark.anyio
async def test_jobs_that_were_there_before_it_began_are_not_late_in_a_place_that_is_theirs_since_then() -> None:
    schedule, lags, done = Schedule(), dict[str, float](), asyncio.Event()

    def job(name: str) -> Job:
        async def run(lag: float) -> None:
            lags[name] = lag
            if len(lags) == len(NAMES):
                done.set()

        return run

    for name in NAMES:
        schedule.put(name, job(name), interval=1.5)
    schedule.start()
    async with asyncio.timeout(30):
        await done.wait()
    schedule.stop()
    began = sorted(lags.values())
    assert began[len(began) // 2] < 0.05, "half of them would be late by half a slot"


NOON = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)


def test_the_slots_are_two_seconds_wide_and_at_least_fifteen() -> None:
    assert {offset(name, 60.0) for name in NAMES} == {2.0 * slot for slot in range(30)}
    assert len({offset(name, 3.0) for name in NAMES}) == 15


@pytest.mark.parametrize("early", [0.01, -0.01, -1.0])
def test_a_timer_that_fires_a_moment_early_or_late_does_not_shift_or_repeat_the_next_run(early: float) -> None:
    trigger = GridTrigger("direct:time:mcp", 30.0)
    fired = trigger.get_next_fire_time(None, NOON)
    woken = fired - timedelta(seconds=early)
    assert trigger.get_next_fire_time(fired, woken) == fired + timedelta(seconds=30)


def test_a_check_without_an_interval_runs_every_half_minute_and_one_with_a_cron_expression_by_that() -> None:
    plain = trigger_of("a", None, None)
    assert isinstance(plain, GridTrigger)
    first = plain.get_next_fire_time(None, NOON)
    assert plain.get_next_fire_time(first, first) - first == timedelta(seconds=30)
    assert timedelta(0) < trigger_of("a", 5.0, None).get_next_fire_time(None, NOON) - NOON <= timedelta(seconds=5)  # pyright: ignore[reportOptionalOperand]
    by_rule = CronTrigger("*/5 * * * *", lambda at: at)
    assert by_rule.get_next_fire_time(None, NOON) == datetime(2026, 11, 21, 12, 5, tzinfo=UTC)
    assert isinstance(trigger_of("a", None, "*/5 * * * *"), CronTrigger)


@pytest.mark.anyio
async def test_a_job_never_overlaps_itself_and_what_it_missed_meanwhile_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    schedule, begun, ticks, enough = Schedule(), 0, 0, asyncio.Event()

    async def stuck(_: float) -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    async def tick(_: float) -> None:
        nonlocal ticks
        ticks += begun
        if ticks >= 5:
            enough.set()

    schedule.put("stuck", stuck, interval=0.02)
    schedule.put("tick", tick, interval=0.02)
    schedule.start()
    async with asyncio.timeout(30):
        await enough.wait()
    schedule.stop()
    await asyncio.sleep(0)
    assert begun == 1
    assert caplog.records == []


@pytest.mark.anyio
async def test_late_runs_fold_into_one_that_knows_how_late_it_is() -> None:
    schedule, lags, times, late = Schedule(), list[float](), list[float](), asyncio.Event()

    async def job(lag: float) -> None:
        lags.append(lag)
        times.append(time.monotonic())
        if len(lags) == 1:
            time.sleep(0.3)  # the whole process stands still  # noqa: ASYNC251
        elif len(lags) == 4:
            late.set()

    schedule.put("job", job, interval=0.05)
    schedule.start()
    async with asyncio.timeout(30):
        await late.wait()
    schedule.stop()
    assert lags[0] < 0.9
    assert 0.2 < lags[1] < 0.9
    assert lags[2] < 0.2
    assert times[3] - times[1] > 0.03, "what was due meanwhile was not made up for"


@pytest.mark.anyio
async def test_jobs_are_replaced_and_dropped_by_name() -> None:
    schedule, told, ran = Schedule(), list[str](), asyncio.Event()

    def named(name: str) -> module.Job:
        async def job(_: float) -> None:
            told.append(name)
            ran.set()

        return job

    schedule.start()
    schedule.put("a", named("old"), interval=3600.0)
    schedule.put("a", named("new"), interval=0.02)
    schedule.put("b", named("b"), interval=3600.0)
    assert schedule.names() == {"a", "b"}
    async with asyncio.timeout(30):
        await ran.wait()
    schedule.drop("b")
    schedule.drop("never there")
    assert schedule.names() == {"a"}
    assert set(told) == {"new"}
    schedule.stop()
    await asyncio.sleep(0)
    schedule.stop()


@pytest.mark.anyio
async def test_after_the_clock_was_set_every_job_takes_its_place_on_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, ran = Schedule(), asyncio.Event()

    async def job(_: float) -> None:
        ran.set()

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(hours=3)

    schedule.start()
    schedule.put("hourly", job, interval=3600.0)
    monkeypatch.setattr(module, "datetime", Ahead)
    schedule.realign()  # its new place has gone by on the clock that the scheduler reads: it is due now
    async with asyncio.timeout(30):
        await ran.wait()
    schedule.stop()
