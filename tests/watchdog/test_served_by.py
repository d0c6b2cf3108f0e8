"""A url that a process of the same fleet serves: that process is named, and repaired where that heals more than it harms."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import Finding, LookAgain
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.scenes import FETCH, OK, PROXY, bad, scene
from tests.watchdog.test_fleet_histories import told
from tests.watchdog.world import GATEWAY, TBXARK, Fault, Server
from tests.watchdog.world_prober import watched

SERVER = MemberSnapshot("p2", "server", "process", Want.UP, Phase.RUNNING, Instant(10.0), start_grace=12.0)
GONE = replace(bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL), succeeded=True)
SILENT = replace(bad(Symptom.TIMEOUT, Stage.OPEN), onset=Instant(1.0), since=Instant(1.0), failures=9)


def url(name: str, seen: Observation = OK, served_by: str = "") -> MemberSnapshot:
    return replace(
        FETCH, name=name, route=None, through=None, runtime="external", direct=seen, asked_at="127.0.0.1:7", served_by=served_by
    )


def of_x(*others: MemberSnapshot, seen: Observation = GONE, server: MemberSnapshot = SERVER) -> Finding | LookAgain:
    findings = diagnose(scene(url("x", seen, "p2"), server, *others, PROXY))
    (found,) = (*findings.found, *findings.look_again)
    return found


def test_it_names_the_member_that_serves_it_and_restarts_that_once() -> None:
    found = of_x(url("y"))
    assert isinstance(found, Finding)
    assert (found.cause, found.subject, found.rung, found.hold, found.tries) == ("child_died", "p2", "restart", "", 1)
    assert (found.about, found.members) == ("member:x", ("x",))
    assert "it is served by 'p2'" in found.text
    assert "mcpwatch did not start it" not in found.text


@pytest.mark.parametrize("others", [(), (url("y", bad(Symptom.UPSTREAM_DOWN), ""),), (replace(url("y"), asked_at="127.0.0.1:8"),)])
def test_one_that_is_silent_and_serves_nothing_else_that_is_well_is_restarted(others: tuple[MemberSnapshot, ...]) -> None:
    found = next(one for one in diagnose(scene(url("x", SILENT, "p2"), SERVER, *others, PROXY)).found if one.about == "member:x")
    assert (found.subject, found.rung, found.hold) == ("p2", "restart", "")
    assert "mcpwatch did not start it" not in found.text


@pytest.mark.parametrize("server", [SERVER, replace(SERVER, direct=OK)])
@pytest.mark.parametrize("seen", [SILENT, GONE])
def test_what_is_well_beside_it_is_not_ended_for_a_silence_nor_for_what_lies_behind(
    seen: Observation, server: MemberSnapshot
) -> None:
    assert GONE.result is not None
    no_way = replace(GONE, result=replace(GONE.result, message="Post: dial tcp 127.0.0.1:9: connect: connection refused"))
    found = of_x(*(() if server.direct else (url("y"),)), seen=no_way if seen is GONE else seen, server=server)
    assert isinstance(found, Finding)
    assert (found.subject, found.rung) == ("p2", None)
    assert f"'mcpwatch restart p2' would end what works too ({'p2' if server.direct else 'y'})" in found.hold


def test_what_was_seen_before_its_server_started_says_nothing_and_a_start_is_waited_for() -> None:
    assert of_x(server=replace(SERVER, started_at=Instant(99.2))) == LookAgain("x")
    young = of_x(server=replace(SERVER, started_at=Instant(95.0)))
    assert isinstance(young, Finding)
    assert (young.hold, young.until) == ("waiting for the start of 'p2', which serves it", Instant(107.0))
    away = of_x(server=replace(SERVER, phase=Phase.STOPPING))
    assert isinstance(away, Finding)
    assert (away.rung, away.hold) == (None, "waiting for 'p2', which serves it")


@pytest.mark.sample(3)
@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("fault", ["child", "hang", "refuse", "broken", "auth", "none"])
def test_a_fault_behind_a_process_that_serves_several_urls_is_healed_by_one_restart_of_it_or_left(
    fault: Fault, others: int, gateway: bool
) -> None:
    names = [f"y{n}" for n in range(others)]
    behind = [Server(name, "url", caches=True, behind="p2") for name in ("x", *names)]
    servers = [Server("a", "process"), Server("p2", "process"), *behind]
    alone = fault in {"hang", "refuse", "broken"} and not others

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY if gateway else TBXARK, servers) as (world, fleet):
            await asyncio.sleep(60.0)
            before = dict(world.starts)
            world.servers["p2"].fault = "refuse" if alone else "none"  # it has checks of its own here, which would be well
            world.servers["x"].fault = fault
            world.mark()
            await asyncio.sleep(200.0)
            if not (fault == "child" or alone):
                world.servers["x"].fault = "none"
                await asyncio.sleep(60.0)
            assert not world.harm, told(world)
            restarted = fault == "child" or alone
            assert world.starts["p2"] - before["p2"] == int(restarted), told(world)
            assert world.starts["a"] == before["a"]
            assert all(route.verdict is Verdict.HEALTHY for route in fleet.view().routes), told(world)

    run(story)
