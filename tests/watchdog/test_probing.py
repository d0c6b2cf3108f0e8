"""How late checks are told to be: the worst of the last minute, without what nobody could have begun in time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckKey
from mcpwatch.watchdog.probing import Listener, Probing, ScheduledCheck
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


async def late(monkeypatch: pytest.MonkeyPatch, clock: Hands) -> tuple[Probing, Job]:
    """Probing with one check, and the job that the schedule runs for it."""
    listener = Listener(
        aim=lambda _: None,
        proving=lambda _member, _generation: False,
        on_try=lambda _: None,
        refine=lambda _scheduled, result, _generation: result,
        on_result=lambda _scheduled, _before, _after: None,
        notice=lambda: clock.notice(),  # noqa: PLW0108 - it is changed later
    )
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
