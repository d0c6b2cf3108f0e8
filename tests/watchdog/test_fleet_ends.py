"""What the fleet lets go of: members that are removed, attempts that an operator made void, and everything at the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.config.diff import diff
from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import Troubled
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom
from mcpwatch.model.spec import PlanDiff, RestartPolicy
from mcpwatch.watchdog.ladder import Attempt, Step
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan

BAD = ProbeResult(Outcome.FAILURE, Symptom.REFUSED)
A, B = member("a", fingerprint="f1"), member("b", fingerprint="f1")


async def apply(small: SmallFleet, *members: object) -> None:
    """Change to a plan of these members."""
    after = plan(*members)  # type: ignore[arg-type]
    await small.fleet.apply(after, diff(small.fleet.plan(), after))


def test_what_was_tried_for_a_member_is_forgotten_when_an_operator_acts_on_it_or_it_is_removed() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A, B))
        await asyncio.sleep(5.0)
        now = small.clock.now()
        tried = {name: Attempt(now, f"member:{name}", "member_hung", Step("restart", name), "useless", now) for name in ("a", "b")}
        small.fleet.mender.attempts = tuple(tried.values())
        await small.fleet.command("restart", "a")
        assert small.fleet.mender.attempts == (tried["b"],)
        await apply(small, A)
        assert small.fleet.mender.attempts == ()

    fleet_story(play)


def test_a_plan_is_not_applied_before_the_first_one_has_begun() -> None:
    async def play(small: SmallFleet) -> None:
        with pytest.raises(UsageError, match="still looking"):
            await small.fleet.apply(plan(A), PlanDiff(add=("a",)))
        assert small.fleet.actors == {}

    fleet_story(play)


def test_a_changed_plan_is_considered_when_it_is_in_force_and_what_it_removes_has_stopped() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A, B))
        await asyncio.sleep(5.0)
        considered: list[float] = []
        small.fleet.mender.soon = lambda: considered.append(small.loop.time())  # type: ignore[method-assign]
        small.runtimes["process"].stop_takes = 3.0
        await apply(small, A)
        assert (small.phases(), small.loop.time()) == ({"a": Phase.RUNNING}, 8.0)
        considered.clear()
        await small.fleet.apply(small.fleet.plan(), PlanDiff())
        assert considered == [8.0]

    fleet_story(play)


def test_what_ended_as_it_may_is_started_again_with_a_changed_configuration() -> None:
    async def play(small: SmallFleet) -> None:
        once = replace(A, restart=RestartPolicy(condition="on-failure"))
        await small.fleet.begin(plan(once))
        await asyncio.sleep(5.0)
        actor = small.fleet.actors["a"]
        actor.exited(Exited("a", 1, code=0))
        assert (actor.state.phase, actor.state.want) == (Phase.STOPPED, Want.DOWN)
        await apply(small, replace(once, fingerprint="f2"))
        await asyncio.sleep(5.0)
        assert (small.phases(), small.generations()) == ({"a": Phase.RUNNING}, {"a": 2})

    fleet_story(play)


def test_a_member_that_is_removed_while_it_waits_for_others_is_not_started() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        await small.fleet.begin(plan(A, replace(B, depends_on=("a",))))
        await asyncio.sleep(1.0)
        await apply(small, A)
        small.answers.clear()
        await asyncio.sleep(5.0)
        assert (small.phases(), small.runtimes["process"].started) == ({"a": Phase.RUNNING}, [1])

    fleet_story(play)


def test_while_it_stops_nothing_is_looked_at_any_more() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A, PROXY))
        await asyncio.sleep(5.0)
        small.runtimes["process"].stop_takes = 14.0
        probes = len(small.probed)
        await small.fleet.stop()
        assert (small.loop.time(), len(small.probed)) == (33.0, probes)

    fleet_story(play)


def test_what_cannot_be_stopped_is_left_in_the_end() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A))
        await asyncio.sleep(5.0)
        small.runtimes["process"].stop_fails = "it does not die"
        await small.fleet.stop()
        told = len(small.texts(Troubled))
        assert (small.loop.time(), told) == (25.0, 2), "asked and forced"
        await asyncio.sleep(100.0)
        assert len(small.texts(Troubled)) == told

    fleet_story(play)


def test_a_probe_that_was_under_way_while_nobody_watched_says_nothing() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A))
        await asyncio.sleep(5.0)
        small.answers["http://h/a"] = BAD
        probe = small.loop.create_task(small.fleet.probe_now("a"))
        await asyncio.sleep(0.005)
        small.fleet.unwatched()
        ((_, _, result),) = await probe
        assert result.outcome is Outcome.UNKNOWN

    fleet_story(play)
