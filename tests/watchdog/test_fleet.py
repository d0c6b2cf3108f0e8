"""The fleet as a whole: what it takes over when it begins, what operators ask of it, and what a changed plan does."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from unittest import mock

import pytest

from mcpwatch.config.diff import diff
from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import MemberChanged, PlanApplied, Troubled
from mcpwatch.model.incarnation import Appeared, Incarnation
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.watchdog import decide as d
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route
from tests.watchdog.world_prober import DAEMON

BAD = ProbeResult(Outcome.FAILURE, Symptom.REFUSED)
A, B = member("a", fingerprint="f1"), member("b", fingerprint="f1")


def remembered(small: SmallFleet) -> dict[str, str]:
    return {key: value for key, value in small.memory.recall("fleet").items() if key.startswith("down:")}


async def begun(small: SmallFleet, *members: object, routes: object = ()) -> None:
    """Begin with these, and let them prove themselves."""
    await small.fleet.begin(plan(*members, routes=routes))  # type: ignore[arg-type]
    await asyncio.sleep(5.0)


async def late(specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
    """What lives in a runtime that takes a while to say so."""
    del specs
    await asyncio.sleep(1.0)
    return ()


async def refused(asked: Awaitable[object]) -> str:
    with pytest.raises(UsageError) as error:
        await asked
    return str(error.value)


# How it begins.


def test_what_lives_is_taken_over_and_what_does_not_is_started() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("process").living = [Incarnation("a", 4, "f1", 77)]
        assert await small.fleet.begin(plan(A, B)) == 1
        await asyncio.sleep(5.0)
        assert small.phases() == {"a": Phase.RUNNING, "b": Phase.RUNNING}
        assert small.runtimes["process"].asked == ["a", "b"]
        assert (small.fleet.actors["a"].state.generation, small.runtimes["process"].started) == (4, [1])

    fleet_story(play)


def test_what_lives_with_another_configuration_is_restarted_and_what_nobody_wants_is_stopped() -> None:
    async def play(small: SmallFleet) -> None:
        names = ("a", "b", "off", "bare")
        small.runtime("process").living = [Incarnation(name, 4, "" if name == "bare" else "f0", 77) for name in names]
        await begun(small, A, B, replace(A, name="off", want_up=False), replace(A, name="bare"))
        assert small.phases() == {"a": Phase.RUNNING, "b": Phase.STOPPED, "off": Phase.STOPPED, "bare": Phase.RUNNING}
        assert (small.fleet.actors["a"].state.generation, small.fleet.actors["bare"].state.generation) == (5, 4)
        assert sorted(small.runtimes["process"].ended) == ["a", "b", "off"]
        reasons = {fact.reason for fact in small.facts if isinstance(fact, MemberChanged) and fact.member == "a"}
        assert "its configuration changed while nobody watched" in reasons

    fleet_story(play, down__b="1")


@pytest.mark.parametrize("reloads", [True, False])
def test_a_hosted_server_that_changed_while_nobody_watched_is_left_to_a_proxy_that_reloads(reloads: bool) -> None:
    async def play(small: SmallFleet) -> None:
        inner = member("inner", runtime="hosted", direct=None, checks=(), fingerprint="f1")
        small.runtime("hosted").living = [Incarnation("inner", 4, "f0", 77)]
        small.fleet.monitor.learn(replace(small.fleet.monitor.traits, reloads=reloads))
        await begun(small, inner, PROXY)
        actor = small.fleet.actors["inner"]
        assert (small.runtimes["hosted"].ended, actor.replacing) == ([] if reloads else ["inner"], reloads)
        if reloads:
            actor.appeared(78, None)
            assert actor.incarnation is not None
            assert (actor.incarnation.pid, actor.incarnation.fingerprint, actor.incarnation.generation) == (78, "f1", 5)
            assert (actor.state.failures, actor.replacing) == (0, False)

    fleet_story(play)


def test_a_runtime_is_heard_only_once_its_members_are_known() -> None:
    async def play(small: SmallFleet) -> None:
        hosted = small.runtime("hosted")
        hosted.living, hosted.events = [Incarnation("inner", 4, "f1", 77)], [Appeared("inner", 78)]
        with mock.patch.object(small.runtime("process"), "owned", late):
            await begun(small, member("inner", runtime="hosted", direct=None, checks=(), fingerprint="f1"), PROXY)
        assert small.generations()["inner"] == 5

    fleet_story(play)


def test_what_an_operator_stopped_stays_down_and_what_is_no_more_in_the_plan_is_forgotten() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, B, replace(A, name="off", want_up=False))
        assert small.phases() == {"a": Phase.RUNNING, "b": Phase.STOPPED, "off": Phase.STOPPED}
        assert small.fleet.actors["b"].reason == "an operator stopped it"
        assert small.fleet.actors["off"].reason == ""
        assert remembered(small) == {"down:b": "1"}

    fleet_story(play, down__b="1", down__gone="1")


def test_generations_go_on_where_the_last_watchdog_left_off() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("process").living = [Incarnation("c", 3, "f1", 77), Incarnation("d", None, "f1", 78)]
        await begun(small, A, B, replace(A, name="c"), replace(A, name="d"))
        generations = small.generations()
        assert generations == {"a": 8, "b": 1, "c": 3, "d": 10}
        kept = small.memory.recall("fleet")
        assert {key: kept[key] for key in kept if key.startswith("generation")} == {
            "generation:a": "8",
            "generation:b": "1",
            "generation:c": "3",
            "generation:d": "10",
        }

    fleet_story(play, generation__a="7", generation__b="many", generation__c="5", generation__d="9")


def test_processes_are_always_asked_for_and_a_runtime_that_cannot_say_what_lives_is_told_and_used() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("docker").owned_fails = "no engine"
        await small.fleet.begin(plan(member("a", runtime="docker")))
        await asyncio.sleep(5.0)
        assert set(small.runtimes) == {"docker", "process"}
        assert {"watch docker", "watch process"} <= set(small.names)
        told = [(fact.level, fact.subject, fact.text) for fact in small.facts if isinstance(fact, Troubled)]
        assert told == [("error", "runtime docker", "no engine")]
        assert small.runtimes["docker"].started == [1]

    fleet_story(play)


# What operators ask.


def test_whatever_is_asked_before_it_begins_waits_for_that_but_not_for_ever() -> None:
    async def play(small: SmallFleet) -> None:
        began = small.loop.time()
        assert "still looking for what lives after 30s" in await refused(small.fleet.command("stop", "a"))
        assert small.loop.time() - began == 30.0
        asked = small.loop.create_task(small.fleet.probe_now("a"))
        await asyncio.sleep(1.0)
        assert not asked.done()
        small.runtime("process").start_takes = 1.0
        await small.fleet.begin(plan(A))
        assert await asked == (), "it knows of the member, which has only just begun to start"

    fleet_story(play)


def test_what_an_operator_asks_is_done_told_and_remembered() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, B)
        await small.fleet.command("stop", "a")
        await asyncio.sleep(1.0)
        assert small.phases() == {"a": Phase.STOPPED, "b": Phase.RUNNING}
        assert remembered(small) == {"down:a": "1"}
        assert small.fleet.actors["a"].reason == "an operator asked"
        await small.fleet.command("start", "a")
        await small.fleet.command("restart", "b")
        await asyncio.sleep(5.0)
        assert small.phases() == {"a": Phase.RUNNING, "b": Phase.RUNNING}
        assert small.generations() == {"a": 2, "b": 2}
        assert remembered(small) == {}
        assert await refused(small.fleet.command("stop", "aa")) == "no member 'aa'; did you mean 'a'?"

    fleet_story(play)


def test_an_answer_waits_for_the_disk_but_not_for_ever() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        small.memory.flush = asyncio.Event().wait  # type: ignore[method-assign,assignment]
        began = small.loop.time()
        await small.fleet.command("stop", "a")
        assert small.loop.time() - began == 5.0
        await small.fleet.apply(small.fleet.plan(), PlanDiff())
        assert small.loop.time() - began == 10.0

    fleet_story(play)


def test_the_checks_of_a_member_or_of_a_route_are_run_at_once_from_where_was_asked() -> None:
    async def play(small: SmallFleet) -> None:
        other = replace(A, name="other", direct=None, checks=())
        await begun(small, replace(A, route="a"), other, PROXY, routes=(route("a"), route("public", "other")))
        small.answers["http://p/a"] = BAD

        async def found(*asked: object) -> list[tuple[str, str, Outcome]]:
            answers = await small.fleet.probe_now(*asked)  # type: ignore[arg-type]
            return [(check, vantage, result.outcome) for check, vantage, result in answers]

        assert await found("a") == [("mcp", "direct", Outcome.SUCCESS), ("mcp", "route", Outcome.FAILURE)]
        assert await found("a", "route") == [("mcp", "route", Outcome.FAILURE)]
        assert await found("public") == [("mcp", "route", Outcome.SUCCESS)]
        assert await refused(small.fleet.probe_now("publik")) == "no member or route 'publik'; known: a, other, proxy"
        await small.fleet.command("stop", "proxy")
        await asyncio.sleep(1.0)
        assert await found("public") == [], "what cannot be looked at now says nothing"

    fleet_story(play)


# What a changed plan does.


async def changed(small: SmallFleet, before: Plan, after: Plan) -> PlanDiff:
    """Begin with one plan and apply another; what was touched."""
    await small.fleet.begin(before)
    await asyncio.sleep(5.0)
    touched = diff(before, after)
    small.runtimes["process"].started.clear()
    await small.fleet.apply(after, touched)
    await asyncio.sleep(5.0)
    return touched


def test_a_changed_plan_touches_only_the_members_it_names_and_says_which() -> None:
    async def play(small: SmallFleet) -> None:
        old, slow, gone = replace(A, name="old"), replace(A, name="slow"), replace(A, name="gone")
        after = plan(A, replace(old, fingerprint="f2"), replace(slow, stop_grace=3.0), replace(A, name="new"))
        small.memory.remember("fleet", "down:gone", "1")
        touched = await changed(small, plan(A, old, slow, gone), after)
        assert (touched.add, touched.remove, touched.replace, touched.retune) == (("new",), ("gone",), ("old",), ("slow",))
        assert small.generations() == {
            "a": 1,
            "old": 2,
            "slow": 1,
            "new": 1,
        }
        assert set(small.phases().values()) == {Phase.RUNNING}
        assert small.fleet.actors["slow"].spec.stop_grace == 3.0
        assert small.fleet.plan() is after
        assert remembered(small) == {}
        (fact,) = (fact for fact in small.facts if isinstance(fact, PlanApplied))
        assert fact.text == "configuration applied: 1 added, 1 removed, 1 replaced"
        assert (fact.added, fact.removed, fact.replaced, fact.retuned) == (("new",), ("gone",), ("old",), ("slow",))
        assert [one.subject for one in small.fleet.monitor.probing.histories] == ["a", "old", "slow", "new"]

    fleet_story(play)


def test_a_member_that_is_removed_is_stopped_first_and_its_runtime_is_left_to_the_others() -> None:
    async def play(small: SmallFleet) -> None:
        await changed(small, plan(A, B), plan(A))
        assert small.runtimes["process"].ended == ["b"]
        assert small.phases() == {"a": Phase.RUNNING}
        assert "b: phase running -> stopping (removed from the configuration)" in small.texts(MemberChanged)

    fleet_story(play)


def test_what_changed_while_it_is_down_on_purpose_is_not_started_for_that() -> None:
    async def play(small: SmallFleet) -> None:
        off = replace(A, name="off", want_up=False)
        after = plan(*(replace(one, fingerprint="f2") for one in (A, off)), replace(B, runtime="docker", fingerprint="f2"))
        await small.fleet.begin(plan(A, off, B))
        await asyncio.sleep(5.0)
        for name in ("a", "b"):
            await small.fleet.command("stop", name)
        await asyncio.sleep(1.0)
        await small.fleet.apply(after, diff(small.fleet.plan(), after))
        await asyncio.sleep(5.0)
        assert small.phases() == {"a": Phase.STOPPED, "off": Phase.STOPPED, "b": Phase.STOPPED}
        assert small.fleet.actors["a"].spec.fingerprint == "f2"

    fleet_story(play)


def test_a_member_that_the_file_switches_off_stops_and_one_that_it_switches_on_starts() -> None:
    async def play(small: SmallFleet) -> None:
        off = replace(B, want_up=False)
        await changed(small, plan(A, off), plan(replace(A, want_up=False), B))
        assert small.phases() == {"a": Phase.STOPPED, "b": Phase.RUNNING}
        assert small.fleet.actors["a"].reason == "the configuration disables it"
        await small.fleet.command("stop", "b")
        await asyncio.sleep(1.0)
        for wanted in (False, True):
            after = plan(replace(B, want_up=wanted))
            await small.fleet.apply(after, diff(small.fleet.plan(), after))
            await asyncio.sleep(5.0)
        assert (small.phases(), remembered(small)) == ({"b": Phase.RUNNING}, {})

    fleet_story(play)


def test_a_member_that_moves_to_another_runtime_is_stopped_in_the_old_and_started_in_the_new() -> None:
    async def play(small: SmallFleet) -> None:
        await changed(small, plan(A, B), plan(A, replace(B, runtime="docker", fingerprint="f2")))
        assert small.runtimes["process"].ended == ["b"]
        assert (small.runtimes["process"].started, small.runtimes["docker"].started) == ([], [2])
        assert small.phases() == {"a": Phase.RUNNING, "b": Phase.RUNNING}

    fleet_story(play)


@pytest.mark.parametrize(("reloads", "started"), [(True, []), (False, [2])])
def test_what_a_proxy_that_reloads_hosts_is_left_to_it_and_expected_to_go(reloads: bool, started: list[int]) -> None:
    async def play(small: SmallFleet) -> None:
        inner = member("inner", runtime="hosted", direct=None, checks=(), fingerprint="f1")
        await begun(small, inner, PROXY)
        small.fleet.monitor.learn(replace(small.fleet.monitor.traits, reloads=reloads))
        small.runtimes["hosted"].started.clear()
        seen: list[bool] = []
        after = plan(replace(inner, fingerprint="f2"), PROXY)
        touched = diff(small.fleet.plan(), after)
        await small.fleet.apply(after, touched, lambda: seen.append(small.fleet.actors["inner"].replacing))
        await asyncio.sleep(1.0)
        assert (seen, small.runtimes["hosted"].started) == ([reloads], started)

    fleet_story(play)


# What time does, and the end.


def test_a_member_that_has_grown_too_large_is_restarted_as_planned() -> None:
    async def play(small: SmallFleet) -> None:
        limited = replace(A, restart=RestartPolicy(max_memory=100 * 2**20))
        await begun(small, limited, replace(limited, name="fits"), replace(limited, name="unseen"), B)
        for name, rss in (("a", 150), ("fits", 100), ("b", 900)):
            small.runtimes["process"].used[name] = Usage(rss=rss * 2**20)
        small.fleet.recycle()
        small.fleet.recycle()  # it is on its way already
        await asyncio.sleep(5.0)
        assert small.generations() == {
            "a": 2,
            "fits": 1,
            "unseen": 1,
            "b": 1,
        }
        assert small.fleet.actors["a"].state.failures == 0
        told = "a: phase running -> stopping (planned restart: 150 MiB of memory, more than 100 MiB)"
        assert told in small.texts(MemberChanged)

    fleet_story(play)


def test_a_stop_stops_everything_and_nothing_begins_after_it() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, PROXY)
        small.runtimes["process"].stop_takes = 1.0
        stopping = small.loop.create_task(small.fleet.stop())
        await asyncio.sleep(0.5)
        small.fleet.hurry()
        await stopping
        assert small.phases() == {"a": Phase.STOPPED, "proxy": Phase.STOPPED}
        assert small.runtimes["process"].graces == [("proxy", 10.0), ("proxy", 0.0), ("a", 0.0)], "the first is killed"
        probes, names = len(small.probed), len(small.names)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            small.fleet.actors["a"].tell(d.WantUp(small.clock.now(), "too late"))
        assert warned == [], "what does not begin is closed"
        await asyncio.sleep(100.0)
        assert (len(small.probed), small.runtimes["process"].started) == (probes, [1, 1])
        assert {name.partition(" ")[0] for name in small.names[names:]} <= {"stop"}

    fleet_story(play)


def test_when_it_is_only_closed_members_live_on() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/b"] = BAD
        await begun(small, A, B)
        small.answers["http://h/a"] = BAD
        await small.fleet.probe_now("a")
        small.fleet.close()
        probes = len(small.probed)
        await asyncio.sleep(100.0)
        assert (small.phases(), small.runtimes["process"].ended) == ({"a": Phase.RUNNING, "b": Phase.STARTING}, [])
        assert len(small.probed) == probes

    fleet_story(play)


def test_what_is_shown_is_what_is_held() -> None:
    async def play(small: SmallFleet) -> None:
        small.runtime("process").used["a"] = Usage(rss=7)
        await begun(small, replace(A, route="a"), PROXY, routes=(route("a"),))
        shown = small.fleet.view()
        assert (shown.at, shown.proxy, shown.daemon) == (small.clock.wall(), "proxy", DAEMON)
        assert [(one.name, one.phase, one.want) for one in shown.members] == [
            ("a", Phase.RUNNING, Want.UP),
            ("proxy", Phase.RUNNING, Want.UP),
        ]
        assert shown.members[0].usage.rss == 7
        assert [one.name for one in shown.routes] == ["a"]
        assert shown.diagnoses == ()

    fleet_story(play)


def test_a_member_is_started_when_what_it_depends_on_is_ready_and_the_proxy_last_where_it_connects_once() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        small.fleet.monitor.learn(replace(small.fleet.monitor.traits, mounts_late=False))
        await small.fleet.begin(plan(A, replace(B, depends_on=("a",)), PROXY))
        await asyncio.sleep(10.0)
        assert small.phases() == {"a": Phase.STARTING, "b": Phase.STOPPED, "proxy": Phase.STOPPED}
        small.answers.clear()
        await asyncio.sleep(10.0)
        assert set(small.phases().values()) == {Phase.RUNNING}

    fleet_story(play)


def test_a_start_that_was_decided_otherwise_meanwhile_is_not_begun() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        await small.fleet.begin(plan(A, replace(B, depends_on=("a",))))
        await asyncio.sleep(1.0)
        await small.fleet.command("start", "b")
        await asyncio.sleep(2.0)
        small.answers.clear()
        await asyncio.sleep(10.0)
        assert small.generations() == {"a": 1, "b": 1}
        reasons = [
            fact.reason for fact in small.facts if isinstance(fact, MemberChanged) and fact.member == "b" and fact.field == "phase"
        ]
        assert reasons[0] == "an operator asked"

    fleet_story(play)


def test_time_in_which_nobody_watched_is_held_against_nobody() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        await begun(small, A)
        await asyncio.sleep(50.0)
        small.fleet.unwatched()
        await asyncio.sleep(50.0)
        assert (small.phases(), small.generations()) == ({"a": Phase.STARTING}, {"a": 1})
        assert small.fleet.monitor.probing.worst_lag == 0.0

    fleet_story(play)


def test_what_is_wrong_is_shown_with_its_cause_and_gone_when_it_is_well() -> None:
    async def play(small: SmallFleet) -> None:
        external = member("a", runtime="external")
        await begun(small, external)
        small.answers["http://h/a"] = BAD
        await asyncio.sleep(60.0)
        assert [one.subject for one in small.fleet.view().diagnoses] == ["a"]
        small.answers.clear()
        await asyncio.sleep(60.0)
        assert small.fleet.view().diagnoses == ()

    fleet_story(play)


@pytest.mark.parametrize("by", [-3600.0, 86_400.0])
def test_what_is_shown_with_its_age_is_as_old_as_it_was_when_the_wall_clock_is_set(
    monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    async def play(small: SmallFleet) -> None:
        def ages() -> list[float]:
            view, wall = small.fleet.view(), small.clock.wall()
            members = [moment for one in view.members for moment in (one.since, one.verdict_since)]
            routes = [moment for one in view.routes for moment in (one.last_success, one.verdict_since)]
            probes = [probe.at for one in (*view.members, *view.routes) for probe in one.probes]
            return [wall - moment for moment in (*members, *routes, *probes) if moment is not None]

        await begun(small, A, PROXY, routes=(route("a"),))
        await asyncio.sleep(60.0)
        before, started = ages(), small.fleet.view().daemon.started_at
        true = small.clock.wall
        monkeypatch.setattr(small.clock, "wall", lambda: WallTime(true() + by))
        small.fleet.clock_set()
        assert len(before) > 7
        assert ages() == pytest.approx(before, abs=0.001)
        assert small.fleet.view().daemon.started_at != started

        monkeypatch.setattr(small.clock, "wall", true)
        await asyncio.sleep(45.0)  # checks have run by the clock as it is now before anybody notices that it was set
        small.fleet.clock_set()
        assert all(0.0 <= age <= 60.0 + 45.0 + 10.0 for age in ages())

    fleet_story(play)
