"""A member that fails its checks and serves its clients: shown as it is, and left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.member import ClientCalls, Phase
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.clients_served import CALL_PATIENCE
from mcpwatch.watchdog.finding import LookAgain
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.snapshot import Observation
from mcpwatch.watchdog.spared import SERVED, UNSEEN_PATIENCE, WORK_PATIENCE
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROVED, PROXY, TIME, bad, found, one
from tests.watchdog.test_fleet_table import causes, staged, tried, verdict
from tests.watchdog.world import GATEWAY, TBXARK, Fault, Kind, Server, World

ODD = replace(bad(Symptom.BAD_REPLY, Stage.INITIALIZE), succeeded=True)
SINCE = replace(OK, began_at=Instant(95.0))
"""Well by a probe that began when the other vantage was first seen to fail."""
CACHES = {"holds_sessions": True, "lists_from_cache": True, "reconnects": False}


@pytest.mark.parametrize("symptom", [Symptom.BAD_REPLY, Symptom.RPC_ERROR, Symptom.TIMEOUT, Symptom.REFUSED, Symptom.NO_REPLY])
def test_one_whose_route_was_found_well_since_is_told_as_it_is_and_left_alone(symptom: Symptom) -> None:
    seen = replace(bad(symptom), succeeded=symptom is Symptom.RPC_ERROR)
    told = one(replace(FETCH, direct=seen, through=SINCE), TIME, PROXY)
    assert (told.rung, told.hold) == (None, SERVED)
    assert told.cause in ("member_failing", "member_hung")
    assert one(replace(FETCH, direct=seen, through=bad(symptom)), TIME, PROXY).rung == "restart"


def test_a_route_that_nobody_looked_at_since_is_looked_at_first_and_one_that_fails_saves_nobody() -> None:
    before = replace(OK, began_at=Instant(94.9))
    told = found(replace(FETCH, direct=ODD, through=before), TIME, PROXY)
    assert (told.found, told.look_again) == ((), (LookAgain("fetch"),))
    assert found(replace(FETCH, direct=ODD, through=Observation()), TIME, PROXY).look_again == (LookAgain("fetch"),)
    silent = replace(bad(Symptom.TIMEOUT), began_at=Instant(89.0))
    assert found(replace(FETCH, direct=silent, through=before), TIME, PROXY).look_again == (LookAgain("fetch", brief=True),)
    fails = replace(SINCE, failures=1)
    assert one(replace(FETCH, direct=ODD, through=fails), TIME, PROXY).rung == "restart"
    unknown = replace(ODD, since=None)
    assert one(replace(FETCH, direct=unknown, through=before), TIME, PROXY).hold == SERVED


def test_an_answer_from_a_memory_and_a_list_against_a_call_save_nobody() -> None:
    assert one(replace(FETCH, direct=ODD, through=SINCE), TIME, PROXY, **CACHES).rung == "restart"
    assert one(replace(FETCH, direct=ODD, through=replace(PROVED, began_at=Instant(96.0))), TIME, PROXY, **CACHES).hold == SERVED
    assert one(replace(FETCH, direct=ODD, through=SINCE), TIME, PROXY, **{**CACHES, "reconnects": True}).hold == SERVED
    assert one(replace(FETCH, direct=ODD, through=SINCE), TIME, PROXY, **{**CACHES, "lists_from_cache": False}).hold == SERVED
    assert one(replace(FETCH, direct=ODD, through=SINCE), TIME, PROXY, **{**CACHES, "holds_sessions": False}).hold == SERVED
    child = bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)
    assert one(replace(FETCH, direct=child, through=SINCE), TIME, PROXY).rung == "restart"
    assert one(replace(FETCH, direct=child, through=replace(PROVED, began_at=Instant(96.0))), TIME, PROXY).hold == SERVED


def test_nobody_else_is_spared() -> None:
    assert one(replace(HOSTED, through=ODD), TIME, PROXY).rung == "restart", "its route is all there is of it"
    assert one(replace(FETCH, direct=ODD, through=None, route=None), PROXY).rung == "restart", "nobody reaches it otherwise"
    away = found(replace(FETCH, direct=ODD, through=SINCE), replace(PROXY, phase=Phase.STARTING))
    assert [told.rung for told in away.found] == ["restart"], "its route is not looked at while the proxy starts"
    assert one(replace(FETCH, direct=bad(Symptom.AUTH), through=SINCE), PROXY).hold == "", "that is repaired by nobody anyway"


@pytest.mark.sample
@pytest.mark.parametrize(("rounds", "seconds"), [(1, 120), pytest.param(2, 300, marks=pytest.mark.slow)], ids=["once", "twice"])
@pytest.mark.parametrize(
    ("fault", "gateway"),
    [(fault, gateway) for fault in ("odd", "half", "moved") for gateway in (True, False) if gateway or fault != "moved"],
)
@pytest.mark.parametrize("kind", ["process", "url"])
def test_what_is_odd_half_broken_or_moved_is_told_until_it_is_over_and_restarts_nothing(
    fault: Fault, kind: Kind, gateway: bool, rounds: int, seconds: int
) -> None:
    """Behind a proxy that holds its session nothing is to be seen of one that moved."""

    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        for _ in range(rounds):
            world.servers["m"].fault = fault
            told = set[str]()
            for _ in range(seconds // 5):
                await asyncio.sleep(5.0)
                told |= set(causes(fleet))
            assert told, "it is told"
            assert not {rung for rung, _ in tried(world)} - {"reconnect"}
            world.servers["m"].fault = "none"
            await asyncio.sleep(120.0)
            assert causes(fleet) == []
        assert verdict(fleet, "m") == "healthy"
        assert not world.harm
        assert set(world.starts.values()) == {1}

    staged(GATEWAY if gateway else TBXARK, [Server("m", kind), Server("other", "process")], play)


SILENT = replace(bad(Symptom.TIMEOUT, Stage.PING), onset=Instant(80.0))
WAITING = ClientCalls(Instant(70.0))
BUSY = replace(HOSTED, through=SILENT, calls=WAITING)


def test_a_silent_member_is_left_to_the_request_that_a_client_waits_for_and_says_for_how_long() -> None:
    told = one(BUSY, TIME, PROXY, nudges=True)
    assert (told.rung, told.until) == ("restart", Instant(70.0 + CALL_PATIENCE))
    assert told.hold.startswith("left to a client's request that has been under way for 30s, since before it fell silent")
    assert one(replace(FETCH, direct=SILENT, through=SILENT, calls=WAITING), TIME, PROXY).hold == told.hold


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": ClientCalls()},
        {"calls": ClientCalls(Instant(80.0))},
        {"calls": ClientCalls(Instant(100.0 - CALL_PATIENCE))},
        {"through": replace(SILENT, onset=None)},
        {"through": replace(bad(Symptom.RPC_ERROR, Stage.PING), onset=Instant(80.0))},
    ],
    ids=["none waits", "it came later", "it waited too long", "not known since when", "it answers"],
)
def test_no_other_request_is_a_reason_to_wait(changes: dict[str, Any]) -> None:
    told = one(replace(BUSY, **changes), TIME, PROXY, nudges=True)
    assert (told.rung, told.hold) == ("restart", "")


def test_a_silent_member_whose_processes_work_is_given_time_and_no_more_than_that() -> None:
    working = replace(HOSTED, through=SILENT, works=True)
    told = one(working, TIME, PROXY, nudges=True)
    assert (told.rung, told.until) == ("restart", Instant(80.0 + WORK_PATIENCE))
    assert told.hold.endswith(f"so that it may be at work; it is given {WORK_PATIENCE - 20.0:.0f}s more")
    long = replace(SILENT, onset=Instant(100.0 - WORK_PATIENCE))
    for other in (long, replace(SILENT, onset=None), replace(bad(Symptom.RPC_ERROR, Stage.PING), onset=Instant(80.0))):
        over = one(replace(working, through=other), TIME, PROXY, nudges=True)
        assert (over.rung, over.hold) == ("restart", ""), other
    assert one(replace(working, works=False), TIME, PROXY, nudges=True).hold == ""
    both = one(replace(working, calls=WAITING), TIME, PROXY, nudges=True)
    assert both.until == Instant(70.0 + CALL_PATIENCE), "what a client waits for says more"


@pytest.mark.parametrize("ends", [True, False])
def test_one_that_works_through_its_silence_is_not_restarted_and_one_that_loops_is_afterwards(*, ends: bool) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["m"].fault, world.servers["m"].works = "hang", True
        await asyncio.sleep(WORK_PATIENCE - 10.0)
        assert tried(world) == []
        assert causes(fleet) == ["member_hung"]
        if ends:
            world.servers["m"].fault = "none"
        await asyncio.sleep(90.0)
        assert tried(world) == ([] if ends else [("restart", "m")])
        assert causes(fleet) == []

    staged(GATEWAY, [Server("m", "process"), Server("other", "process")], play)


WELL_BEFORE = replace(SILENT, succeeded=True)


def test_behind_a_proxy_that_tells_of_no_client_one_that_was_well_is_given_time() -> None:
    told = one(replace(FETCH, direct=WELL_BEFORE, through=WELL_BEFORE), TIME, PROXY)
    assert (told.rung, told.until) == ("restart", Instant(80.0 + UNSEEN_PATIENCE))
    assert told.hold == "it may be at work for a client, which nobody sees behind this proxy; it is given 70s more"
    inner = replace(FETCH, runtime="external", direct=None, port=None, through=WELL_BEFORE)
    of_the_proxy = one(inner, TIME, PROXY, holds_sessions=True, lists_from_cache=True, reconnects=False)
    assert (of_the_proxy.cause, of_the_proxy.rung, of_the_proxy.hold) == ("member_hung", "restart_proxy", told.hold)


@pytest.mark.parametrize(
    ("seen", "traits"),
    [
        (SILENT, {}),
        (replace(WELL_BEFORE, onset=Instant(100.0 - UNSEEN_PATIENCE)), {}),
        (replace(WELL_BEFORE, onset=None), {}),
        (replace(bad(Symptom.RPC_ERROR, Stage.PING), onset=Instant(80.0), succeeded=True), {}),
        (WELL_BEFORE, {"nudges": True}),
    ],
    ids=["never well", "its time is over", "not known since when", "it answers", "its proxy tells of clients"],
)
def test_no_other_silence_is_waited_for(seen: Observation, traits: dict[str, bool]) -> None:
    told = one(replace(FETCH, direct=seen, through=seen), TIME, PROXY, **traits)
    assert (told.rung, told.hold) == ("restart", "")
    alone = one(replace(FETCH, direct=WELL_BEFORE, through=None, route=None), PROXY)
    assert (alone.rung, alone.hold) == ("restart", ""), "no client reaches it through the proxy"


@pytest.mark.sample
@pytest.mark.parametrize("kind", ["process", "inside"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_server_behind_tbxark_that_a_client_keeps_busy_costs_no_restart_and_one_that_hangs_costs_one(
    kind: Kind, *, ends: bool
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["m"].fault = "hang"
        await asyncio.sleep(UNSEEN_PATIENCE - 15.0)
        assert tried(world) == []
        assert causes(fleet) == ["member_hung"]
        if ends:
            world.servers["m"].fault = "none"
        await asyncio.sleep(180.0)
        restarted = {"process": ("restart", "m"), "inside": ("restart_proxy", "proxy")}[kind]
        assert tried(world)[:1] == ([] if ends else [restarted])
        assert causes(fleet) == []

    staged(TBXARK, [Server("m", kind), Server("other", "process")], play)
