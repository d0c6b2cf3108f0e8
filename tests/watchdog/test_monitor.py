"""What is looked at, from where and when: at a start, after a failure, when the proxy's log says something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from mcpwatch.model.fact import MemberChanged
from mcpwatch.model.incarnation import Exited, Incarnation
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Canary, Outcome, ProbeResult, ServerInfo, Stage, Symptom, Target, Vantage
from mcpwatch.model.proxy import LogHint
from mcpwatch.model.spec import CheckSpec, MemberSpec, PlanDiff, Traits
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.behind import Behind
from mcpwatch.watchdog.beside import Question, beside
from mcpwatch.watchdog.senses import Senses
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.small_fleet import CHECK, PROXY, SmallFleet, fleet_story, member, plan, route

A = member("a", route="a")
INNER = member("inner", runtime="hosted", direct=None, checks=(), route="inner")
CANARY = replace(CHECK, name="canary", canary=Canary("echo"))
BAD = ProbeResult(Outcome.FAILURE, Symptom.REFUSED, message="nothing listens")
DIRECT, ROUTE = ("http://h/a", "direct"), ("http://p/a", "route")


async def begun(small: SmallFleet, *members: MemberSpec, traits: Traits | None = None) -> None:
    """Begin with these and a proxy with a route to each that has one; forget what was asked until all was well."""
    routes = [route(one.route) for one in members if one.route]
    if traits is not None:
        small.fleet.monitor.learn(traits)
    await small.fleet.begin(plan(*members, PROXY, routes=routes))
    await asyncio.sleep(6.0)
    forget(small)


def forget(small: SmallFleet) -> None:
    small.probed.clear()
    small.checks.clear()
    small.nudged.clear()


def told(small: SmallFleet, name: str) -> list[str]:
    return [fact.text for fact in small.facts if isinstance(fact, MemberChanged) and fact.member == name]


# What is checked.


def test_checks_run_from_the_vantages_they_name_where_there_is_something_to_ask() -> None:
    async def play(small: SmallFleet) -> None:
        both, routed = CheckSpec("both"), CheckSpec("routed", vantages=("route",))
        members = (
            member("a", checks=(both, routed)),
            member("nowhere", direct=None, checks=(both,)),
            member("placed", direct=None, runtime="docker", checks=(both,)),
        )
        front = replace(route("a"), checks=(both, routed, CheckSpec("direct", vantages=("direct",))))
        await small.fleet.begin(plan(*members, routes=(front,)))
        watched = [(key.subject, key.check, key.vantage) for key in small.fleet.monitor.probing.histories]
        assert watched == [("a", "both", "direct"), ("placed", "both", "direct"), ("a", "both", "route"), ("a", "routed", "route")]

    fleet_story(play)


def test_a_member_is_asked_where_its_runtime_put_it_and_only_while_it_runs() -> None:
    async def play(small: SmallFleet) -> None:
        placed = Incarnation("placed", 1, "", 7, direct=Target("http://10.0.0.7"))
        small.runtime("docker").living = [placed]
        await begun(small, member("placed", runtime="docker"), A)
        for name in ("placed", "a"):
            await small.fleet.monitor.look(name)
        assert small.probed == [("http://10.0.0.7", "direct"), DIRECT, ROUTE]
        await small.fleet.command("stop", "a")
        await asyncio.sleep(1.0)
        forget(small)
        await small.fleet.monitor.look("a")
        assert small.probed == []

    fleet_story(play)


def test_nothing_is_asked_through_a_proxy_that_does_not_run_yet_nor_of_anybody_after_the_end() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        small.answers["http://h/proxy"] = BAD
        await small.fleet.command("restart", "proxy")
        await asyncio.sleep(3.0)
        assert small.phases()["proxy"] is Phase.STARTING
        forget(small)
        await small.fleet.monitor.look("a")
        assert small.probed == [DIRECT]
        small.answers.clear()
        await asyncio.sleep(3.0)
        assert ROUTE in small.probed, "as soon as it runs every route is looked at"
        seen = small.fleet.monitor.probing.histories.of("a", "route")[0][1]
        assert (seen.generation, seen.proxy_generation) == (1, 2)
        small.fleet.monitor.close()
        forget(small)
        await small.fleet.monitor.look("a")
        assert small.probed == []

    fleet_story(play)


def test_what_lists_from_its_memory_is_asked_to_call_something_from_then_on() -> None:
    async def play(small: SmallFleet) -> None:
        cached = replace(A, direct=Target("http://h/a/sse"))
        small.answers["http://h/a/sse"] = ProbeResult(Outcome.SUCCESS, server=ServerInfo("a", "1"))
        await begun(small, cached)
        small.answers["http://h/a/sse"] = ProbeResult(Outcome.SUCCESS, server=ServerInfo("other", "1"))
        for _ in range(2):
            await small.fleet.monitor.look("a")
        assert [check.safe_call for check in small.checks] == [True, False] * 2, "the route is asked as it is written"

    fleet_story(play)


def test_a_look_calls_no_canary_of_the_member_unless_there_is_nothing_else_or_it_is_to_go_deep() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, replace(A, checks=(CHECK, CANARY)), member("only", route="only", checks=(CANARY,)))
        looks = (("a", False, ["mcp", "mcp"]), ("a", True, ["mcp", "canary", "mcp"]), ("only", False, ["canary", "mcp"]))
        for name, deep, asked in looks:
            forget(small)
            await small.fleet.monitor.look(name, deep=deep)
            assert [check.name for check in small.checks] == asked
            assert any(check.safe_call for check in small.checks) is deep
        forget(small)
        await small.fleet.monitor.look("a")
        assert [check.safe_call for check in small.checks] == [True, False], "once deep, always deep"

    fleet_story(play)


# What the proxy's log says.


def test_what_the_proxys_log_says_of_a_route_is_kept_and_the_route_is_looked_at_now() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, INNER)
        monitor = small.fleet.monitor
        for hint, asked in (
            (LogHint("a", "failed", "a: connection refused"), [ROUTE]),
            (LogHint("", "ready", "listening"), [ROUTE, ("http://p/inner", "route")]),
            (LogHint("", "exhausted", "too many open files"), []),
            (LogHint("", "failed", "something"), []),
        ):
            forget(small)
            monitor.hear(hint)
            await asyncio.sleep(0.1)
            assert small.probed == asked, hint
        kept = [(hint.route, hint.text) for hint in monitor.snapshot().proxy_log]
        assert kept == [("a", "a: connection refused"), ("", "too many open files")]
        await small.fleet.command("restart", "a")
        await asyncio.sleep(3.0)
        assert monitor.snapshot().proxy_log, "that is not the proxy"
        await small.fleet.command("restart", "proxy")
        await asyncio.sleep(3.0)
        assert monitor.snapshot().proxy_log == (), "a new proxy has said nothing yet"

    fleet_story(play)


def test_the_latest_two_hundred_hints_are_kept() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        for number in range(205):
            small.fleet.monitor.hear(LogHint(f"m{number}", "failed", "refused"))
        kept = [hint.route for hint in small.fleet.monitor.snapshot().proxy_log]
        assert (len(kept), kept[0], kept[-1]) == (200, "m5", "m204")

    fleet_story(play)


def test_an_engine_that_is_away_is_known_until_it_is_back() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        monitor = small.fleet.monitor
        monitor.engine("docker", "no socket")
        assert (monitor.snapshot().engines_gone, monitor.snapshot().engine_gone) == (("docker",), "no socket")
        monitor.engine("docker", "")
        monitor.engine("swarm", "")
        assert monitor.snapshot().engines_gone == ()

    fleet_story(play)


# What a start must prove.


@pytest.mark.parametrize("checks", [(), (replace(CHECK, kind="refusal"),)])
def test_a_member_that_nothing_speaks_to_runs_at_once_and_nothing_is_known_of_it(checks: tuple[CheckSpec, ...]) -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, member("quiet", checks=checks))
        state = small.fleet.actors["quiet"].state
        assert state.phase is Phase.RUNNING
        assert "quiet: phase starting -> running (nothing to prove)" in told(small, "quiet")

    fleet_story(play)


def test_a_refusal_without_a_token_proves_no_start_because_the_proxy_alone_gives_it() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://p/inner"] = BAD
        asked = small.probe

        async def probe(check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
            result = await asked(check, target, vantage)
            if check.kind == "refusal":
                return ProbeResult(Outcome.SUCCESS)
            await asyncio.sleep(5.0 if result is BAD else 0.0)
            return result

        small.probe = probe
        guarded = replace(
            route("inner"), checks=(*route("inner").checks, CheckSpec("refusal", kind="refusal", vantages=("route",)))
        )
        await small.fleet.begin(plan(INNER, PROXY, routes=(guarded,)))
        await asyncio.sleep(12.0)
        assert "refusal" in {check.kind for check in small.checks}
        assert small.phases()["inner"] is Phase.STARTING
        small.answers.clear()
        await asyncio.sleep(12.0)
        assert small.phases()["inner"] is Phase.RUNNING
        assert "inner: phase starting -> running (mcp route: ok)" in told(small, "inner")

    fleet_story(play)


def test_what_nobody_starts_needs_no_proof_and_is_looked_at_at_once() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/ext"] = BAD
        await small.fleet.begin(plan(member("ext", runtime="external")))
        await asyncio.sleep(0.1)
        assert small.phases() == {"ext": Phase.RUNNING}
        assert small.probed == [("http://h/ext", "direct")]
        await asyncio.sleep(20.0)
        assert small.fleet.actors["ext"].state.verdict is Verdict.UNHEALTHY
        assert small.fleet.actors["ext"].reason == "mcp direct: refused"
        small.answers.clear()
        await asyncio.sleep(40.0)
        assert small.fleet.actors["ext"].reason == "mcp direct: ok"

    fleet_story(play)


def test_a_start_is_proved_by_what_speaks_to_the_member_itself_and_by_a_canary_only_where_there_is_nothing_else() -> None:
    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(
            plan(replace(A, checks=(CANARY, CHECK)), member("only", checks=(CANARY,)), PROXY, routes=(route("a"),))
        )
        await asyncio.sleep(0.005)
        assert sorted(zip([url for url, _ in small.probed], [check.name for check in small.checks], strict=True)) == [
            ("http://h/a", "mcp"),
            ("http://h/only", "canary"),
            ("http://h/proxy", "mcp"),
        ]
        await asyncio.sleep(3.0)
        assert {(url, check.name) for (url, _), check in zip(small.probed, small.checks, strict=True)} == {
            ("http://h/a", "mcp"),
            ("http://h/a", "canary"),
            ("http://p/a", "mcp"),
            ("http://h/only", "canary"),
            ("http://h/proxy", "mcp"),
        }, "what is not known yet is looked at once it runs"

    fleet_story(play)


def test_what_is_hosted_is_proved_through_the_proxy_and_what_is_not_has_no_proof_there() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://p/inner"] = small.answers["http://p/routed"] = BAD
        routed = member("routed", direct=None, checks=(), route="routed")
        await begun(small, INNER, routed)
        assert small.phases() == {"inner": Phase.STARTING, "routed": Phase.RUNNING, "proxy": Phase.RUNNING}
        small.answers.clear()
        await asyncio.sleep(3.0)
        assert small.phases()["inner"] is Phase.RUNNING
        assert small.fleet.actors["inner"].state.verdict is Verdict.HEALTHY

    fleet_story(play)


def test_what_failed_before_it_was_ready_says_nothing_of_it_when_it_is() -> None:
    async def play(small: SmallFleet) -> None:
        small.answers["http://h/a"] = BAD
        await begun(small, A)
        assert small.phases()["a"] is Phase.STARTING
        small.answers.clear()
        await asyncio.sleep(2.0)
        assert small.phases()["a"] is Phase.RUNNING
        assert not small.fleet.monitor.probing.histories.failing
        view = small.fleet.view().route("a")
        assert view is not None
        assert view.verdict is Verdict.HEALTHY

    fleet_story(play)


@pytest.mark.parametrize(
    ("symptom", "listens", "sick"),
    [
        (Symptom.AUTH, False, True),
        (Symptom.REFUSED, True, True),
        (Symptom.REFUSED, False, False),
        (Symptom.TIMEOUT, True, False),
        (Symptom.HTTP_STATUS, False, True),
        (Symptom.BAD_REPLY, False, True),
        (Symptom.SESSION_LOST, False, True),
        (Symptom.NO_REPLY, False, True),
        (Symptom.NO_ENDPOINT, False, True),
        (Symptom.UPSTREAM_DOWN, False, False),
        (Symptom.UNRESOLVED, False, True),
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
def test_a_start_that_runs_and_says_what_is_wrong_is_not_started_again(
    symptom: Symptom, listens: bool, sick: bool, greeted: bool
) -> None:
    async def play(small: SmallFleet) -> None:
        small.listening = (9000,) if listens else ()
        small.answers["http://h/a"] = ProbeResult(Outcome.FAILURE, symptom, Stage.TOOLS_LIST if greeted else Stage.INITIALIZE)
        await small.fleet.begin(plan(A, PROXY, routes=(route("a"),)))
        await asyncio.sleep(3.0)
        assert small.fleet.monitor.starts.sick(small.fleet.actors["a"]) is (sick or greeted)
        assert not small.fleet.monitor.starts.sick(small.fleet.actors["proxy"]), "it answers well"
        assert small.fleet.monitor.starts.said(small.fleet.actors["proxy"]) == ""
        silent = symptom in (Symptom.REFUSED, Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.NO_ENDPOINT) and not greeted
        assert small.fleet.monitor.starts.said(small.fleet.actors["a"]).startswith("" if silent else symptom.value)
        assert bool(small.fleet.monitor.starts.said(small.fleet.actors["a"])) is not silent

    fleet_story(play)


@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.NO_REPLY, Symptom.UPSTREAM_DOWN])
def test_a_start_that_answers_with_ids_of_nobody_is_told_so_and_is_not_started_again(symptom: Symptom) -> None:
    async def play(small: SmallFleet) -> None:
        inside = replace(A, runtime="hosted", direct=None, checks=(), route="a", start_grace=20.0)
        small.answers["http://p/a"] = ProbeResult(Outcome.FAILURE, symptom, Stage.OPEN)
        await small.fleet.begin(plan(inside, PROXY, routes=(route("a"),)))
        await asyncio.sleep(3.0)
        starts, actor = small.fleet.monitor.starts, small.fleet.actors["a"]
        assert (starts.sick(actor), "ids" in starts.said(actor)) == (symptom is Symptom.NO_REPLY, False)
        small.fleet.monitor.hear(LogHint("a", "unasked", "answers a request that was not sent, by its ids: '7'"))
        assert starts.sick(actor)
        assert starts.said(actor) == "not what it was asked: answers a request that was not sent, by its ids: '7'"
        await asyncio.sleep(60.0)
        assert (actor.state.generation, actor.state.phase) == (1, Phase.RUNNING)

    fleet_story(play)


# What results mean.


def test_a_member_that_is_well_again_has_its_route_looked_at_or_the_proxy_told_so() -> None:
    async def play(small: SmallFleet) -> None:
        for nudges in (False, True):
            await back(small, nudges=nudges)

    async def back(small: SmallFleet, *, nudges: bool) -> None:
        if not small.fleet.actors:
            await begun(small, A, INNER)
        small.fleet.monitor.learn(Traits(nudges=nudges))
        probing = small.fleet.monitor.probing
        (check,) = probing.of("a", "direct")
        small.answers["http://h/a"] = BAD
        await probing.run(check)
        small.answers.clear()
        forget(small)
        await probing.run(check)
        await asyncio.sleep(0.1)
        assert small.nudged == (["a"] if nudges else [])
        assert small.probed == [DIRECT, ROUTE]

    fleet_story(play)


def test_a_route_that_fails_has_its_member_looked_at_once_in_its_trouble() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, replace(A, checks=(replace(CHECK, interval=1000.0), replace(CANARY, interval=1000.0))))
        probing = small.fleet.monitor.probing
        (through,) = probing.of("a", "route")
        small.answers["http://p/a"] = BAD
        await probing.run(through)
        await asyncio.sleep(0.1)
        assert (small.probed, [check.name for check in small.checks]) == ([ROUTE, DIRECT], ["mcp", "mcp"])
        forget(small)
        await probing.run(through)
        await asyncio.sleep(0.1)
        assert small.probed == [ROUTE], "it was looked at since the trouble began"

    fleet_story(play)


def test_one_more_success_in_a_fleet_that_is_well_is_nothing_to_consider() -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A, member("b"))
        considered: list[bool] = []
        small.fleet.mender.soon = lambda: considered.append(True)  # type: ignore[method-assign]
        probing = small.fleet.monitor.probing
        (check,) = probing.of("a", "direct")

        async def seen(answer: ProbeResult | None) -> bool:
            small.answers = {"http://h/a": answer} if answer else {}
            considered.clear()
            await probing.run(check)
            return bool(considered)

        (other,) = probing.of("b", "direct")
        small.answers = {"http://h/b": BAD}
        await probing.run(other)
        assert await seen(None), "somebody else fails, though it is no verdict yet"
        await probing.run(other)
        slow = ProbeResult(Outcome.DEGRADED, Symptom.SLOW)
        assert [await seen(one) for one in (None, slow, slow, BAD, None, None)] == [False, True, False, True, True, False]
        small.fleet.mender.current = (Diagnosis("engine_gone", "a", "the engine is away"),)
        assert await seen(None), "there is a cause that may be over"
        considered.clear()
        small.fleet.monitor.close()
        small.fleet.monitor.soon()
        assert considered == []

    fleet_story(play)


# Members that bear one client only.


def end(small: SmallFleet, **more: object) -> None:
    """The member ends by itself; a moment later it is started anew."""
    actor = small.fleet.actors["a"]
    event = Exited("a", actor.state.generation, code=1, detail="one client only")
    small.fleet.monitor.ended(replace(event, **more), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "probing", "alone"),
    [
        ({}, True, True),
        ({"code": 0}, True, False),
        ({"code": None, "signal": 9}, True, False),
        ({"generation": 77}, True, False),
        ({}, False, False),
    ],
)
def test_what_ends_again_and_again_while_it_is_probed_is_probed_through_the_proxy_only(
    more: dict[str, object], probing: bool, alone: bool
) -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        for _ in range(2):
            probe = small.loop.create_task(small.fleet.monitor.probing.run(check)) if probing else None
            await asyncio.sleep(0.005)
            end(small, **more)
            if probe is not None:
                await probe
        forget(small)
        await small.fleet.monitor.look("a")
        assert small.probed == ([ROUTE] if alone else [DIRECT, ROUTE])
        after = plan(replace(A, fingerprint="f2"), PROXY, routes=(route("a"),))
        await small.fleet.apply(after, PlanDiff(replace=("a",)))
        await asyncio.sleep(3.0)
        forget(small)
        await small.fleet.monitor.look("a")
        assert small.probed == [DIRECT, ROUTE], "what changed is given another chance"

    fleet_story(play)


@pytest.mark.parametrize(("pause", "struck"), [(0.4, True), (0.6, False)])
def test_a_probe_that_was_cut_just_before_counts_as_its_cause(pause: float, struck: bool) -> None:
    async def play(small: SmallFleet) -> None:
        await begun(small, A)
        small.answers["http://h/a"] = ProbeResult(Outcome.FAILURE, Symptom.CUT)
        (check,) = small.fleet.monitor.probing.of("a", "direct")
        for _ in range(2):
            small.fleet.monitor.probing.renew_check(check)
            await small.fleet.monitor.probing.run(check)
            await asyncio.sleep(pause)
            end(small)
        small.answers.clear()
        forget(small)
        await small.fleet.monitor.look("a")
        assert (DIRECT not in small.probed) is struck

    fleet_story(play)


def seen_inside(*found: int) -> tuple[Behind, Callable[[], None]]:
    """What is known of servers inside a proxy, and a look at one of them: the kernel tells these pids one after the other."""
    pids = iter(found)
    behind = Behind(Senses(child=lambda _proxy, _route, _known: next(pids), stopped=lambda asked: asked))

    async def look(_loop: VirtualLoop, _clock: VirtualClock) -> None:
        await behind.look_inside("x", "x", 1)

    return behind, lambda: run(look)


def test_a_server_that_answered_itself_is_there_whatever_became_of_the_process_that_was_seen() -> None:
    behind, look = seen_inside(7, 0, 0)
    look()
    look()
    assert behind.gone == {"x"}
    behind.answered("x")
    look()
    assert behind.gone == set()


def test_of_a_member_that_was_removed_nothing_is_kept_of_what_runs_behind_it() -> None:
    behind, look = seen_inside(7, 0, 0)

    async def at_processes(_loop: VirtualLoop, _clock: VirtualClock) -> None:
        await behind.look_at({"x": 5, "y": 6})

    run(at_processes)
    look()
    look()
    assert (behind.frozen, behind.gone) == ({"x", "y"}, {"x"})
    behind.keep({"y", "z"})
    assert (behind.frozen, behind.gone) == ({"y"}, set())
    look()
    assert behind.gone == set(), "a new member of that name was not seen to live"


def test_what_the_kernel_said_of_a_server_in_another_run_of_the_proxy_says_nothing_of_this_one() -> None:
    late: list[asyncio.Event] = []
    pids = iter([7, 0])

    async def story(_loop: VirtualLoop, clock: VirtualClock) -> None:
        async def run_late(work: Callable[[], dict[Question, object]]) -> dict[Question, object]:
            found = work()
            late.append(asyncio.Event())
            await late[-1].wait()
            return found

        behind = Behind(beside(Senses(child=lambda _proxy, _route, _known: next(pids)), run_late, clock))
        for change in (lambda: None, behind.renew):
            looking = asyncio.get_running_loop().create_task(behind.look_inside("x", "x", 1))
            await asyncio.sleep(2.0)
            change()
            late[-1].set()
            await looking
        assert behind.gone == set()

    run(story)
