"""From actors and histories to one frozen snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import MemberState, Phase, Streaks, Then, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Target
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RestartPolicy, Traits, UpstreamSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories, Sight, fold, renew
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.take_snapshot import Known, observe, observe_call, take_snapshot
from tests.watchdog.scenes import actor

NOW = Instant(100.0)
RUNNING = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=3)
SPEC = MemberSpec("fetch", "bridge", "process", None, direct=Target("http://127.0.0.1:8000/sse"), route="web")
WELL = CheckHistory(
    Verdict.HEALTHY, Streaks(successes=4), ProbeResult(Outcome.SUCCESS), Instant(98.0), Instant(99.0), since=Instant(20.0)
)
BLIND = Senses()
UNKNOWN = Known()


def failed(symptom: Symptom, began: float = 98.0, verdict: Verdict = Verdict.UNHEALTHY) -> CheckHistory:
    result = ProbeResult(Outcome.FAILURE, symptom, message=str(symptom))
    return CheckHistory(verdict, Streaks(failures=3), result, Instant(began), Instant(began + 1.0), since=Instant(90.0))


def seen(**histories: CheckHistory) -> Histories:
    """Histories by `vantage_check`."""
    made = Histories()
    for name, history in histories.items():
        vantage, _, check = name.partition("_")
        subject = "web" if vantage == "route" else "fetch"
        made[CheckKey(subject, check, vantage)] = history  # pyright: ignore[reportArgumentType]
    return made


NOTHING = seen()


def member(
    spec: MemberSpec = SPEC,
    histories: Histories = NOTHING,
    senses: Senses = BLIND,
    known: Known = UNKNOWN,
    state: MemberState = RUNNING,
    **changes: Any,
) -> MemberSnapshot:
    """The only member, as it comes out."""
    actors = {spec.name: actor(spec, state, **changes)}
    return take_snapshot(Plan(members=(spec,)), actors, histories, senses, known, NOW).members[0]


def observed(**histories: CheckHistory) -> Observation:
    found = observe(seen(**histories), "fetch", "direct")
    assert found is not None
    return found


def test_the_worst_check_of_a_vantage_speaks_and_of_those_that_are_well_the_latest() -> None:
    assert observe(seen(route_mcp=WELL), "fetch", "direct") is None
    later = replace(WELL, began_at=Instant(99.0), deep=True)
    assert observed(direct_mcp=WELL, direct_canary=later).deep
    assert observed(direct_mcp=later, direct_canary=WELL).deep
    assert not observed(direct_mcp=WELL, direct_canary=replace(later, began_at=None)).deep, "of a former life"
    both = observed(direct_mcp=failed(Symptom.CUT, 90.0), direct_canary=failed(Symptom.AUTH, 99.0), direct_tools=WELL)
    assert (both.verdict, both.symptom) == (Verdict.UNHEALTHY, Symptom.CUT), "the plainest check says what is wrong"
    new = observed(direct_mcp=CheckHistory(), direct_canary=CheckHistory())
    assert (new.verdict, new.result, new.at) == (Verdict.UNKNOWN, None, None)
    bare = observed(direct_mcp=CheckHistory(Verdict.UNHEALTHY), direct_canary=WELL)
    assert (bare.verdict, bare.result) == (Verdict.UNHEALTHY, None)


def test_an_observation_keeps_when_it_was_made_and_what_it_saw() -> None:
    history = replace(failed(Symptom.CUT), generation=3, proxy_generation=2, deep=True, succeeded=True)
    assert observed(direct_mcp=history) == Observation(
        Verdict.UNHEALTHY,
        history.latest,
        failures=3,
        at=Instant(99.0),
        since=Instant(90.0),
        began_at=Instant(98.0),
        generation=3,
        proxy_generation=2,
        deep=True,
        succeeded=True,
        ails=True,
    )


def test_a_rate_of_failures_is_told_only_while_a_check_flaps() -> None:
    shaky = replace(WELL, recent=(True, False, True, False))
    assert observed(direct_mcp=shaky).rate == 0.0
    assert observed(direct_mcp=WELL, direct_canary=replace(shaky, flapping=True)).rate == 0.5


def test_the_latest_direct_call_is_kept_beside_what_lists_say() -> None:
    deep = replace(WELL, deep=True)
    assert observe_call(seen(direct_mcp=WELL, route_canary=deep), "fetch") is None
    assert observe_call(seen(direct_canary=replace(deep, latest=None)), "fetch") is None
    found = observe_call(seen(direct_mcp=deep, direct_canary=replace(deep, began_at=Instant(99.5), generation=7)), "fetch")
    assert found is not None
    assert found.generation == 7
    older = observe_call(seen(direct_mcp=replace(deep, generation=5), direct_canary=replace(deep, began_at=None)), "fetch")
    assert older is not None
    assert older.generation == 5


def test_a_member_is_told_as_its_actor_is() -> None:
    one = member(
        replace(SPEC, depends_on=("db",), start_grace=7.0),
        seen(direct_mcp=replace(WELL, deep=True), route_mcp=failed(Symptom.CUT)),
        known=Known(alone={"fetch": "bye", "other": "x"}),
        state=replace(RUNNING, failures=2, want=Want.DOWN),
        started_at=Instant(50.0),
        changed_at=Instant(60.0),
        last_exit="code 1",
        oom=True,
        port_holder="pid 7",
        paused=True,
        hindered=("node_not_ready", "the node is not ready"),
    )
    assert (one.name, one.kind, one.runtime, one.want, one.phase) == ("fetch", "bridge", "process", Want.DOWN, Phase.RUNNING)
    assert (one.started_at, one.changed_at, one.route, one.start_grace) == (Instant(50.0), Instant(60.0), "web", 7.0)
    assert (one.last_exit, one.depends_on, one.failures, one.foreign_port) == ("code 1", ("db",), 2, "pid 7")
    assert (one.hindered, one.hindrance, one.alone) == ("node_not_ready", "the node is not ready", "bye")
    assert one.oom
    assert one.paused
    assert not one.planned
    assert one.direct is not None
    assert one.direct_call is not None
    assert one.through is not None
    assert one.through.symptom is Symptom.CUT


def test_only_what_can_be_reached_past_the_proxy_has_a_direct_vantage() -> None:
    histories = seen(direct_mcp=replace(WELL, deep=True), route_mcp=WELL)
    hosted = member(replace(SPEC, runtime="hosted", direct=None), histories)
    assert (hosted.direct, hosted.direct_call, hosted.through is not None) == (None, None, True)
    living = Incarnation("fetch", 3, "", direct=Target("http://10.0.0.2:8000/sse"))
    inside = replace(SPEC, runtime="docker", direct=None)
    contained = member(inside, histories, incarnation=living)
    assert contained.direct is not None
    assert contained.direct_call is not None
    assert member(inside, histories, incarnation=replace(living, direct=None)).direct is None
    assert member(replace(SPEC, route=None), histories).through is None


def test_when_what_others_run_began_is_not_known() -> None:
    one = member(replace(SPEC, runtime="external"), started_at=Instant(50.0), changed_at=Instant(60.0))
    assert (one.started_at, one.changed_at) == (None, None)


@pytest.mark.parametrize(
    ("changes", "port"),
    [({}, 8000), ({"runtime": "docker"}, None), ({"direct": None}, None), ({"direct": Target(command=("x",))}, None)],
)
def test_the_port_is_known_of_a_process_on_this_machine(changes: dict[str, Any], port: int | None) -> None:
    assert member(replace(SPEC, **changes)).port == port


class Machine:
    """Senses that note what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.senses = Senses(stopped=self._stopped, listening=self._listening, runs=self._runs)

    def _stopped(self, pids: frozenset[int]) -> frozenset[int]:
        self.asked += [f"stopped {pid}" for pid in pids]
        return pids

    def _listening(self, pid: int) -> tuple[int, ...]:
        self.asked.append(f"listening {pid}")
        return (9,)

    def _runs(self, pid: int, container: str) -> bool:
        self.asked.append(f"runs {pid} {container}".strip())
        return True


