"""What is looked at anew: after a restart, after a failure that is over, and while a start goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import RepairProved, RouteChanged
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Canary, Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.proxy import LogHint
from mcpwatch.model.spec import CheckSpec, Traits
from mcpwatch.watchdog.door import shut_out
from mcpwatch.watchdog.doubt import ENOUGH
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from tests.watchdog.small_fleet import PROXY, SmallFleet, fleet_story, member, plan, route
from tests.watchdog.test_monitor import BAD, CANARY, CHECK, DIRECT, INNER, ROUTE, A, begun, end, forget


def verdicts(small: SmallFleet) -> dict[str, Verdict]:
    return {f"{key.subject} {key.vantage}": history.verdict for key, history in small.fleet.monitor.probing.histories.items()}


WELL = dict.fromkeys(("a direct", "b direct", "proxy direct", "a route", "b route", "inner route"), Verdict.HEALTHY)


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("a", {"a direct", "a route"}),
        ("inner", {"inner route"}),
        ("proxy", {"proxy direct", "a route", "b route", "inner route"}),
    ],
)
def test_what_was_seen_of_an_earlier_incarnation_says_nothing_of_the_next(name: str, unknown: set[str]) -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, member("b", route="b"), INNER)
        assert verdicts(small) == WELL
        small.answers = {f"http://h/{name}": BAD, f"http://p/{name}": BAD}
        small.runtimes["process"].start_takes = small.runtimes["hosted"].start_takes = 1.0
        await small.fleet.command("restart", name)
        await asyncio.sleep(1.1)
        assert {one for one, verdict in verdicts(small).items() if verdict is Verdict.UNKNOWN} == unknown

    fleet_story(play)


def test_what_was_let_run_again_is_seen_anew_itself_and_a_route_of_its_own_only_where_nothing_else_is_seen_of_it() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, member("b", route="b"), INNER)
        through = {"proxy direct", "a route", "b route", "inner route"}
        for name, unknown in (("a", {"a direct"}), ("inner", {"inner route"}), ("proxy", through)):
            small.fleet.monitor.renew(small.fleet.actors[name])
            assert {one for one, verdict in verdicts(small).items() if verdict is Verdict.UNKNOWN} == unknown
            await asyncio.sleep(40.0)
            assert verdicts(small) == WELL

    fleet_story(play)


def test_what_a_start_answers_is_a_cause_to_consider_once_it_failed_before() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        await small.fleet.begin(plan(A))
        await asyncio.sleep(2.0)
        considered: list[bool] = []
        small.fleet.mender.soon = lambda: considered.append(True)  # type: ignore[method-assign]
        await asyncio.sleep(3.0)
        assert considered == []
        small.fleet.actors["a"].exited(Exited("a", 1, code=1))
        await asyncio.sleep(1.0)
        considered.clear()
        await asyncio.sleep(3.0)
        assert considered

    fleet_story(play)


def test_a_proxy_that_is_not_there_is_not_nudged() -> None:
    async def play(small: SmallFleet) -> None:
        small.fleet.monitor.learn(Traits(nudges=True))
        await small.fleet.begin(plan(A, routes=(route("a"),)))
        await asyncio.sleep(5.0)
        assert (small.phases(), small.nudged) == ({"a": Phase.RUNNING}, [])

    async def starting(small: SmallFleet) -> None:
        small.answers["http://h/proxy"] = BAD
        await begun(small, A, traits=Traits(nudges=True))
        assert (small.phases(), small.nudged) == ({"a": Phase.RUNNING, "proxy": Phase.STARTING}, [])

    fleet_story(play)
    fleet_story(starting)


def test_a_nudge_that_fails_harms_nobody_and_the_route_is_looked_at_all_the_same() -> None:
    async def play(small: SmallFleet) -> None:
        small.nudge_fails = RuntimeFailed("no such proxy")
        await begun(small, A, traits=Traits(nudges=True))
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        small.answers["http://h/a"] = BAD
        await small.fleet.monitor.probing.run(check)
        small.answers.clear()
        forget(small)
        await small.fleet.monitor.probing.run(check)
        await asyncio.sleep(0.1)
        assert small.probed == [DIRECT, ROUTE]

    fleet_story(play)


def test_what_is_hosted_is_not_nudged_for_it_is_the_proxy_that_starts_it() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, INNER, traits=Traits(nudges=True))
        await small.fleet.command("restart", "inner")
        await asyncio.sleep(3.0)
        assert (small.phases()["inner"], small.nudged) == (Phase.RUNNING, [])

    fleet_story(play)


def test_a_canary_is_not_called_because_a_route_failed() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, replace(A, checks=(replace(CHECK, interval=1000.0), replace(CANARY, interval=1000.0))))
        small.answers["http://p/a"] = BAD
        (through,) = small.fleet.monitor.probing.of("a", "route")
        await small.fleet.monitor.probing.run(through)
        await asyncio.sleep(0.05)
        assert "canary" not in [check.name for check in small.checks]

    fleet_story(play)


def test_a_member_that_is_ready_again_has_its_proxy_told_so() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, traits=Traits(nudges=True))
        await small.fleet.command("restart", "a")
        await asyncio.sleep(2.0)
        assert (small.phases()["a"], small.nudged) == (Phase.RUNNING, ["a"])

    fleet_story(play)


def test_a_start_that_is_over_is_not_asked_for_its_proof_any_more() -> None:
    async def play(small: SmallFleet) -> None:
        def asked() -> bool:
            return "ready a" in {task.get_name() for task in small.tasks}

        small.answers["http://h/a"] = BAD
        await begun(small, A)
        assert asked()
        await small.fleet.command("stop", "a")
        await asyncio.sleep(2.0)
        assert not asked()
        await small.fleet.command("start", "a")
        await asyncio.sleep(2.0)
        assert asked()
        small.fleet.close()
        await asyncio.sleep(2.0)
        assert not asked()

    fleet_story(play)


def test_what_is_not_probed_at_its_start_is_never_sick_of_it() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, member("quiet", checks=()))
        assert not small.fleet.monitor.starts.sick(small.fleet.actors["quiet"])

    fleet_story(play)


@pytest.mark.parametrize("served", [True, False])
def test_what_no_proxy_serves_is_probed_itself_whatever_it_dies_of(served: bool) -> None:
    async def play(small: SmallFleet) -> None:
        fronts = (member("proxy", kind="proxy"),) if served else ()
        await small.fleet.begin(plan(A if not served else member("a"), *fronts, routes=() if served else (route("a"),)))
        await asyncio.sleep(5.0)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        for _ in range(3):
            probe = small.loop.create_task(small.fleet.monitor.probing.run(check))
            await asyncio.sleep(0.005)
            end(small)
            await probe
        forget(small)
        await small.fleet.monitor.look("a")
        assert DIRECT in small.probed

    fleet_story(play)


def test_what_the_log_says_is_considered_at_once() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        considered: list[bool] = []
        small.fleet.mender.soon = lambda: considered.append(True)  # type: ignore[method-assign]
        small.fleet.monitor.hear(LogHint("", "exhausted", "too many open files"))
        assert considered

    fleet_story(play)


def test_what_a_route_becomes_is_told() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        small.answers["http://p/a"] = BAD
        await asyncio.sleep(60.0)
        told = [(fact.old, fact.new) for fact in small.facts if isinstance(fact, RouteChanged)]
        assert told[:2] == [("unknown", "healthy"), ("healthy", "unhealthy")]

    fleet_story(play)


def test_a_proxy_that_gave_up_over_a_server_is_started_when_that_is_well_again() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, member("b", route="b"), traits=Traits(dies_on_bad_command=True))
        small.answers["http://h/a"] = small.answers["http://h/b"] = small.answers["http://h/proxy"] = BAD
        while small.phases()["proxy"] is not Phase.FAILED:
            await asyncio.sleep(1.0)
            if small.phases()["proxy"] in (Phase.RUNNING, Phase.STARTING):
                small.fleet.monitor.hear(LogHint("b", "mounting", "Setting up 'b'"))
                actor = small.fleet.actors["proxy"]
                actor.exited(Exited("proxy", actor.state.generation, code=1), ())
        del small.answers["http://h/proxy"]
        (other,), (check,) = (small.fleet.monitor.probing.of(name, "direct") for name in ("a", "b"))
        for one in (other, check):
            await small.fleet.monitor.probing.run(one)
        del small.answers["http://h/a"]
        await small.fleet.monitor.probing.run(other)
        await asyncio.sleep(0.1)
        assert small.phases()["proxy"] is Phase.FAILED, "another server that is well again says nothing"
        del small.answers["http://h/b"]
        await small.fleet.monitor.probing.run(check)
        await asyncio.sleep(2.0)
        assert small.phases()["proxy"] is Phase.RUNNING

    fleet_story(play)


def test_a_proxy_that_somebody_stopped_stays_down_when_a_server_is_well_again() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, traits=Traits(dies_on_bad_command=True))
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        small.answers["http://h/a"] = BAD
        await small.fleet.monitor.probing.run(check)
        small.fleet.monitor.hear(LogHint("a", "mounting"))
        await small.fleet.command("stop", "proxy")
        await asyncio.sleep(2.0)
        small.answers.clear()
        await small.fleet.monitor.probing.run(check)
        await asyncio.sleep(5.0)
        assert small.phases()["proxy"] is Phase.STOPPED

    fleet_story(play)


def test_a_rare_check_that_was_shut_out_is_made_again_once_another_gets_in() -> None:
    """A proxy that came up late was called silent for a minute, on the word of the one check that is seldom made."""
    rare = CheckSpec("rare", interval=600.0, failure_threshold=1, vantages=("route",))
    front = replace(PROXY, runtime="external")

    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(A, front, routes=[replace(route("a"), checks=(*route("a").checks, rare))]))
        await asyncio.sleep(6.0)
        small.answers = {"http://p/a": replace(BAD, stage=Stage.CONNECT)}
        await small.fleet.monitor.look("a")
        assert verdicts_of("rare", small) is Verdict.UNHEALTHY
        small.answers = {}
        await asyncio.sleep(45.0)
        assert verdicts_of("rare", small) is Verdict.HEALTHY

    fleet_story(play)
    histories = Histories()
    plain, seldom = (CheckKey("a", name, "route") for name in ("mcp", "rare"))
    histories[plain] = CheckHistory()
    for symptom, stage, asked in [
        (Symptom.REFUSED, Stage.CONNECT, True),
        (Symptom.TIMEOUT, Stage.OPEN, True),
        (Symptom.TIMEOUT, Stage.CANARY, False),
        (Symptom.AUTH, Stage.OPEN, False),
    ]:
        histories[seldom] = CheckHistory(latest=ProbeResult(Outcome.FAILURE, symptom, stage))
        assert shut_out(histories, plain) == ((seldom,) if asked else ())
        assert shut_out(histories, seldom) == ()


def verdicts_of(check: str, small: SmallFleet) -> Verdict:
    return next(one.verdict for key, one in small.fleet.monitor.probing.histories.items() if key.check == check)


def test_a_canary_that_alone_fails_is_asked_again_itself_before_its_member_is_restarted() -> None:
    often = replace(CHECK, interval=5.0, failure_threshold=2, vantages=("direct",))
    rare = replace(often, name="canary", canary=Canary("a"), interval=600.0)

    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(member("a", checks=(often, rare))))
        await asyncio.sleep(10.0)
        small.called["http://h/a"] = ProbeResult(Outcome.FAILURE, Symptom.BAD_REPLY, Stage.CANARY, "no JSON")
        for one in small.fleet.monitor.probing.of("a"):
            await small.fleet.monitor.probing.run(one)
        small.checks.clear()
        small.runtimes["process"].on_stop = small.called.clear
        await asyncio.sleep(90.0)
        asked = [check for check in small.checks if check.canary is not None]
        assert small.generations()["a"] == 2, "not ten minutes for each of eight answers"
        assert len(asked) >= ENOUGH - 1

    fleet_story(play)


def test_a_restart_after_which_the_canary_still_fails_is_proved_by_no_list() -> None:
    often = replace(CHECK, interval=5.0, failure_threshold=2, vantages=("direct",))
    rare = replace(often, name="canary", canary=Canary("a"), interval=20.0)

    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(member("a", checks=(often, rare))))
        await asyncio.sleep(10.0)
        small.called["http://h/a"] = ProbeResult(Outcome.FAILURE, Symptom.BAD_REPLY, Stage.CANARY, "no JSON")
        await asyncio.sleep(600.0)
        assert [fact.outcome for fact in small.facts if isinstance(fact, RepairProved)] == ["failed", "failed"]
        assert small.generations()["a"] == 3

    fleet_story(play)
