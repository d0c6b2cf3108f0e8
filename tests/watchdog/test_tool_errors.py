"""A tool that fails, or refuses, the call of a canary: told of the member, and nothing is reconnected or restarted for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.spec import Traits
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from mcpwatch.watchdog.take_snapshot import observe_call
from tests.watchdog.scenes import FETCH, PROVED, PROXY, TIME, bad, found, one
from tests.watchdog.test_fleet_table import causes, staged, tried, verdict
from tests.watchdog.world import GATEWAY, TBXARK, Kind, Server, World

CALLED = replace(PROVED, result=ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.CANARY, 0.1),)), began_at=Instant(99.0))


@pytest.mark.sample(1)
@pytest.mark.parametrize("traits", [GATEWAY, TBXARK])
@pytest.mark.parametrize("kind", ["process", "url", "hosted"])
def test_a_canary_that_the_member_itself_refuses_reconnects_and_restarts_nothing(kind: Kind, traits: Traits) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(33.0)
        for _ in range(3):
            world.servers["m"].fault = "declined"
            await asyncio.sleep(90.0)
            assert causes(fleet) == ["unexpected"]
            assert verdict(fleet, "m") is Verdict.UNHEALTHY
            world.servers["m"].fault = "none"
            await asyncio.sleep(31.0)
            assert causes(fleet) == []
        assert tried(world) == []
        assert not world.harm

    if kind == "hosted" and traits is TBXARK:
        pytest.skip("that one hosts nothing")
    staged(traits, [Server("m", kind), Server("other", "process")], play, canary=frozenset({"m"}))


@pytest.mark.parametrize("symptom", [Symptom.TOOL_ERROR, Symptom.UNEXPECTED])
@pytest.mark.parametrize("traits", [{"nudges": True}, {"holds_sessions": True, "reconnects": False}])
def test_what_a_tool_answers_is_compared_with_the_same_call_alone(symptom: Symptom, traits: dict[str, bool]) -> None:
    failing = replace(bad(symptom, Stage.CANARY), since=Instant(95.0))
    unasked = one(replace(FETCH, through=failing, direct_call=PROVED), TIME, PROXY, **traits)
    assert (unasked.cause, unasked.subject, unasked.rung) == ("unexpected", "fetch", None), "another tool was called"
    assert "said so" in unasked.text
    well = one(replace(FETCH, through=failing, direct_call=CALLED), TIME, PROXY, **traits)
    assert well.rung in ("reconnect", "restart_proxy"), "only the route fails it"
    before = replace(CALLED, began_at=Instant(94.0))
    again = found(replace(FETCH, through=failing, direct_call=before), TIME, PROXY, **traits)
    assert (again.found, [look.deep for look in again.look_again]) == ((), [True])


def test_the_call_that_counts_is_of_the_check_that_fails_through_the_route() -> None:
    def history(symptom: Symptom | None, began: float) -> CheckHistory:
        result = ProbeResult(Outcome.FAILURE if symptom else Outcome.SUCCESS, symptom, Stage.CANARY if symptom else None)
        return CheckHistory(latest=result, began_at=Instant(began), deep=True)

    histories = Histories()
    histories[CheckKey("m", "canary", "direct")] = history(Symptom.TOOL_ERROR, 5.0)
    histories[CheckKey("m", "mcp", "direct")] = history(None, 6.0)
    histories[CheckKey("r", "canary", "route")] = history(None, 7.0)
    latest = observe_call(histories, "m", "r")
    assert latest is not None
    assert latest.symptom is None
    histories[CheckKey("r", "canary", "route")] = history(Symptom.TOOL_ERROR, 7.0)
    same = observe_call(histories, "m", "r")
    assert same is not None
    assert same.symptom is Symptom.TOOL_ERROR
