"""After its end a fleet does nothing more: no repair, and no start that was still to come."""

from __future__ import annotations

import asyncio

from mcpwatch.model.fact import RepairTried
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.restart import Backoff, RestartPolicy
from tests.watchdog.small_fleet import SmallFleet, fleet_story, member, plan

A = member("a", restart=RestartPolicy(backoff=Backoff(first=10.0, jitter=0.0)))
HUNG = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.TOOLS_LIST, "no answer")


def test_what_was_to_be_repaired_when_it_ended_is_left_alone() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A))
        await asyncio.sleep(6.0)
        small.answers["http://h/a"] = HUNG
        actor = small.fleet.actors["a"]
        for _ in range(20_000):
            if actor.state.verdict is Verdict.UNHEALTHY:
                break
            await asyncio.sleep(0.005)
        assert actor.state.verdict is Verdict.UNHEALTHY
        assert small.texts(RepairTried) == [], "it is considered in a moment"
        small.fleet.close()
        await asyncio.sleep(100.0)
        small.fleet.mender.consider()
        assert small.texts(RepairTried) == []
        assert small.generations() == {"a": 1}

    fleet_story(play)


def test_a_start_that_waits_for_its_pause_when_the_fleet_ends_does_not_come() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A))
        await asyncio.sleep(6.0)
        actor = small.fleet.actors["a"]
        for generation in (1, 2):
            actor.exited(Exited("a", generation, code=1))
            await asyncio.sleep(1.0)
        assert actor.state.phase is Phase.BACKOFF
        small.fleet.close()
        await asyncio.sleep(100.0)
        assert (actor.state.phase, small.runtimes["process"].started) == (Phase.BACKOFF, [1, 2])

    fleet_story(play)
