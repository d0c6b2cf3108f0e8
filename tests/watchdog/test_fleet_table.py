"""Faults of real fleets that were once answered wrongly, each with the right answer, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from mcpwatch.model.fact import Diagnosed, RepairTried
from mcpwatch.model.incarnation import Hindered, Paused
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.proxy import LogHint
from mcpwatch.model.spec import MemberSpec, Traits
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.ladder import FLEETING_TIMES, FORGET
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.world import GATEWAY, TBXARK, Fault, Kind, Server, World, WorldRuntime
from tests.watchdog.world_prober import watched

Play = Callable[[World, Fleet], Awaitable[None]]


def staged(traits: Traits, servers: list[Server], play: Play, **options: Any) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        async with watched(loop, clock, traits, servers, **options) as (world, fleet):
            await play(world, fleet)

    run(story)


def halved(*choices: Sequence[Any]) -> list[Any]:
    """Every combination of two choices each; the quick half has each choice with each other (of three), or each once (of two)."""
    made: list[Any] = []
    for places in product(*(range(len(one)) for one in choices)):
        values = [one[place] for one, place in zip(choices, places, strict=True)]
        made.append(pytest.param(*values, marks=pytest.mark.slow if sum(places) % 2 else ()))
    return made


def tried(world: World) -> list[tuple[str, str]]:
    """The repairs that were tried: rung and member."""
    return [(fact.rung, fact.member) for fact in world.facts if isinstance(fact, RepairTried)]


def named(world: World) -> set[tuple[str, str]]:
    """The causes that were told: cause and member."""
    return {(fact.cause, fact.member) for fact in world.facts if isinstance(fact, Diagnosed) and not fact.cleared}


def causes(fleet: Fleet) -> list[str]:
    return [found.cause for found in fleet.view().diagnoses]


def verdict(fleet: Fleet, route: str) -> Verdict:
    found = fleet.view().route(route)
    assert found is not None
    return found.verdict


@pytest.mark.sample(1)
@pytest.mark.parametrize("fault", ["hang", "refuse", "auth", "broken"])
def test_a_url_member_that_recovers_by_itself_five_times_restarts_nothing_and_its_route_is_back_at_once(fault: Fault) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        for _ in range(5):
            world.servers["e"].fault = fault
            await asyncio.sleep(60.0)
            world.servers["e"].fault = "none"
            await asyncio.sleep(7.0)  # at most one interval until it is seen, and a moment
            assert world.well("e")
            assert verdict(fleet, "e") is Verdict.HEALTHY
            await asyncio.sleep(20.0)
        assert causes(fleet) == []
        assert {rung for rung, _ in tried(world)} <= {"reconnect"}
        assert world.nudged

    staged(GATEWAY, [Server("e", "url"), Server("h", "hosted")], play)


def test_a_bridge_whose_child_died_is_repaired_itself_and_the_proxy_in_front_is_not_blamed_for_it() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["fetch"].fault = "child"
        await asyncio.sleep(120.0)
        assert tried(world) == [("restart", "fetch"), ("restart_proxy", "proxy")], "the second for its session with the old bridge"
        assert ("child_died", "fetch") in named(world)
        assert world.well("fetch")
        assert causes(fleet) == []

    staged(TBXARK, [Server("fetch", "process", caches=True), Server("other", "process")], play)


@pytest.mark.sample(1)
@pytest.mark.parametrize("traits", [TBXARK, GATEWAY])
def test_a_bridge_whose_child_needs_longer_than_its_grace_is_restarted_once_and_waited_for(traits: Traits) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(180.0)
        mounted = [] if traits is GATEWAY else [("restart_proxy", "proxy")]
        assert tried(world) == mounted, "such a proxy has to be started again for what came after it"
        world.servers["fetch"].fault = "child"
        await asyncio.sleep(90.0)
        assert causes(fleet) == ["starting"]
        await asyncio.sleep(120.0)
        assert [one for one in tried(world) if one != ("restart_proxy", "proxy")] == [("restart", "fetch")]
        assert world.starts["fetch"] == 2
        assert world.well("fetch")
        assert causes(fleet) == []

    late = Server("fetch", "process", caches=True, cold=130.0, late_child=True)
    staged(traits, [late, Server("other", "process")], play, start_grace=60.0)


def test_a_bridge_that_lists_from_its_memory_is_found_out_behind_a_gateway_too() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["fetch"].fault = "child"
        await asyncio.sleep(60.0)
        assert tried(world) == [("restart", "fetch")]
        assert world.well("fetch")
        assert causes(fleet) == []

    staged(GATEWAY, [Server("fetch", "process", caches=True), Server("other", "hosted")], play)


@pytest.mark.parametrize("cold", [50.0, 130.0])
def test_a_server_inside_the_proxy_that_starts_slowly_is_waited_for_and_shown_as_starting(cold: float) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(cold - 5.0)
        assert causes(fleet) == ["starting"]
        assert verdict(fleet, "slow") is Verdict.UNKNOWN
        await asyncio.sleep(30.0)
        assert verdict(fleet, "slow") is Verdict.HEALTHY
        assert tried(world) == []
        assert named(world) == set()

    staged(TBXARK, [Server("slow", "inside", cold=cold), Server("quick", "process")], play, start_grace=180.0)


@pytest.mark.parametrize("cold", [23.0, 50.0])
def test_a_hosted_server_that_starts_slowly_is_waited_for(cold: float) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(cold + 10.0)
        member = fleet.view().member("slow")
        assert member is not None
        assert (member.phase, member.verdict, member.generation) == (Phase.RUNNING, Verdict.HEALTHY, 1)
        assert named(world) == set()
        assert world.starts["slow"] == 1

    staged(GATEWAY, [Server("slow", "hosted", cold=cold)], play, start_grace=60.0)


def test_a_bridge_that_listens_late_gets_its_route_by_a_nudge_and_no_restart() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(47.0)
        assert world.well("late")
        assert verdict(fleet, "late") is Verdict.HEALTHY
        await asyncio.sleep(60.0)
        assert tried(world) == []

    staged(GATEWAY, [Server("late", "process", cold=45.0), Server("h", "hosted")], play, start_grace=60.0)


def test_a_member_whose_only_check_is_a_canary_has_its_start_grace_too() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        assert world.starts["slow"] == 1
        assert verdict(fleet, "slow") is Verdict.HEALTHY
        assert named(world) == set()

    staged(GATEWAY, [Server("slow", "process", cold=8.0)], play, only_canary=frozenset({"slow"}), start_grace=40.0)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("kind", "fault", "cause"),
    [
        ("process", "overloaded", "overloaded"),
        ("process", "licence", "licence"),
        ("process", "empty", "empty_tools"),
        ("process", "auth", "auth"),
        ("process", "wrong_port", "wrong_port"),
        ("hosted", "licence", "licence"),
        ("hosted", "empty", "empty_tools"),
        ("hosted", "overloaded", "overloaded"),
    ],
)
def test_what_answers_keeps_the_cause_it_names_and_is_not_restarted_for_it_whatever_its_phase(
    kind: Kind, fault: Fault, cause: str
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        server = world.servers["m"]
        if kind == "process":
            world.end("m")  # it comes back with the trouble from its start on
        server.fault = fault
        await asyncio.sleep(300.0)
        assert causes(fleet) == [cause]
        assert world.starts["m"] <= 2, "one start by the end of its process, none by a repair"
        assert tried(world) == []
        server.fault = "none"
        await asyncio.sleep(60.0)
        assert causes(fleet) == []

    staged(GATEWAY, [Server("m", kind), Server("other", "url")], play)


def test_every_second_probe_failing_is_degraded_with_its_rate_and_no_repair() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        server = world.servers["e"]
        for _ in range(100):
            server.fault = "none" if server.fault == "broken" else "broken"
            await asyncio.sleep(2.3)
        assert "flapping" in causes(fleet)
        found = next(one for one in fleet.view().diagnoses if one.cause == "flapping")
        assert "% of its latest probes failed" in found.text
        assert not world.harm
        server.fault = "none"
        await asyncio.sleep(150.0)
        assert causes(fleet) == []

    staged(GATEWAY, [Server("e", "url")], play)


@pytest.mark.slow
def test_ten_seconds_on_and_ten_off_end_in_a_person_and_not_in_endless_restarts() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        for _ in range(60):
            world.servers["m"].fault = "hang"
            await asyncio.sleep(12.0)
            world.servers["m"].fault = "none"
            await asyncio.sleep(12.0)
        rungs = [rung for rung, member in tried(world) if member == "m"]
        assert rungs.count("restart") <= 6, rungs  # 24 minutes: twice what one quarter of an hour allows
        assert "quarantine" in rungs or "flapping" in causes(fleet)

    staged(GATEWAY, [Server("m", "process", cold=0.3)], play)


def test_a_paused_container_and_stopped_processes_are_let_run_again_and_not_restarted() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["box"].fault = "stopped"
        world.events["process"].put_nowait(Paused("box"))
        await asyncio.sleep(5.0)
        assert tried(world) == [("resume", "box")]
        assert ("paused", "box") in named(world)
        await asyncio.sleep(20.0)
        world.servers["other"].fault = "stopped"
        await asyncio.sleep(40.0)
        assert tried(world)[1:] == [("resume", "other")]
        assert causes(fleet) == []
        assert world.starts == {"proxy": 1, "box": 1, "other": 1}

    staged(GATEWAY, [Server("box", "process"), Server("other", "process")], play)


def test_a_bridge_that_dies_of_a_second_client_is_found_told_and_checked_through_the_proxy_only() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(300.0)
        assert causes(fleet) == ["single_client"]
        assert verdict(fleet, "lone") is Verdict.HEALTHY
        assert world.starts["lone"] <= 4
        (found,) = fleet.view().diagnoses
        assert "checked through the proxy only" in found.text

    staged(GATEWAY, [Server("lone", "process", one_client=True), Server("other", "process")], play)


WORDS = ("dial tcp 10.9.9.9:80: connect: connection refused", "dial tcp: lookup nowhere on 127.0.0.11:53: no such host")


@pytest.mark.sample
@pytest.mark.parametrize(("words", "kind", "when"), halved(WORDS, ("process", "url"), ("from the start", "later")))
def test_a_proxy_whose_own_url_for_a_member_leads_nowhere_is_never_restarted_for_that(kind: Kind, words: str, when: str) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(60.0)
        world.servers["a"].no_way = words
        await asyncio.sleep(400.0)
        assert tried(world) == []
        assert world.starts["proxy"] == 1
        assert causes(fleet) == ["upstream_unreachable"]
        (found,) = fleet.view().diagnoses
        assert "http://nowhere:80/sse" in found.text
        assert found.next.startswith("left to a person")
        assert not world.harm
        assert verdict(fleet, "b") is Verdict.HEALTHY
        assert verdict(fleet, "a") is Verdict.UNHEALTHY

    lost = Server("a", kind, proxy_url="http://nowhere:80/sse", no_way=words if when == "from the start" else "")
    staged(TBXARK, [lost, Server("b", "process")], play)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("words", "restarts"), halved(WORDS, (1, 0)))
def test_a_proxy_that_finds_no_way_by_our_own_url_is_restarted_once_at_most(words: str, restarts: int) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(60.0)
        world.servers["a"].no_way = words
        await asyncio.sleep(400.0)
        assert [rung for rung, _ in tried(world) if rung != "quarantine"] == ["restart_proxy"] * restarts
        assert causes(fleet) == ["upstream_unreachable"]
        assert verdict(fleet, "b") is Verdict.HEALTHY
        world.servers["a"].no_way = ""
        await asyncio.sleep(20.0)
        assert verdict(fleet, "a") is (Verdict.UNHEALTHY if restarts else Verdict.HEALTHY), "where no restart had cut the session"

    staged(TBXARK, [Server("a", "process", no_way=words if restarts else ""), Server("b", "process")], play)


@pytest.mark.sample(1)
@pytest.mark.parametrize("when", ["from the start", "later"])
@pytest.mark.parametrize("traits", [TBXARK, GATEWAY])
def test_nobody_is_restarted_because_his_name_leads_nowhere(when: str, traits: Traits) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(60.0)
        world.servers["a"].fault = "nameless"
        world.mark()
        await asyncio.sleep(300.0)
        assert world.starts["a"] == 1
        assert world.starts["proxy"] == 1
        (found,) = fleet.view().diagnoses
        assert "nowhere.invalid does not resolve" in found.text
        assert found.rung is None
        world.servers["a"].fault = "none"
        await asyncio.sleep(60.0)
        assert verdict(fleet, "b") is Verdict.HEALTHY
        assert next(one.verdict for one in fleet.view().members if one.name == "a") is Verdict.HEALTHY

    staged(traits, [Server("a", "process", fault="nameless" if when == "from the start" else "none"), Server("b", "process")], play)


@pytest.mark.parametrize("kind", ["process", "url"])
@pytest.mark.parametrize("seconds", [300.0, pytest.param(1200.0, marks=pytest.mark.slow)])
def test_a_proxy_is_not_restarted_again_and_again_for_a_server_that_ends_its_sessions_by_itself(kind: Kind, seconds: float) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(60.0)
        world.servers["a"].fault = "forgets"
        await asyncio.sleep(min(seconds, 800.0))
        assert tried(world) == [("restart_proxy", "proxy")] * FLEETING_TIMES + [("quarantine", "proxy")]
        (found,) = fleet.view().diagnoses
        assert f"restarts help for moments only ({FLEETING_TIMES} times)" in found.next
        assert "end sessions?" in found.next
        await asyncio.sleep(seconds - min(seconds, 800.0))
        assert world.starts["proxy"] <= 1 + FLEETING_TIMES * (1 + int(seconds > FORGET))
        assert (world.starts["a"], world.starts["b"]) == (1, 1)
        assert not world.harm

    staged(TBXARK, [Server("a", kind), Server("b", "process")], play)


CLOSING = ('Get "http://h:1/sse": read tcp 127.0.0.1:2->127.0.0.1:1: read: connection reset by peer', 'Get "http://h:1/sse": EOF')


@pytest.mark.sample(1)
@pytest.mark.parametrize("words", CLOSING)
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_proxy_whose_way_closes_each_connection_is_restarted_for_the_session_that_broke_and_not_for_the_way(
    words: str, when: str
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(60.0)
        world.servers["a"].no_way = words
        await asyncio.sleep(400.0)
        assert tried(world) == ([("restart_proxy", "proxy")] if when == "later" else [])
        assert causes(fleet) == ["upstream_unreachable"]
        assert verdict(fleet, "b") is Verdict.HEALTHY

    lost = Server("a", "process", proxy_url="http://nowhere:80/sse", no_way=words if when == "from the start" else "")
    staged(TBXARK, [lost, Server("b", "process")], play)


def test_a_member_that_came_after_the_proxy_failed_to_reach_it_gets_its_route_by_a_restart_of_the_proxy() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        server = world.servers["a"]
        server.fault = "hang"  # not a word before the proxy began
        await asyncio.sleep(120.0)
        world.hear(LogHint("a", "failed", "<a> Failed to add client: connect: connection refused"))
        server.fault = "none"
        await asyncio.sleep(60.0)
        assert tried(world) == [("restart_proxy", "proxy")]
        assert world.well("a")
        assert causes(fleet) == []

    staged(TBXARK, [Server("a", "url", proxy_url="http://inner:80/sse"), Server("b", "process")], play)


@pytest.mark.slow
def test_routes_that_no_restart_of_the_proxy_mends_share_its_restarts() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        for one in ("a", "b", "c"):
            world.servers[one].no_way = "unknown trouble"
            await asyncio.sleep(13.0)
        await asyncio.sleep(600.0)
        restarts = [one for one in tried(world) if one[0] != "quarantine"]
        assert restarts == [("restart_proxy", "proxy")] * 4, "a first for each, and a second for the last of them"
        assert verdict(fleet, "d") is Verdict.HEALTHY

    staged(TBXARK, [Server(name, "process") for name in "abcd"], play)


@pytest.mark.parametrize("who", ["box", "proxy"])
@pytest.mark.parametrize("traits", [TBXARK, GATEWAY])
def test_a_container_that_left_its_network_is_put_on_it_again_and_no_proxy_is_restarted_for_that(
    who: str, traits: Traits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake's own way is cut instead: what is behind a proxy is not reached through it, and answers direct."""

    async def resume(self: WorldRuntime, spec: MemberSpec) -> None:
        for one in self._world.servers.values():  # pyright: ignore[reportPrivateUsage]
            one.no_way = ""
        self._world.events["process"].put_nowait(Hindered(spec.name))  # pyright: ignore[reportPrivateUsage]

    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        monkeypatch.setattr(WorldRuntime, "resume", resume)
        for one in world.servers.values() if who == "proxy" else [world.servers["box"]]:
            one.no_way = "i/o timeout"
        world.events["process"].put_nowait(Hindered(who, "network_disconnected", "its container is not on the network net"))
        await asyncio.sleep(60.0)
        assert [one for one in tried(world) if one[0] != "reconnect"] == [("resume", who)]
        assert ("network_disconnected", who) in named(world)
        assert causes(fleet) == []
        assert world.starts["proxy"] == 1

    staged(traits, [Server("box", "process"), Server("other", "process")], play)


