"""How late checks are told to be: the worst of the last minute, without what nobody could have begun in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckKey
from mcpwatch.watchdog.probing import Aim, ProbeListener, Probing, ScheduledCheck
from mcpwatch.watchdog.schedule import Job
from mcpwatch.watchdog.senses import Context

pytestmark = pytest.mark.anyio


@dataclass
class Hands:
    """A clock set by hand."""

    at: float = 1000.0
    notice: Callable[[], None] = lambda: None

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(self.at)


def nothing(work: Coroutine[Any, Any, None], name: str) -> None:
    work.close()


async def as_it_is(scheduled: ScheduledCheck, result: ProbeResult, begun: Instant) -> ProbeResult:
    del scheduled, begun
    return result


def listening(aim: Aim | None = None) -> ProbeListener:
    """One who has every check run against this, and hears nothing."""
    return ProbeListener(
        aim=lambda _: aim,
        proving=lambda _member, _generation: False,
        on_try=lambda _: None,
        excuse=as_it_is,
        refine=lambda _scheduled, result, _generation: result,
        on_result=lambda _scheduled, _before, _after: None,
        notice=lambda: None,
    )


async def late(monkeypatch: pytest.MonkeyPatch, clock: Hands) -> tuple[Probing, Job]:
    """Probing with one check, and the job that the schedule runs for it."""
    listener = replace(listening(), notice=lambda: clock.notice())  # noqa: PLW0108 - it is changed later
    probing = Probing(Prober(), Context(clock, lambda _: None, nothing), listener)
    jobs: list[Job] = []

    def put(name: str, job: Job, **_: object) -> None:
        jobs.append(job)

    monkeypatch.setattr(probing.schedule, "put", put)
    probing.watch([ScheduledCheck(CheckKey("time", "mcp", "direct"), CheckSpec("mcp", "mcp"), "time")])
    return probing, jobs[0]


async def test_a_lag_is_told_for_a_minute_and_the_worst_of_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hands()
    probing, job = await late(monkeypatch, clock)
    for at, lag, worst in [
        (0, 0.5, 0.5),
        (20, 3.0, 3.0),
        (30, 0.2, 3.0),
        (70, 0.1, 3.0),
        (81, 0.1, 0.2),
        (95, 0.0, 0.1),
        (300, 0.0, 0.0),
    ]:
        clock.at = 1000.0 + at
        await job(lag)
        assert probing.worst_lag == worst
    clock.at += 61.0
    assert probing.worst_lag == 0.0


async def test_a_check_that_was_due_while_nobody_watched_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hands()
    probing, job = await late(monkeypatch, clock)
    clock.at = 1050.0
    clock.notice = lambda: probing.gap(Instant(1049.0))  # the gap is found by whoever asks first
    await job(30.0)
    assert probing.worst_lag == 0.0
    clock.notice = lambda: None
    await job(0.5)
    assert probing.worst_lag == 0.5


async def test_whether_somebody_watched_is_asked_before_a_check_is_called_late_by_more_than_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Hands()
    _, job = await late(monkeypatch, clock)
    asked: list[float] = []
    for lag in (1.0, 1.1):
        clock.notice = lambda lag=lag: asked.append(lag)
        await job(lag)
    assert asked == [1.1]


async def test_a_lag_that_began_with_the_gap_is_one_and_a_clock_that_was_set_makes_all_of_them_void(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Hands()
    probing, job = await late(monkeypatch, clock)
    probing.gap(Instant(1000.0))
    clock.at = 1000.5
    await job(0.5)
    assert probing.worst_lag == 0.5
    realigned: list[bool] = []
    monkeypatch.setattr(probing.schedule, "realign", lambda: realigned.append(True))
    probing.clock_set()
    assert (probing.worst_lag, realigned) == (0.0, [True])


async def test_a_lag_counts_for_a_minute_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hands()
    probing, job = await late(monkeypatch, clock)
    await job(0.9)
    clock.at += 60.0
    assert probing.worst_lag == 0.9
    await job(0.2)
    assert probing.worst_lag == 0.9
    clock.at += 0.5
    assert probing.worst_lag == 0.2


async def test_checks_that_are_due_at_once_begin_one_by_one_and_leave_the_loop_to_others_in_between() -> None:
    count, turns, began, end = 20, 0, list[int](), asyncio.Event()

    class Asked(Prober):
        async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
            began.append(turns)
            await end.wait()
            return ProbeResult(Outcome.UNKNOWN)

    probing = Probing(Asked(), Context(Hands(), lambda _: None, nothing), listening(Aim(Target("http://h"), CheckSpec("mcp"), 1)))
    checks = [ScheduledCheck(CheckKey(f"m{n}", "mcp", "direct"), CheckSpec("mcp", "mcp"), f"m{n}") for n in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for one in checks:
            tasks.create_task(probing.run(one))
        while len(began) < count:
            await asyncio.sleep(0)
            turns += 1
            assert turns < 10 * count
        end.set()
    assert len(set(began)) == count
