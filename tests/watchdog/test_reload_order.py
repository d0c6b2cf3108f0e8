"""A changed file behind a proxy that mounts no member which comes after it: when that is restarted, and how often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase
from mcpwatch.model.spec import PlanDiff, Traits
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route


@pytest.mark.parametrize(("mounts_late", "takes", "restarted"), [(False, 3.0, 3.0), (False, 90.0, 20.0), (True, 3.0, 0.0)])
def test_a_proxy_that_mounts_no_late_member_is_restarted_once_and_finds_the_new_one_there(
    takes: float, restarted: float, *, mounts_late: bool
) -> None:
    """Each restart of it cuts every route. One that takes long to start is not waited for: the rest of the file counts too."""

    async def play(small: SmallFleet) -> None:
        a, fresh = member("a", route="a"), member("fresh", route="fresh")
        await small.fleet.begin(plan(a, PROXY, routes=(route("a"),)))
        await asyncio.sleep(6.0)
        small.fleet.monitor.learn(Traits(mounts_late=mounts_late))
        began, when = small.loop.time(), 0.0
        small.runtimes["process"].start_takes = takes
        after = plan(a, fresh, replace(PROXY, fingerprint="f2"), routes=(route("a"), route("fresh")))
        await small.fleet.apply(after, PlanDiff(add=("fresh",), replace=("proxy",)))
        while small.fleet.actors["proxy"].state.phase is Phase.RUNNING:
            assert when < 60.0
            await asyncio.sleep(0.1)
            when = small.loop.time() - began
        assert restarted <= when <= restarted + 1.0
        small.runtimes["process"].start_takes = 0.0
        await asyncio.sleep(60.0)
        assert small.generations()["proxy"] == 2

    fleet_story(play)


@pytest.mark.parametrize("well", [True, False])
def test_a_proxy_whose_file_changes_with_a_member_is_restarted_once_when_that_is_there_again(*, well: bool) -> None:
    """A corrected URL or port changes both: the proxy began before the member was back, and was restarted for it once more."""

    async def play(small: SmallFleet) -> None:
        a, late = member("a", route="a"), member("late", route="late")
        routes = (route("a"), route("late"))
        await small.fleet.begin(plan(a, late, PROXY, routes=routes))
        await asyncio.sleep(6.0)
        small.fleet.monitor.learn(Traits(mounts_late=False))
        if not well:
            small.fleet.actors["late"].exited(Exited("late", 1, code=78))
            await asyncio.sleep(1.0)
            assert small.fleet.actors["late"].state.phase is Phase.FAILED
        small.runtimes["process"].start_takes = 4.0
        after = plan(a, replace(late, fingerprint="f2"), replace(PROXY, fingerprint="f2"), routes=routes)
        await small.fleet.apply(after, PlanDiff(replace=("late", "proxy")))
        await asyncio.sleep(3.0)
        assert small.fleet.actors["proxy"].state.phase is Phase.RUNNING, "it serves the others meanwhile"
        await small.fleet.actors["proxy"].reached(Phase.STOPPING, Phase.STARTING)
        assert small.fleet.actors["late"].state.phase is Phase.RUNNING
        await asyncio.sleep(60.0)
        assert small.generations() == {"a": 1, "late": 2, "proxy": 2}

    fleet_story(play)


def test_a_proxy_that_was_restarted_meanwhile_is_not_restarted_again_for_a_new_member() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(member("a", route="a"), PROXY, routes=(route("a"),)))
        await asyncio.sleep(6.0)
        small.fleet.monitor.learn(Traits(mounts_late=False))
        small.runtimes["process"].start_takes = 5.0
        after = plan(member("a", route="a"), member("fresh"), replace(PROXY, fingerprint="f2"), routes=(route("a"),))
        await small.fleet.apply(after, PlanDiff(add=("fresh",), replace=("proxy",)))
        await small.fleet.command("restart", "proxy")
        await asyncio.sleep(60.0)
        assert small.generations()["proxy"] == 2

    fleet_story(play)
