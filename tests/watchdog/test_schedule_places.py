"""Which place in its interval a check has, to the second, and what a run that is due again too soon is moved to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mcpwatch.watchdog.schedule import SLOT, GridTrigger, Schedule, offset, trigger_of

NOON = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("jobs", "parts"),
    [(0, 1), (480, 1), (481, 2), (960, 2), (961, 4), (1920, 4), (1921, 8)],
)
def test_a_slot_is_cut_in_halves_and_these_again_when_there_are_more_than_sixteen_jobs_for_each(jobs: int, parts: int) -> None:
    names = [f"direct:m{n}:mcp" for n in range(3000)]
    within = {offset(name, 60.0, jobs) % SLOT for name in names}
    assert within == {part * SLOT / parts for part in range(parts)}


def test_a_crowd_is_counted_by_whoever_asks_at_each_run() -> None:
    jobs = [1]
    triggers = [trigger_of(f"direct:m{n}:mcp", 60.0, None, lambda: jobs[0]) for n in range(200)]

    def places() -> set[float]:
        found = [trigger.get_next_fire_time(None, NOON) for trigger in triggers]
        return {at.timestamp() % SLOT for at in found if at is not None}

    assert places() == {0.0}
    jobs[0] = 481
    assert places() == {0.0, 1.0}


@pytest.mark.parametrize(("before", "moved"), [(14.0, 30.0), (15.0, 0.0), (16.0, 0.0), (0.0, 30.0)])
def test_a_run_is_moved_by_an_interval_when_the_last_one_was_less_than_half_of_it_ago(before: float, moved: float) -> None:
    trigger = GridTrigger("direct:time:mcp", 30.0)
    due = trigger.get_next_fire_time(None, NOON)
    assert trigger.get_next_fire_time(due - timedelta(seconds=before), NOON) == due + timedelta(seconds=moved)


async def _idle(_: float) -> None: ...


@pytest.mark.anyio
async def test_what_shares_a_slot_is_one_job_of_the_scheduler_and_has_its_place_whenever_it_came() -> None:
    schedule, names = Schedule(), [f"direct:m{n}:mcp" for n in range(481)]

    def places() -> list[float]:
        jobs = schedule._scheduler.get_jobs()  # pyright: ignore[reportPrivateUsage]
        return [job.next_run_time.timestamp() % 60.0 for job in jobs]

    for name in names[:100]:
        schedule.put(name, _idle, interval=60.0)
    schedule.start()
    try:
        assert sorted(places()) == sorted({offset(name, 60.0) for name in names[:100]})
        for name in names[100:]:
            schedule.put(name, _idle, interval=60.0)
        assert len(places()) == 60, "one more than the slots carry, and each is cut in halves"
        assert sorted(places()) == sorted({offset(name, 60.0, 481) for name in names})
        schedule.put("nightly", _idle, cron="0 3 * * *")
        schedule.drop("nightly")
        schedule.drop(names[0])
        assert sorted(places()) == sorted({offset(name, 60.0, 480) for name in names[1:]})
        for name in names:
            schedule.drop(name)
        assert places() == []
    finally:
        schedule.stop()


@pytest.mark.anyio
async def test_a_job_that_fails_is_told_and_keeps_none_of_its_slot_from_running(caplog: pytest.LogCaptureFixture) -> None:
    schedule, ran, enough = Schedule(), list[str](), asyncio.Event()

    async def fails(_: float) -> None:
        ran.append("fails")
        raise ValueError("of no use")

    async def works(_: float) -> None:
        ran.append("works")
        if ran.count("works") > 1 and ran.count("fails") > 1:
            enough.set()

    schedule.put("direct:bad:mcp", fails, interval=0.02)
    for n in range(20):
        schedule.put(f"direct:m{n}:mcp", works, interval=0.02)
    schedule.start()
    async with asyncio.timeout(30):
        await enough.wait()
    schedule.stop()
    assert {record.getMessage() for record in caplog.records} == {"direct:bad:mcp failed"}
    assert all(record.exc_info for record in caplog.records)
