"""What a proxy, or what stands before it, answers by itself: broken bytes, and silence to whoever comes without a token."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from mcpwatch.model.fact import Diagnosed
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.symptom import DOOR_STAGES, NOT_HTTP
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.door import shut_out
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation
from mcpwatch.watchdog.take_snapshot import observe
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.scenes import FETCH, HOSTED, TBXARK, bad, named, scene
from tests.watchdog.test_fleet_histories import told
from tests.watchdog.world import GATEWAY, PROXY, Fault, Server
from tests.watchdog.world import TBXARK as TRAITS
from tests.watchdog.world_prober import watched

PHASES: tuple[Fault, ...] = ("garbled", "deaf", "none")


@pytest.mark.sample
@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_stands_before_a_proxy_no_session_is_blamed_nothing_is_restarted_and_it_is_over_when_it_is_over(
    seed: int, gateway: bool
) -> None:
    chance = random.Random(seed)
    phases: list[tuple[Fault, float]] = [(chance.choice(PHASES), chance.uniform(4.0, 150.0)) for _ in range(3)]
    phases.append(("garbled", chance.uniform(20.0, 90.0)))
    servers = [Server("a", "process", caches=True), Server("b", "url"), Server("h", "hosted" if gateway else "inside")]

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, GATEWAY if gateway else TRAITS, servers, guarded=True) as (world, fleet):
            await asyncio.sleep(chance.uniform(30.0, 90.0))
            for fault, seconds in phases:
                world.proxy.fault = fault
                await asyncio.sleep(seconds)
            world.proxy.fault = "none"
            await asyncio.sleep(12.0)
            story = f"{phases}\n{told(world)}"
            assert {one.name: one.verdict for one in fleet.view().routes} == dict.fromkeys(world.servers, Verdict.HEALTHY), story
            assert not fleet.view().diagnoses, story
            causes = {fact.cause for fact in world.facts if isinstance(fact, Diagnosed) and fact.member != "b"}
            assert causes <= {"route_failing"}, story
            assert world.starts[PROXY] == 1, story
            assert not world.harm, story

    run(story)


@pytest.mark.parametrize(
    "seconds", [5.0, 25.0, pytest.param(100.0, marks=pytest.mark.slow), pytest.param(400.0, marks=pytest.mark.slow)]
)
def test_a_proxy_that_answers_an_error_to_everything_is_restarted_for_that_and_nobody_behind_it(seconds: float) -> None:
    servers = [Server("a", "process", caches=True), Server("b", "process"), Server("h", "inside")]

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, TRAITS, servers, guarded=True) as (world, fleet):
            await asyncio.sleep(100.0)
            world.proxy.fault = "status"
            world.mark()
            await asyncio.sleep(seconds)
            world.mark()
            world.proxy.fault = "none"
            await asyncio.sleep(12.0)
            assert {fact.cause for fact in world.facts if isinstance(fact, Diagnosed)} <= {"route_failing", "proxy_down"}, told(
                world
            )
            assert (world.starts["a"], world.starts["b"]) == (1, 1), told(world)
            assert world.starts[PROXY] <= 2, told(world)
            assert {one.verdict for one in fleet.view().routes} == {Verdict.HEALTHY}, told(world)
            assert not world.harm

    run(story)


@pytest.mark.parametrize(
    ("symptom", "asked"),
    [(Symptom.TIMEOUT, True), (Symptom.BAD_REPLY, True), (Symptom.NOT_MOUNTED, True), (Symptom.UNGUARDED, False)],
)
def test_a_stranger_is_sent_again_as_soon_as_others_are_answered_unless_he_was_let_in(symptom: Symptom, asked: bool) -> None:
    plain, stranger = (CheckKey("a", name, "route") for name in ("mcp", "refusal"))
    histories = Histories()
    histories[plain] = CheckHistory()
    histories[stranger] = CheckHistory(latest=ProbeResult(Outcome.FAILURE, symptom, Stage.REFUSAL), proves=False)
    assert shut_out(histories, plain) == ((stranger,) if asked else ())


@pytest.mark.parametrize(("verdict", "aside"), [(Verdict.HEALTHY, True), (Verdict.DEGRADED, True), (Verdict.UNHEALTHY, False)])
@pytest.mark.parametrize("check", ["mcp", "tools", "zz"])
def test_what_only_a_stranger_does_not_get_is_beside_the_point_until_others_get_nothing(
    check: str, verdict: Verdict, aside: bool
) -> None:
    histories = Histories()
    failing = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.OPEN)
    histories[CheckKey("a", check, "route")] = CheckHistory(verdict, latest=failing, at=Instant(2.0))
    silent = ProbeResult(Outcome.FAILURE, Symptom.TIMEOUT, Stage.REFUSAL)
    histories[CheckKey("a", "refusal", "route")] = CheckHistory(Verdict.UNHEALTHY, latest=silent, at=Instant(1.0), proves=False)
    seen = observe(histories, "a", "route")
    assert seen is not None
    assert (seen.bad, seen.aside, seen.mute) == (True, aside, not aside)


def aside(symptom: Symptom) -> Observation:
    return replace(bad(symptom, Stage.REFUSAL), aside=True)


@pytest.mark.parametrize("member", [FETCH, HOSTED])
@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.CUT, Symptom.NOT_MOUNTED, Symptom.HTTP_STATUS, Symptom.BAD_REPLY])
def test_no_repair_answers_what_a_stranger_alone_does_not_get(member: MemberSnapshot, symptom: Symptom) -> None:
    found = named(replace(member, through=aside(symptom)), TBXARK)
    assert found == [("route_failing", None, "left alone while its clients are served")]
    ((cause, rung, hold),) = named(replace(member, through=aside(Symptom.UNGUARDED)), TBXARK)
    assert (cause, rung, "configure tokens on 'proxy'" in hold) == ("auth", None, True)


@pytest.mark.parametrize("nudges", [False, True])
@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.INITIALIZE, Stage.TOOLS_LIST, Stage.SAFE_CALL])
def test_broken_bytes_are_no_session_of_a_former_life(stage: Stage, nudges: bool) -> None:
    seen = bad(Symptom.BAD_REPLY, stage)
    assert seen.result is not None
    broken = replace(seen, aside=True, result=replace(seen.result, message=f"{NOT_HTTP} (Invalid chunk)"))
    proved = replace(FETCH, direct_call=FETCH.direct)
    ((cause, rung, hold),) = named(replace(proved, through=broken), TBXARK, nudges=nudges)
    assert (cause, rung) == ("route_failing", None)
    assert hold.startswith("left to a person: look at what stands before 'proxy'")


@pytest.mark.parametrize("symptom", [Symptom.HTTP_STATUS, Symptom.BAD_REPLY, Symptom.SCHEMA])
@pytest.mark.parametrize("stage", sorted(DOOR_STAGES))
def test_what_fails_before_a_session_is_begun_is_no_stale_one_and_nobody_behind_is_suspected(
    stage: Stage, symptom: Symptom
) -> None:
    (found,) = diagnose(scene(replace(FETCH, through=bad(symptom, stage)), TBXARK)).found
    assert (found.cause in {"route_failing", "config"}, found.suspect) == (True, "")
