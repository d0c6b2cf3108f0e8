"""What a fleet costs grows no faster than the fleet, and what one check costs not at all: counted in steps of the interpreter."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from mcpwatch.config.diff import diff
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route

pytestmark = pytest.mark.slow

FEW, MANY = 16, 64
BAD = ProbeResult(Outcome.FAILURE, Symptom.AUTH, message="it refuses our token")
ROOM = 1.02
"""By how much more than the fleet a cost may grow: what is sorted."""


@contextmanager
def counted() -> Generator[list[int]]:
    """Steps of the interpreter in this thread, meanwhile."""
    steps, before = [0], sys.gettrace()

    def step(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps[0] += event == "opcode"
        return step

    sys.settrace(step)
    try:
        yield steps
    finally:
        sys.settrace(before)


def costs(work: Callable[[SmallFleet], Any], count: int, *, ill: bool) -> int:
    """The steps of some work on a fleet of so many members behind a proxy, all well or each with a trouble of its own."""
    found: list[int] = []

    async def play(small: SmallFleet) -> None:
        names = [f"m{number}" for number in range(count)]
        await small.fleet.begin(plan(*(member(name, route=name) for name in names), PROXY, routes=[route(name) for name in names]))
        await asyncio.sleep(20.0)
        if ill:
            small.answers = {f"http://h/{name}": BAD for name in names}
            await asyncio.sleep(120.0)
        assert len(small.fleet.mender.current) == (count if ill else 0)
        small.fleet.monitor.probing.schedule.stop()
        await asyncio.sleep(0.1)  # all that was under way is over
        with counted() as steps:
            answer = work(small)
            if asyncio.iscoroutine(answer):
                await answer
        found.append(steps[0])

    fleet_story(play)
    return found[0]


def reloads(small: SmallFleet) -> object:
    before = small.fleet.plan()
    first, *rest = before.members
    return diff(before, replace(before, members=(replace(first, start_grace=7.0), *rest)))


WORK: dict[str, Callable[[SmallFleet], Any]] = {
    "a diagnosis": lambda small: small.fleet.mender.consider(),
    "a status": lambda small: small.fleet.view(),
    "a reload": reloads,
}


@pytest.mark.parametrize("ill", [False, True], ids=["well", "ill"])
@pytest.mark.parametrize("work", WORK)
def test_a_fleet_four_times_as_large_costs_no_more_than_four_times_as_much(work: str, ill: bool) -> None:
    few, many = (costs(WORK[work], count, ill=ill) for count in (FEW, MANY))
    assert many <= ROOM * few * MANY / FEW


async def checks(small: SmallFleet) -> None:
    await small.fleet.probe_now(last(small))


def starts(small: SmallFleet) -> None:
    small.fleet.monitor.on_start(small.fleet.actors[last(small)])


def last(small: SmallFleet) -> str:
    return f"m{len(small.fleet.actors) - 2}"


@pytest.mark.parametrize("work", [checks, starts])
def test_what_one_check_or_start_costs_does_not_depend_on_how_many_others_there_are(work: Callable[[SmallFleet], Any]) -> None:
    few, many = (costs(work, count, ill=False) for count in (FEW, MANY))
    assert many - few < MANY - FEW