@pytest.mark.parametrize(
    ("histories", "asked", "found"),
    [
        (seen(direct_mcp=WELL, route_mcp=WELL), [], (False, (), False)),
        (seen(), [], (False, (), False)),
        (seen(direct_mcp=failed(Symptom.TIMEOUT, verdict=Verdict.HEALTHY)), ["stopped 7"], (True, (), False)),
        (seen(direct_mcp=CheckHistory(Verdict.UNHEALTHY)), ["stopped 7"], (True, (), False)),
        (seen(direct_mcp=WELL, route_mcp=failed(Symptom.CUT)), ["stopped 7"], (True, (), False)),
        (seen(direct_mcp=failed(Symptom.REFUSED)), ["stopped 7", "listening 7"], (True, (9,), False)),
        (seen(direct_mcp=failed(Symptom.NOT_MOUNTED)), ["stopped 7", "runs 7 c1"], (True, (), True)),
    ],
)
def test_the_machine_is_asked_only_about_members_that_fail_and_only_what_their_failure_asks(
    histories: Histories, asked: list[str], found: tuple[bool, tuple[int, ...], bool]
) -> None:
    machine, living = Machine(), Incarnation("fetch", 3, "", pid=7, container="c1")
    one = member(SPEC, histories, machine.senses, incarnation=living)
    assert machine.asked == asked
    assert (one.stopped_processes, one.listens_on, one.child_runs) == found


