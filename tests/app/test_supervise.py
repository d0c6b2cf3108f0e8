"""Services of the daemon: started again when they fail, told as down meanwhile, and never shown as well while they are not."""

from __future__ import annotations

import asyncio

import pytest

from mcpwatch.app.services import unknown
from mcpwatch.app.supervise import ServiceSupervisor
from mcpwatch.clock import SystemClock
from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.runtimes.self_watch import SelfWatch
from tests.virtual import VirtualClock, run

WAIT = 20.0


class Told(list[Troubled]):
    """What was published, and an event for each."""

    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    def publish(self, fact: Fact) -> None:
        assert isinstance(fact, Troubled)
        self.append(fact)
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(self) < count:
                self.news.clear()
                await self.news.wait()


def supervisor(told: Told) -> ServiceSupervisor:
    return ServiceSupervisor(told.publish, SystemClock(), first=0.01, longest=0.05, well_after=0.02)


@pytest.mark.anyio
async def test_a_service_that_fails_is_down_with_its_reason_until_it_runs_again() -> None:
    told, runs = Told(), 0
    kept = supervisor(told)

    async def clients() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise KeyError("2024-01-01")
        await asyncio.Event().wait()

    task = asyncio.create_task(kept.keep("clients", clients))
    await told.until(1)
    assert [down.name for down in kept.down] == ["clients"]
    assert kept.reason("clients") == "not known: the clients service is down since it failed: KeyError: '2024-01-01'"
    assert kept.reason("alerts") == ""
    await told.until(3)
    assert kept.down == ()
    assert [(fact.subject, fact.cleared) for fact in told] == [("clients", False), ("clients", False), ("clients", True)]
    task.cancel()
    await asyncio.wait([task])
    assert runs == 3


@pytest.mark.anyio
async def test_a_service_that_returns_is_not_started_again() -> None:
    told, runs = Told(), 0

    async def done() -> None:
        nonlocal runs
        runs += 1

    await supervisor(told).keep("control", done)
    assert (runs, list(told)) == (1, [])


@pytest.mark.anyio
async def test_the_first_error_of_a_group_is_the_reason() -> None:
    told = Told()
    kept = supervisor(told)

    async def broken() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def fail() -> None:
        raise ValueError("a circular alias")

    task = asyncio.create_task(kept.keep("telemetry", broken))
    await told.until(1)
    assert kept.down[0].reason == "ValueError: a circular alias"
    task.cancel()
    await asyncio.wait([task])


def test_what_a_service_that_is_down_shows_is_not_known() -> None:
    rows = [{"client": "cursor", "in_sync": True}]
    assert unknown(rows, "") == rows
    assert unknown(rows, "not known: x") == [{"client": "cursor", "in_sync": None, "unknown": "not known: x"}]
    assert unknown({"alerts": []}, "not known: x") == {"alerts": [], "unknown": "not known: x"}


def test_a_self_watch_whose_every_tick_fails_is_never_told_to_run_again() -> None:
    told: list[Fact] = []

    def tick() -> None:
        raise OSError("no more files")

    async def play(loop: asyncio.AbstractEventLoop, clock: VirtualClock) -> None:
        kept = ServiceSupervisor(told.append, clock)
        task = loop.create_task(kept.keep("self-watch", SelfWatch(lambda _: None, tick).run))
        await asyncio.sleep(60.0)
        task.cancel()

    run(play)
    assert len(told) > 3
    assert not any(isinstance(fact, Troubled) and fact.cleared for fact in told)
