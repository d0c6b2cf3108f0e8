"""What is to stop and cannot be stopped is named as long as that lasts, whoever wanted the stop and whatever carries it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from mcpwatch.model.fact import Diagnosed
from mcpwatch.model.member import Phase
from mcpwatch.watchdog import decide as d
from tests.watchdog.small_fleet import CHECK, PROXY, SmallFleet, fleet_story, member, plan, route

WHY = "cannot be killed: 773 (state D)"


@pytest.mark.sample(6)
@pytest.mark.parametrize("seed", range(24))
def test_what_cannot_be_stopped_has_a_diagnosis_until_it_is_stopped(seed: int) -> None:
    chance = random.Random(seed)
    victim, wish = chance.choice(("a", "a", "proxy")), chance.choice(("repair", "restart", "stop"))
    lasts = chance.uniform(1.0, 60.0)

    async def play(small: SmallFleet) -> None:
        check = replace(CHECK, interval=2.0, timeout=2.0, failure_threshold=2)
        told = [replace(one, checks=(check,), stop_grace=2.0) for one in (member("a", route="a"), member("b"), PROXY)]
        await small.fleet.begin(plan(*told, routes=(route("a"),)))
        await asyncio.sleep(5.0)
        carrier = small.runtime("process")
        carrier.stop_fails = f"{victim}: {WHY}"
        if wish == "repair":
            small.fleet.actors[victim].tell(d.WantRestart(small.clock.now(), "repair: it hangs", counts=True))
        else:
            small.guard(small.fleet.command(wish, victim), wish)
        await asyncio.sleep(lasts)
        (named,) = (one for one in small.fleet.view().diagnoses if one.subject == victim)
        assert (named.cause, named.rung, named.text) == ("unkillable", None, f"it is to stop, but {WHY}")
        assert named.next.startswith("left to a person")
        assert small.generations()["b"] == 1
        carrier.stop_fails = ""
        await asyncio.sleep(60.0)
        assert "unkillable" not in {one.cause for one in small.fleet.view().diagnoses}
        assert small.phases()[victim] is (Phase.STOPPED if wish == "stop" else Phase.RUNNING)
        assert [one.cleared for one in small.facts if isinstance(one, Diagnosed) and one.cause == "unkillable"] == [False, True]

    fleet_story(play)
