"""Members that bear one client at a time are found by how they end, and given another chance when they change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.session_words import KEPT
from mcpwatch.model.spec import Traits
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.single_client import ENOUGH, LIMITED, REFUSED, ProbeDeaths, held, second_refused, unserved
from tests.watchdog.scenes import FETCH, TIME, bad, one
from tests.watchdog.scenes import PROXY as FRONT
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route
from tests.watchdog.test_fleet_table import causes, staged, tried, verdict
from tests.watchdog.world import GATEWAY, TBXARK, Fault, Kind, Server, World


def deaths(*ends: tuple[str, bool]) -> ProbeDeaths:
    """After these ends of `lone`, in order: its last words, and whether it had just been probed past the proxy."""
    found = ProbeDeaths()
    found.keep({"lone": "v1", "other": "v1"})
    for words, probed in ends:
        found.ended("lone", words, probed=probed)
    return found


def test_two_ends_in_a_row_right_after_a_direct_probe_prove_it_by_its_last_words() -> None:
    assert deaths(("one client only", True)).alone == {}
    assert deaths(("one", True), ("one client only", True)).alone == {"lone": "one client only"}
    assert deaths(("", True), ("", True)).alone == {"lone": "it ended without a word"}


def test_an_end_without_a_probe_begins_the_count_again() -> None:
    assert deaths(("x", True), ("crash", False), ("x", True)).alone == {}
    assert deaths(("crash", False), ("x", True), ("x", True)).alone == {"lone": "x"}


def test_ends_of_one_member_say_nothing_of_another() -> None:
    found = deaths(("x", True))
    found.ended("other", "x", probed=True)
    assert found.alone == {}


def test_a_member_that_is_changed_gets_another_chance_and_one_that_is_not_gets_none() -> None:
    found = deaths(("x", True), ("x", True))
    found.keep({"lone": "v1", "other": "v2"})
    assert found.alone == {"lone": "x"}
    found.keep({"lone": "v2", "other": "v2"})
    assert found.alone == {}
    found.ended("lone", "x", probed=True)
    assert found.alone == {}, "its earlier ends were of another configuration"


def test_a_member_that_leaves_the_plan_is_forgotten() -> None:
    found = deaths(("x", True), ("x", True))
    found.keep({"other": "v1"})
    found.keep({"lone": "v1", "other": "v1"})
    assert found.alone == {}


INITIALIZED = "Invalid Request: Server already initialized"


@pytest.mark.sample(1)
@pytest.mark.parametrize("traits", [GATEWAY, TBXARK])
@pytest.mark.parametrize("words", [INITIALIZED, "only one session at a time", "session limit of 1 reached", "busy"])
def test_one_that_refuses_a_second_session_keeps_its_clients_and_is_checked_through_the_proxy_only(
    words: str, traits: Traits
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(120.0)
        assert causes(fleet) == ["single_client"]
        (found,) = fleet.view().diagnoses
        assert words in found.text
        assert "it takes no second session" in found.text
        assert verdict(fleet, "lone") is Verdict.HEALTHY
        member = fleet.view().member("lone")
        assert member is not None
        assert member.verdict is Verdict.HEALTHY
        assert [one for one in tried(world) if one[0] == "restart"] == []
        assert (world.starts["lone"], world.harm) == (1, [])
        world.servers["lone"].one_session = ""
        world.end("lone")
        await asyncio.sleep(120.0)
        assert world.well("lone"), "what happens to it later is seen through the proxy, and mended"

    staged(traits, [Server("lone", "process", one_session=words), Server("other", "process")], play)


@pytest.mark.parametrize(
    ("symptom", "stage", "said", "status", "failures", "alone"),
    [
        (Symptom.RPC_ERROR, Stage.INITIALIZE, INITIALIZED, None, ENOUGH, True),
        (Symptom.RPC_ERROR, Stage.INITIALIZE, INITIALIZED, None, ENOUGH - 1, False),
        (Symptom.HTTP_STATUS, Stage.INITIALIZE, "conflict", 409, ENOUGH, True),
        (Symptom.OVERLOADED, Stage.OPEN, "another client is connected", 503, ENOUGH, True),
        (Symptom.OVERLOADED, Stage.OPEN, "session limit reached", 429, ENOUGH, False),
        (Symptom.OVERLOADED, Stage.OPEN, "session limit reached", 429, LIMITED, True),
        (Symptom.OVERLOADED, Stage.OPEN, "Service Unavailable", 503, 99, False),
        (Symptom.RPC_ERROR, Stage.CANARY, "the device is already in use", None, 99, False),
        (Symptom.AUTH, Stage.OPEN, "only one session for your token", 401, 99, False),
        (Symptom.RPC_ERROR, Stage.INITIALIZE, "index broken", None, 99, False),
    ],
)
def test_words_for_a_second_session_count_where_a_session_is_begun_and_said_again(
    symptom: Symptom, stage: Stage, said: str, status: int | None, failures: int, *, alone: bool
) -> None:
    result = ProbeResult(Outcome.FAILURE, symptom, stage, f"answered: {said}", said, http_status=status)
    assert second_refused(result, failures) == (said if alone else "")
    assert second_refused(None, 9) == ""


@pytest.mark.parametrize("through", ["fails", "old"])
def test_one_that_refuses_and_is_not_seen_to_serve_anybody_is_no_such_member(through: str) -> None:
    """Then nobody has its session, and checks through the proxy would say nothing more."""
    refuses = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.INITIALIZE, INITIALIZED, INITIALIZED)

    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(member("a", route="a"), PROXY, routes=(route("a"),)))
        await asyncio.sleep(1.0)
        probing = small.fleet.monitor.probing
        (direct,), (routed,) = probing.of("a", "direct"), probing.of("a", "route")
        small.answers["http://h/a"] = refuses
        if through == "fails":
            small.answers["http://p/a"] = refuses
            await probing.run(routed)
        for _ in range(ENOUGH):
            await probing.run(direct)
            await asyncio.sleep(0.3)
        assert probing.history(direct).streaks.failures >= ENOUGH
        shown = small.fleet.monitor.snapshot().member("a")
        assert shown is not None
        assert shown.alone == ""

    fleet_story(play)


def test_the_route_of_one_that_is_checked_through_it_only_is_blamed_when_it_fails() -> None:
    lone = replace(FETCH, alone=f"{REFUSED}busy", direct=replace(bad(Symptom.RPC_ERROR), failures=0))
    assert one(lone, TIME, FRONT).cause == "single_client"
    failing = replace(lone, through=bad(Symptom.BAD_REPLY))
    assert one(failing, TIME, FRONT, nudges=True).rung == "reconnect"


@pytest.mark.sample
@pytest.mark.parametrize("traits", [GATEWAY, TBXARK])
@pytest.mark.parametrize("fault", ["hang", *(pytest.param(name, marks=pytest.mark.slow) for name in ("broken", "refuse"))])
@pytest.mark.parametrize("lone", [{"one_session": "only one session at a time"}, {"one_client": True}])
def test_one_that_is_checked_through_the_proxy_only_is_asked_itself_when_its_route_fails_and_no_well_proxy_is_restarted(
    lone: dict[str, Any], fault: Fault, traits: Traits
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(120.0)
        assert causes(fleet) == ["single_client"]
        world.servers["lone"].fault = fault
        await asyncio.sleep(180.0)  # one that is silent may be given time, as it may be at work
        assert world.well("lone")
        assert world.harm == []
        assert causes(fleet) == ["single_client"], "it is left to the proxy again"

    staged(traits, [Server("lone", "process", **lone), Server("other", "process")], play)


@pytest.mark.parametrize(
    ("symptom", "stage", "asked"),
    [
        (Symptom.TIMEOUT, Stage.TOOLS_LIST, True),
        (Symptom.UPSTREAM_DOWN, Stage.OPEN, True),
        (Symptom.RPC_ERROR, Stage.TOOLS_LIST, True),
        (Symptom.TIMEOUT, Stage.OPEN, False),
        (Symptom.REFUSED, Stage.CONNECT, False),
        (Symptom.AUTH, Stage.OPEN, False),
        (Symptom.TOOL_ERROR, Stage.CANARY, False),
    ],
)
def test_its_route_tells_whether_it_may_serve_nobody(symptom: Symptom, stage: Stage, *, asked: bool) -> None:
    assert unserved(bad(symptom, stage)) is asked
    assert not unserved(replace(bad(symptom, stage), verdict=Verdict.HEALTHY))
    assert not unserved(None)


HELD = (
    INITIALIZED, "already connected", "a client is already connected", "Only one connection allowed", "only one session at a time",
    "another client is connected", "a session is already active", "already has a client", "the device is in use by 10.0.0.7",
    "multiple clients are not supported", "locked by someone else", "at most one client", "Concurrent sessions are not allowed",
    "Client 7 already attached", "currently in use",
)  # fmt: skip
FREE = (
    "index broken", "table users already exists", "conflicting types", "no client library", "session store is corrupt",
    "not connected",
)  # fmt: skip


@pytest.mark.sample(16)
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize(("symptom", "status"), [(Symptom.RPC_ERROR, None), (Symptom.HTTP_STATUS, 500), (Symptom.HTTP_STATUS, 409)])
def test_one_whose_only_session_others_have_is_busy_and_is_not_restarted_whoever_they_are(
    symptom: Symptom, status: int | None, stage: Stage
) -> None:
    greets = stage in (Stage.OPEN, Stage.ENDPOINT, Stage.DISCOVER, Stage.INITIALIZE)
    for words in (*HELD, *FREE):
        result = ProbeResult(Outcome.FAILURE, symptom, stage, f"answered: {words}", words, http_status=status)
        busy = greets and (words in HELD or status == 409)
        assert held(result) is busy, words
        if not busy:
            continue
        for succeeded in (False, True):
            seen = replace(bad(symptom, stage), result=result, failures=9, succeeded=succeeded)
            for through in (None, bad(Symptom.UPSTREAM_DOWN, Stage.OPEN)):
                found = one(replace(FETCH, direct=seen, through=through), TIME, FRONT)
                never = words in FREE and not succeeded  # then it may be no MCP server at all
                assert (found.cause, found.rung, found.subject) == ("config" if never else "busy", None, "fetch"), words
                assert words in found.text
            lost = replace(bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL), succeeded=True)
            for through in (bad(Symptom.BAD_REPLY), lost):
                ours = one(replace(FETCH, direct=replace(seen, succeeded=True), through=through), TIME, FRONT)
                assert (ours.cause, ours.rung) == ("member_failing", "restart"), "the proxy has that session, and it fails"
    assert not held(None)


@pytest.mark.parametrize("words", HELD)
def test_who_has_the_only_session_is_told_as_far_as_that_is_known(words: str) -> None:
    result = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.INITIALIZE, words, words)
    direct = replace(bad(Symptom.RPC_ERROR, Stage.INITIALIZE), result=result)
    served = ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.SAFE_CALL, 0.1),))
    well = replace(bad(Symptom.RPC_ERROR), result=served, verdict=Verdict.HEALTHY, failures=0)
    refused = ProbeResult(Outcome.FAILURE, Symptom.UPSTREAM_DOWN, Stage.INITIALIZE, f"member 'fetch' is down: {words} ({KEPT})")
    kept = replace(bad(Symptom.UPSTREAM_DOWN, Stage.INITIALIZE), result=refused)
    old = replace(well, began_at=Instant(1.0), at=Instant(1.0))
    for through, cause, told in (
        (old, "busy", "another"),
        (well, "single_client", "the proxy"),
        (kept, "config", "the gateway"),
        (None, "busy", "another"),
    ):
        found = one(replace(FETCH, direct=direct, through=through), TIME, FRONT)
        assert (found.cause, found.rung) == (cause, None)
        assert f"{told} has " in found.text
        assert words in found.text


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["process", "url", "hosted"])
@pytest.mark.parametrize("from_its_start", [False, True])
def test_a_fleet_leaves_a_stranger_the_only_session_for_as_long_as_that_is_there(kind: Kind, *, from_its_start: bool) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(0.0 if from_its_start else 30.0)
        world.servers["lone"].fault = "held"
        world.sessions["lone"].incarnation = 0
        await asyncio.sleep(300.0)
        assert causes(fleet) == ["busy"]
        assert {rung for rung, _ in tried(world)} <= {"reconnect"}
        world.servers["lone"].fault = "none"
        await asyncio.sleep(90.0)
        assert (causes(fleet), world.harm) == ([], [])
        assert world.starts["lone"] == 1

    staged(GATEWAY, [Server("lone", kind), Server("other", "url")], play)
