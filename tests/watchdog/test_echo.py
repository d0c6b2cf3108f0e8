"""A route whose call has the same error as all that the member is asked itself: it is reached, and it serves nobody."""

from __future__ import annotations

import asyncio

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.watchdog.history import CheckHistory
from mcpwatch.watchdog.own_words import echoed
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.test_fleet_histories import told
from tests.watchdog.world import GATEWAY, TBXARK, Kind, Server
from tests.watchdog.world_prober import ERRING, watched

WELL = ProbeResult(Outcome.SUCCESS, said=f"internal error: {ERRING}")


def direct(message: str, said: str = ERRING, symptom: Symptom | None = Symptom.RPC_ERROR) -> CheckHistory:
    outcome = Outcome.FAILURE if symptom else Outcome.SUCCESS
    return CheckHistory(latest=ProbeResult(outcome, symptom, Stage.TOOLS_LIST, message, said=said))


def test_the_same_error_at_both_places_is_a_failure_of_the_route() -> None:
    found = echoed(WELL, [CheckHistory(), direct("tools/list was answered with error -32603: …")])
    assert (found.outcome, found.symptom, found.stage) == (Outcome.FAILURE, Symptom.RPC_ERROR, Stage.SAFE_CALL)
    assert found.message == f"tools/call was answered as the member itself is asked in vain: {ERRING}"


@pytest.mark.parametrize(
    "history",
    [
        CheckHistory(),
        direct("tools/list was answered with error -32602: …"),
        direct("tools/list was answered with error -32601: …"),
        direct("…", said="missing argument 'text'"),
        direct("…", said=""),
        direct("…", symptom=Symptom.TIMEOUT),
        direct("…", symptom=None),
    ],
)
def test_any_other_error_of_a_call_that_has_to_fail_proves_the_way(history: CheckHistory) -> None:
    assert echoed(WELL, [history]) is WELL
    silent = ProbeResult(Outcome.SUCCESS)
    assert echoed(silent, [direct("…")]) is silent
    failed = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, said=ERRING)
    assert echoed(failed, [direct("…")]) is failed


@pytest.mark.sample
@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("kind", ["process", "url"])
def test_whoever_answers_each_request_by_an_error_has_no_client_that_is_served(kind: Kind, gateway: bool) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        servers = [Server("m", kind), Server("o", "process")]
        async with watched(loop, clock, GATEWAY if gateway else TBXARK, servers) as (world, fleet):
            await asyncio.sleep(60.0)
            world.servers["m"].fault = "erring"
            world.mark()
            await asyncio.sleep(60.0)
            if kind == "url":
                route = next(one for one in fleet.view().routes if one.name == "m")
                assert route.verdict is Verdict.UNHEALTHY, told(world)
                assert ERRING in route.message
                (found,) = fleet.view().diagnoses
                assert (found.subject, "served" in found.next) == ("m", False)
            await asyncio.sleep(60.0)
            assert "clients are served" not in told(world)
            world.mark()
            world.servers["m"].fault = "none"
            await asyncio.sleep(60.0)
            assert {one.verdict for one in fleet.view().routes} == {Verdict.HEALTHY}, told(world)
            assert world.starts["m"] == (1 if kind == "url" else 2), told(world)
            assert world.starts["o"] == 1
            assert not world.harm

    run(story)