def test_what_has_no_process_or_no_port_here_is_not_looked_for_on_the_machine() -> None:
    machine, refused, living = Machine(), seen(direct_mcp=failed(Symptom.REFUSED)), Incarnation("fetch", 3, "", pid=7)
    member(SPEC, refused, machine.senses)
    member(SPEC, refused, machine.senses, incarnation=replace(living, pid=None))
    assert machine.asked == []
    member(replace(SPEC, runtime="docker"), refused, machine.senses, incarnation=living)
    assert machine.asked == ["stopped 7"]
    member(SPEC, seen(direct_mcp=failed(Symptom.NOT_MOUNTED)), machine.senses, incarnation=living)
    assert machine.asked[-1] == "runs 7"


@pytest.mark.parametrize(
    ("intensity", "starts", "again"),
    [
        (2, (), None),
        (2, (95.0,), None),
        (2, (91.0, 95.0), 101.0),
        (2, (95.0, 91.0), 101.0),
        (2, (92.0, 93.0, 94.0, 95.0), 104.0),
        (2, (90.0, 95.0), None),
        (1, (95.0,), 105.0),
        (0, (), 110.0),
        (0, (95.0,), 110.0),
    ],
)
def test_the_restart_budget_is_free_again_when_the_oldest_start_that_fills_it_is_past(
    intensity: int, starts: tuple[float, ...], again: float | None
) -> None:
    spec = replace(SPEC, restart=RestartPolicy(intensity=intensity, period=10.0))
    state = replace(RUNNING, starts=tuple(Instant(start) for start in starts))
    assert member(spec, state=state).budget_at == again


def test_the_fleet_is_told_with_the_traits_of_its_proxy_and_what_its_log_said() -> None:
    def taken(known: Known, plan: Plan) -> FleetSnapshot:
        return take_snapshot(plan, {"fetch": actor(SPEC, RUNNING)}, seen(), Senses(), known, NOW)

    fleet = taken(Known(), Plan())
    assert (fleet.at, fleet.proxy, fleet.engine_gone, fleet.engines_gone, fleet.proxy_log) == (NOW, None, "", (), ())
    log = (ProxyLogHint("web", "failed", "x"),)
    traits = Traits(holds_sessions=True, lists_from_cache=True, mounts_late=False, reconnects=False, nudges=True)
    known = Known(traits, {"docker": "no answer", "swarm": "no manager"}, log)
    fleet = taken(known, Plan(proxy=ProxySpec("tbxark", "front", "", "")))
    assert (fleet.proxy, fleet.engine_gone, fleet.engines_gone, fleet.proxy_log) == ("front", "no answer", ("docker", "swarm"), log)
    assert (fleet.holds_sessions, fleet.lists_from_cache, fleet.nudges) == (True, True, True)
    assert (fleet.mounts_late, fleet.reconnects) == (False, False)


