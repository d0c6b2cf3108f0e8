"""A member whose port others hold is started as soon as that is free, and never before it was seen to be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

import pytest

from mcpwatch.model.fact import MemberChanged
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import Phase
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.known_member import PORT_LOOK
from tests.watchdog.stage import SPEC, Stage, staged
from tests.watchdog.step_runtime import StepRuntime

LONG = RestartPolicy(retry=3600.0)
TAKEN = "Bind for 127.0.0.1:8000 failed: port is already allocated"


class Port:
    """A port that others hold in some spans of time, and how often it was looked at."""

    def __init__(self, *held: tuple[float, float]) -> None:
        self.held, self.looks = held, 0

    def taken(self) -> bool:
        now = asyncio.get_running_loop().time()
        return any(begin <= now < end for begin, end in self.held)

    def free(self, spec: MemberSpec) -> bool:
        del spec
        self.looks += 1
        return not self.taken()

    async def holder(self, spec: MemberSpec) -> str:
        del spec
        return "pid 7 (nginx)" if self.taken() else ""


class Engine(StepRuntime):
    """A runtime that is refused a port itself."""

    def __init__(self, port: Port, supervision: Literal["ours", "theirs"] = "ours") -> None:
        super().__init__(supervision)
        self.port = port
        self.begun: list[float] = []
        self.words = TAKEN

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        self.fails = self.words if self.port.taken() else ""
        self.begun.append(asyncio.get_running_loop().time())
        return await super().start(spec, generation)


@pytest.mark.sample(4)
@pytest.mark.parametrize("held", [0.5, 3.0, 45.0, 100.0, 1000.3, 3000.0])
@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_a_port_that_came_free_is_taken_within_a_second_however_long_others_held_it(runtime: str, held: float) -> None:
    port = Port((0.0, held))
    engine = Engine(port)

    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(max(0.0, held - 0.01))
        assert (stage.actor.lives, engine.started) == (False, [])
        await asyncio.sleep(PORT_LOOK + 0.1)
        assert stage.actor.lives
        stage.prove()
        assert (stage.actor.state.phase, stage.actor.port_holder) == (Phase.RUNNING, "")
        looks, port.looks = port.looks, 0
        assert looks <= held + 2 + 8, "once a second, and not for each pause"
        if held > 40.0:
            told = [fact.reason for fact in stage.facts if isinstance(fact, MemberChanged) and fact.new == "starting"]
            assert told[-1] == "its port is free again"
        await asyncio.sleep(100.0)
        assert port.looks == 0, "of one that runs nothing is looked at"

    staged(play, spec=replace(SPEC, runtime=runtime, restart=LONG), runtime=engine, port_holder=port.holder, port_free=port.free)


@pytest.mark.parametrize("how", ["another port", "retry is null", "its carrier restarts it", "another reason"])
def test_a_start_that_no_free_port_helps_comes_when_it_is_due(how: str) -> None:
    """`another port`: what was refused is not the one of its URL, which is free all the while."""
    port = Port((0.0, 0.0 if how == "another port" else 310.0))
    engine = Engine(Port((0.0, 1e9)), "theirs" if how == "its carrier restarts it" else "ours")
    engine.words = "no such file" if how == "another reason" else TAKEN
    retry = None if how == "retry is null" else 3600.0

    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(305.0)
        begun = len(engine.begun)
        await asyncio.sleep(20.0)
        assert len(engine.begun) == begun

    staged(play, spec=replace(SPEC, restart=replace(LONG, retry=retry)), runtime=engine, port_free=port.free)


def test_a_port_that_comes_and_goes_costs_one_try_for_each_time_that_it_was_seen_free() -> None:
    port = Port(*((10.0 * turn, 10.0 * turn + 9.0) for turn in range(60)))
    engine = Engine(Port((0.0, 1e9)))  # and it is gone again when it is bound

    async def play(stage: Stage) -> None:
        stage.actor.tell(d.WantUp(stage.clock.now(), "wanted"))
        await asyncio.sleep(600.0)
        assert len(engine.begun) <= 60 + 6
        assert engine.started == []

    staged(play, spec=replace(SPEC, restart=LONG), runtime=engine, port_free=port.free)