@pytest.mark.parametrize(
    "traits", [TBXARK, replace(TBXARK, reconnects=True, mounts_late=True)], ids=["keeps sessions", "reconnects"]
)
def test_a_server_inside_the_proxy_whose_process_ended_is_found_though_its_list_is_answered_and_no_tool_may_be_called(
    traits: Traits,
) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["x"].alive = False
        await asyncio.sleep(60.0)
        if traits.reconnects:
            assert tried(world) == [], "that one starts it again itself"
            return
        assert tried(world) == [("restart_proxy", "proxy")]
        assert ("child_died", "proxy") in named(world)
        assert world.well("x")
        assert causes(fleet) == []
        assert not world.harm

    staged(traits, [Server("x", "inside", uncallable=True), Server("y", "inside", uncallable=True)], play)


@pytest.mark.slow
def test_one_routes_useless_repairs_leave_the_next_routes_stale_session_its_own() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["never"].cold = 10_000.0
        world.end("never")
        await asyncio.sleep(400.0)
        before = len([rung for rung, _ in tried(world) if rung == "restart_proxy"])
        world.end("good")
        await asyncio.sleep(60.0)
        assert world.well("good")
        assert len([rung for rung, _ in tried(world) if rung == "restart_proxy"]) == before + 1

    staged(TBXARK, [Server("never", "process", caches=True), Server("good", "process")], play, start_grace=30.0)


def test_a_prober_that_breaks_is_no_reason_to_blame() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        world.broken_prober = 0.5
        await asyncio.sleep(60.0)
        world.broken_prober = 1.0
        await asyncio.sleep(60.0)
        assert tried(world) == []
        assert causes(fleet) == []

    staged(GATEWAY, [Server("a", "process"), Server("h", "hosted")], play)


def test_a_proxy_that_an_operator_stopped_is_no_trouble_and_neither_is_what_it_hosts() -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        await fleet.command("stop", "proxy")
        world.harm.clear()
        await asyncio.sleep(120.0)
        assert tried(world) == []
        assert named(world) == set()

    staged(GATEWAY, [Server("h", "hosted"), Server("m", "process")], play)