@pytest.mark.parametrize(
    ("upstream", "by_path", "url", "wire"),
    [
        (UpstreamSpec("web", "auto", url="http://10.0.0.9:8000/sse"), True, "http://10.0.0.9:8000/sse", "sse"),
        (UpstreamSpec("web", "auto", url="http://127.0.0.1:8000/x?/sse"), True, "", "http"),
        (UpstreamSpec("web", "sse", url="http://127.0.0.1:8000/x"), True, "", "sse"),
        (UpstreamSpec("web", "auto", url="http://127.0.0.1:8000/sse"), False, "", ""),
        (UpstreamSpec("web", "stdio", "python"), True, "", ""),
        (UpstreamSpec("fetch", "auto", url="http://10.0.0.9:8000/sse"), True, "", ""),
    ],
)
def test_how_the_proxy_asks_a_member_is_found_by_its_route(upstream: UpstreamSpec, by_path: bool, url: str, wire: str) -> None:
    plan = Plan(members=(SPEC,), proxy=ProxySpec("tbxark", "front", "", "", upstreams=(upstream,)))
    known = Known(Traits(wire_by_path=by_path))
    made = take_snapshot(plan, {"fetch": actor(SPEC, RUNNING)}, seen(), Senses(), known, NOW).members[0]
    assert (made.proxy_url, made.proxy_wire) == (url, wire)


@pytest.mark.parametrize(
    ("path", "runtime", "serves"),
    [("/time/sse", "process", ("clock",)), ("/clock/sse", "process", ()), ("/time/sse", "external", ())],
)
def test_what_a_bridge_serves_is_told_when_it_is_not_what_it_is_asked_for(path: str, runtime: str, serves: tuple[str, ...]) -> None:
    lines = ("2026/11/30 02:24:31 <clock> Connected", "2026/11/30 02:24:31 All clients initialized")
    spec = replace(SPEC, runtime=runtime, direct=Target(f"http://127.0.0.1:8000{path}"))
    one = member(spec, seen(direct_mcp=failed(Symptom.NOT_MOUNTED)), Senses(words=lambda _: lines))
    assert (one.serves, one.words) == (serves, lines[-1])


def test_only_a_container_that_nobody_reaches_is_looked_into() -> None:
    asked: list[tuple[int, str]] = []

    def inside(pid: int, container: str) -> tuple[str, ...]:
        asked.append((pid, container))
        return ("127.0.0.1:8000",)

    senses, living = Senses(inside=inside), Incarnation("fetch", 3, "", pid=7, container="c1")
    refused = seen(direct_mcp=failed(Symptom.REFUSED))
    assert member(SPEC, refused, senses, incarnation=living).walled == ("127.0.0.1:8000",)
    assert member(SPEC, refused, senses, incarnation=replace(living, container=None)).walled == ()
    assert member(SPEC, seen(direct_mcp=failed(Symptom.TIMEOUT)), senses, incarnation=living).walled == ()
    assert asked == [(7, "c1")]


