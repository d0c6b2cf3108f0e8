"""What answers from a memory is looked behind: for stopped processes, and for servers inside the proxy that are gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.fact import ProbeFinished
from mcpwatch.model.incarnation import Exited, Incarnation
from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming
from mcpwatch.model.spec import MemberSpec, Traits
from mcpwatch.watchdog.behind import LASTS, Behind
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.snapshot import MemberSnapshot
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.small_fleet import SmallFleet, fleet_story, member, plan
from tests.watchdog.test_monitor import BAD, A, begun

CACHING = Traits(lists_from_cache=True)
INNER = member("inner", runtime="external", direct=None, checks=(), route="inner")
CALLED = ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.SAFE_CALL, 0.1),))
SLOT = (101, "inner")
"""The process of the first proxy, and the route inside it."""


def shown(small: SmallFleet, name: str) -> MemberSnapshot:
    found = small.fleet.monitor.snapshot().member(name)
    assert found is not None
    return found


async def inside(small: SmallFleet, *others: MemberSpec, traits: Traits = CACHING) -> None:
    """Begin with a server inside the proxy, whose process is there."""
    small.children = {SLOT: 20}
    small.runtime("external").pid = 0
    await begun(small, INNER, *others, traits=traits)


async def looked(small: SmallFleet, name: str = "inner") -> MemberSnapshot:
    """The member after a probe of its route now."""
    for check in small.fleet.monitor.probing.of(name, "route"):
        await small.fleet.monitor.probing.run(check)
    await asyncio.sleep(0.05)  # what the kernel is asked may be told a moment later
    return shown(small, name)


def test_a_server_inside_a_proxy_that_answers_for_it_is_gone_when_its_process_is() -> None:
    async def play(small: SmallFleet) -> None:
        await inside(small, A)
        assert not (await looked(small)).child_gone
        small.children.clear()
        assert (await looked(small)).child_gone
        small.children = {SLOT: 21}
        assert not (await looked(small)).child_gone, "the proxy started it again"
        small.children.clear()
        assert (await looked(small)).child_gone
        small.answers["http://p/inner"] = CALLED
        assert not (await looked(small)).child_gone, "it answered itself"
        small.answers.clear()
        assert not (await looked(small)).child_gone, "and what was seen before that is not missed again"

    async def honest(small: SmallFleet) -> None:
        await inside(small, A, traits=Traits())
        small.children.clear()
        assert not (await looked(small)).child_gone, "a proxy that asks its servers needs no look behind it"

    fleet_story(play)
    fleet_story(honest)


def test_a_proxy_that_began_again_is_asked_anew_for_what_it_runs() -> None:
    async def play(small: SmallFleet) -> None:
        await inside(small)
        await looked(small)
        small.children.clear()
        assert (await looked(small)).child_gone
        await small.fleet.command("restart", "proxy")
        await asyncio.sleep(5.0)
        assert small.phases()["proxy"] is Phase.RUNNING
        assert not shown(small, "inner").child_gone
        assert not (await looked(small)).child_gone

    fleet_story(play)


def test_a_member_that_is_reached_past_the_proxy_is_never_looked_for_inside_it() -> None:
    async def play(small: SmallFleet) -> None:
        contained = member("placed", runtime="docker", direct=None, route="placed")
        small.children = {(101, "a"): 20, (101, "placed"): 21}
        small.runtime("docker").pid = 300
        await begun(small, A, contained, traits=CACHING)
        for name in ("a", "placed"):
            await looked(small, name)
        small.children.clear()
        assert not (await looked(small, "a")).child_gone
        assert not (await looked(small, "placed")).child_gone, "it has a process of its own"

    fleet_story(play)


def test_a_proxy_whose_process_is_not_known_is_nobodys_parent() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("process").pid = 0
        await inside(small)
        small.children = {(1, "inner"): 20}
        await looked(small)
        small.children.clear()
        assert not (await looked(small)).child_gone

    fleet_story(play)


async def stopped(small: SmallFleet, *, deep: bool = False) -> bool:
    """Whether a process of the member is seen to be stopped after a look at it."""
    await small.fleet.monitor.look("a", deep=deep)
    await asyncio.sleep(0.05)
    return shown(small, "a").stopped_processes


def test_a_member_that_is_asked_by_calls_and_had_none_to_make_is_looked_at_by_its_processes() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("bridges").pid = 200
        await begun(small, replace(A, runtime="bridges"))
        small.frozen = {201}
        assert not await stopped(small), "lists are believed until they were no answer"
        assert await stopped(small, deep=True)
        small.frozen.clear()
        assert not await stopped(small)
        small.answers["http://h/a"] = CALLED
        small.frozen = {201}
        assert not await stopped(small), "it answered a call"

    fleet_story(play)


def test_what_answers_before_the_next_process_began_is_another_and_proves_no_start() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        small.runtime("process").start_takes = 10.0
        actor = small.fleet.actors["a"]
        actor.exited(Exited("a", 1, code=1))
        await asyncio.sleep(1.0)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        await small.fleet.monitor.probing.run(check)
        assert (actor.state.phase, actor.state.generation, actor.lives) == (Phase.STARTING, 2, False)
        await asyncio.sleep(12.0)
        assert (actor.state.phase, actor.lives) == (Phase.RUNNING, True)

    async def placed(small: SmallFleet) -> None:
        """Of a container the engine alone knows when it began: what answers where it is has."""
        await begun(small, replace(A, runtime="docker"))
        small.runtime("docker").start_takes = 10.0
        actor = small.fleet.actors["a"]
        actor.exited(Exited("a", 1, code=1))
        actor.appeared(300, "c1")
        actor.incarnation = Incarnation("a", 1, "", 300, "c1")
        assert (actor.state.phase, actor.lives) == (Phase.STARTING, False)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        await small.fleet.monitor.probing.run(check)
        assert actor.state.phase is Phase.RUNNING

    fleet_story(play)
    fleet_story(placed)


def test_what_failed_at_a_start_is_seen_anew_when_it_is_ready_and_what_was_well_is_not() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, INNER)
        probing = small.fleet.monitor.probing
        (direct,), (routed,) = probing.of("a", "direct"), probing.of("a", "route")
        small.answers = {"http://h/a": BAD, "http://p/a": BAD}
        await small.fleet.command("restart", "a")
        for _ in range(2):
            await asyncio.sleep(1.5)
            await probing.run(routed)
        assert probing.history(routed).streaks.failures == 2
        small.answers = {"http://p/a": BAD}
        await small.fleet.actors["a"].reached(Phase.RUNNING)
        await asyncio.sleep(0.1)
        assert probing.history(routed).streaks.failures == 1, "what it failed before was the start"
        assert probing.history(direct).streaks.successes == 2, "its proof counts, and the look beside its route"

    fleet_story(play)


def test_a_probe_is_void_when_the_member_and_its_proxy_were_let_run_again_meanwhile() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        (check,) = small.fleet.monitor.probing.of("a", "route")
        before = len([fact for fact in small.facts if isinstance(fact, ProbeFinished)])
        probe = small.loop.create_task(small.fleet.monitor.probing.run(check))
        await asyncio.sleep(0.005)
        for name in ("a", "proxy"):
            small.fleet.actors[name].resumes += 1
        assert await probe is None
        assert len([fact for fact in small.facts if isinstance(fact, ProbeFinished)]) == before

    fleet_story(play)


def test_the_last_words_of_one_that_bears_one_client_only_are_kept() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        for _ in range(2):
            probe = small.loop.create_task(small.fleet.monitor.probing.run(check))
            await asyncio.sleep(0.005)
            end = Exited("a", small.fleet.actors["a"].state.generation, code=1, detail="ended")
            small.fleet.monitor.ended(end, ("listening", " one client only "))
            await probe
        assert shown(small, "a").alone == "one client only"

    fleet_story(play)


def test_when_the_watch_is_over_no_check_is_due_any_more() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        stopped: list[bool] = []
        stop = small.fleet.monitor.probing.schedule.stop
        small.fleet.monitor.probing.schedule.stop = lambda: stopped.append(True) or stop()  # type: ignore[func-returns-value,method-assign]
        small.fleet.close()
        assert stopped

    fleet_story(play)


@pytest.mark.parametrize("below", [True, False])
def test_what_runs_below_a_member_is_looked_for_when_its_start_is_proven(below: bool) -> None:
    async def play(small: SmallFleet) -> None:
        small.below = {101} if below else set()
        await small.fleet.begin(plan(member("a"), member("far", runtime="external")))
        await asyncio.sleep(1.0 + LASTS)
        assert small.fleet.monitor.parents == ({"a"} if below else set())
        small.below.clear()
        await small.fleet.command("restart", "a")
        await asyncio.sleep(1.0)
        assert small.fleet.monitor.parents == set(), "another run has other children"

    fleet_story(play)


def test_a_helper_that_lives_for_a_moment_when_a_start_is_proven_is_not_what_a_member_runs() -> None:
    """Later such a member answers nothing but 503 and runs nothing: that is no server which it lost."""

    async def play(small: SmallFleet) -> None:
        small.below, small.lasting = {101}, 0
        await small.fleet.begin(plan(member("a")))
        await asyncio.sleep(LASTS / 2.0)
        assert small.fleet.monitor.parents == set(), "nothing is known before that time is over"
        await asyncio.sleep(LASTS)
        assert small.fleet.monitor.parents == set()

    fleet_story(play)


@pytest.mark.parametrize(("seen", "none"), [(frozenset[int](), True), (None, False), (frozenset({7}), False)])
def test_a_member_runs_no_other_only_where_that_was_seen_and_as_long_as_it_is_run_as_it_was(
    seen: frozenset[int] | None, none: bool
) -> None:
    async def play(loop: VirtualLoop, clock: VirtualClock) -> None:
        del loop, clock
        behind = Behind(Senses(below=lambda _pid, _container: seen))
        await behind.look_below("fetch", 3, "", "as it is")
        spec = MemberSpec("fetch", "server", "process", None, fingerprint="as it is")
        assert behind.runs_none(spec) is none
        assert not behind.runs_none(replace(spec, fingerprint="changed"))
        assert bool(behind.parents) is bool(seen)
        behind.keep(set())
        assert not behind.runs_none(spec)

    run(play)