def test_the_process_of_a_server_that_the_proxy_does_not_serve_yet_is_looked_for_below_the_proxy() -> None:
    inside = MemberSpec("fetch", "server", "external", None, route="web")
    proxy = MemberSpec("front", "proxy", "process", None)
    asked: list[tuple[int, str, int]] = []

    def child(proxy: int, route: str, known: int) -> int:
        asked.append((proxy, route, known))
        return 77

    senses = Senses(child=child)
    plan = Plan(members=(inside, proxy))
    actors = {"fetch": actor(inside, RUNNING), "front": actor(proxy, RUNNING, incarnation=Incarnation("front", 3, "f", pid=7))}

    def told(history: CheckHistory) -> bool:
        return take_snapshot(plan, actors, seen(route_mcp=history), senses, UNKNOWN, NOW).members[0].child_runs

    assert told(failed(Symptom.NOT_MOUNTED))
    assert asked == [(7, "web", 0)]
    assert not told(failed(Symptom.TIMEOUT))
    assert not told(replace(failed(Symptom.NOT_MOUNTED), succeeded=True)), "it was served in this run: it does not start"


def test_what_one_check_was_told_explains_the_silence_of_another_of_the_same_vantage() -> None:
    told = ProbeResult(Outcome.FAILURE, Symptom.TOOL_ERROR, message="connect ECONNREFUSED 10.0.0.1:5432")
    silent = failed(Symptom.TIMEOUT)
    canary = replace(failed(Symptom.TIMEOUT), told=told, told_at=Instant(97.0))
    older = replace(canary, told_at=Instant(90.0))
    assert observed(direct_mcp=silent).told_at is None
    assert (observed(direct_mcp=silent, direct_canary=canary).told, observed(direct_mcp=silent, direct_canary=canary).told_at) == (
        told,
        97.0,
    )
    assert observed(direct_mcp=canary, direct_canary=older).told_at == 97.0


def test_a_refusal_of_a_stranger_proves_no_repair() -> None:
    checks = {name: CheckSpec(name, name) for name in ("mcp", "refusal")}  # pyright: ignore[reportArgumentType]
    sight = Sight(Instant(99.0), Instant(99.5), WallTime(99.5))
    refused = fold(CheckHistory(), ProbeResult(Outcome.SUCCESS), checks["refusal"], sight)
    assert not refused.proves
    before = renew(fold(CheckHistory(), ProbeResult(Outcome.FAILURE, Symptom.CUT), checks["mcp"], sight), 2)
    seen_ = observed(direct_mcp=before, direct_refusal=refused)
    assert (seen_.verdict, seen_.symptom, seen_.began_at) == (Verdict.UNKNOWN, Symptom.CUT, None)
    assert not renew(refused, 2).proves
    well_ = fold(before, ProbeResult(Outcome.SUCCESS), checks["mcp"], replace(sight, began_at=Instant(90.0)))
    seen_ = observed(direct_mcp=well_, direct_refusal=refused)
    assert (seen_.verdict, seen_.began_at) == (Verdict.HEALTHY, Instant(90.0)), "the refusal is the later of the two"
    alone = observed(direct_refusal=refused)
    assert (alone.verdict, alone.began_at) == (Verdict.HEALTHY, Instant(99.0))
    let_in = fold(
        CheckHistory(), ProbeResult(Outcome.FAILURE, Symptom.UNGUARDED), CheckSpec("refusal", "refusal", failure_threshold=1), sight
    )
    assert observed(direct_mcp=well_, direct_refusal=let_in).symptom is Symptom.UNGUARDED


def test_one_check_that_fails_is_seen_before_any_threshold_is_passed_also_when_that_was_in_a_former_life() -> None:
    shaky = failed(Symptom.CUT, verdict=Verdict.UNKNOWN)
    assert observed(direct_mcp=WELL, direct_canary=shaky).ails
    assert observed(direct_mcp=WELL, direct_canary=renew(shaky, 4)).ails
    assert not observed(direct_mcp=WELL, direct_canary=CheckHistory()).ails


@pytest.mark.parametrize("then", ["again", "park", "rest", "start"])
def test_one_that_is_being_ended_because_its_start_failed_stays_down_and_says_why(then: Then) -> None:
    """Its cause was gone for as long as its end took, at each try anew."""
    one = member(state=replace(RUNNING, phase=Phase.STOPPING, then=then), reason="not ready within 4s", last_exit="")
    assert (one.down, one.last_exit) == ((True, "not ready within 4s") if then in ("again", "park") else (False, ""))
