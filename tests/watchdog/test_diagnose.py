"""One cause per trouble, from all vantages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom, Tool
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import LookAgain
from mcpwatch.watchdog.repair import decide_repairs
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.starts import COLD_START

OK = Observation(
    Verdict.HEALTHY, ProbeResult(Outcome.SUCCESS), at=Instant(99.5), since=Instant(20.0), began_at=Instant(99.0), succeeded=True
)


def bad(symptom: Symptom, stage: Stage = Stage.TOOLS_LIST) -> Observation:
    return Observation(
        Verdict.UNHEALTHY,
        ProbeResult(Outcome.FAILURE, symptom, stage, "said so"),
        failures=3,
        at=Instant(99.5),
        since=Instant(95.0),
        began_at=Instant(99.0),
    )


PROXY = MemberSnapshot("proxy", "proxy", "process", Want.UP, Phase.RUNNING, Instant(50.0), direct=OK)
FETCH = MemberSnapshot("fetch", "bridge", "process", Want.UP, Phase.RUNNING, Instant(10.0), direct=OK, route="fetch", through=OK)
TIME = replace(FETCH, name="time", route="time")
HOSTED = replace(FETCH, name="git", runtime="hosted", direct=None, route="git")


def causes(*actors: MemberSnapshot, holds_sessions: bool = False, engine_gone: str = "") -> list[tuple[str, str, str | None]]:
    scene = FleetSnapshot(Instant(100.0), actors, "proxy", holds_sessions=holds_sessions, engine_gone=engine_gone)
    return [(found.cause, found.subject, found.rung) for found in diagnose(scene).found]


def test_a_healthy_fleet_has_no_cause() -> None:
    assert causes(FETCH, TIME, HOSTED, PROXY) == []


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (replace(FETCH, phase=Phase.BACKOFF, last_exit="killed by SIGKILL"), ("member_down", "fetch", None)),
        (replace(FETCH, phase=Phase.STARTING, failures=2), ("member_down", "fetch", None)),
        (replace(FETCH, phase=Phase.FAILED, oom=True), ("member_oom", "fetch", None)),
        (replace(FETCH, phase=Phase.FAILED, foreign_port="pid 7 (nginx)"), ("port_taken", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT)), ("member_hung", "fetch", "restart")),
        (replace(FETCH, direct=bad(Symptom.AUTH)), ("auth", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.SCHEMA)), ("config", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.EMPTY_TOOLS)), ("empty_tools", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.TOOL_ERROR)), ("dependency", "fetch", None)),
        (replace(FETCH, through=bad(Symptom.SESSION_LOST)), ("stale_session", "proxy", "restart_proxy")),
        (replace(FETCH, through=bad(Symptom.NOT_MOUNTED)), ("not_mounted", "proxy", "restart_proxy")),
        (replace(FETCH, through=bad(Symptom.BAD_ENDPOINT)), ("wrong_base_url", "proxy", None)),
        (replace(FETCH, through=bad(Symptom.AUTH)), ("auth", "proxy", None)),
        (replace(HOSTED, through=bad(Symptom.TIMEOUT)), ("member_hung", "git", "restart")),
        (replace(FETCH, runtime="external", direct=bad(Symptom.REFUSED)), ("member_hung", "fetch", None)),
    ],
)
def test_each_trouble_of_one_member_has_its_name_and_its_rung(actor: MemberSnapshot, expected: tuple[str, str, str | None]) -> None:
    assert causes(actor, TIME, PROXY) == [expected]


def test_a_proxy_that_is_down_speaks_for_its_routes_but_not_for_a_member_that_is_down_itself() -> None:
    down = replace(PROXY, phase=Phase.BACKOFF, last_exit="killed by SIGKILL")
    lost = replace(HOSTED, phase=Phase.BACKOFF)
    assert causes(FETCH, lost, down) == [("proxy_down", "proxy", None)]
    assert causes(replace(FETCH, phase=Phase.FAILED), down) == [("proxy_down", "proxy", None), ("member_down", "fetch", None)]


def test_a_proxy_that_is_being_ended_by_a_repair_speaks_for_what_it_hosts() -> None:
    ending = replace(PROXY, phase=Phase.STOPPING)
    cut = replace(HOSTED, through=bad(Symptom.CUT, Stage.OPEN))
    assert causes(FETCH, cut, replace(HOSTED, name="other", phase=Phase.BACKOFF), ending) == [("proxy_down", "proxy", None)]


def test_routes_and_members_that_a_cause_affects_are_named_apart() -> None:
    inside, elsewhere = replace(HOSTED, route="code"), replace(FETCH, runtime="docker", route="web")
    (down,) = diagnose(FleetSnapshot(Instant(1.0), (inside, elsewhere, replace(PROXY, phase=Phase.FAILED)), "proxy")).found
    assert (down.subject, down.affects, down.members) == ("proxy", ("code", "web"), ("git",))
    away = diagnose(FleetSnapshot(Instant(1.0), (inside, elsewhere, PROXY), "proxy", engine_gone="no answer"))
    (gone,) = decide_repairs(away, (), Instant(1.0)).shown
    assert (gone.subject, gone.affects, gone.members) == ("engine", ("web",), ("fetch",))
    assert gone.explains(member="fetch")
    assert gone.explains(route="web")
    assert not gone.explains(member="web")
    assert not gone.explains(route="fetch")


def test_when_every_route_is_silent_and_the_members_are_well_the_proxy_is_hung() -> None:
    silent = bad(Symptom.TIMEOUT)
    assert causes(replace(FETCH, through=silent), replace(TIME, through=silent), PROXY) == [("proxy_hung", "proxy", "restart")]


def test_a_route_that_fails_at_the_proxys_own_door_is_the_proxys_fault_unless_somebody_got_through_since() -> None:
    shut = replace(bad(Symptom.TIMEOUT, Stage.OPEN), since=Instant(90.0), at=Instant(95.0))
    inside = replace(shut, result=bad(Symptom.TIMEOUT, Stage.SAFE_CALL).result)
    before, after = replace(OK, at=Instant(80.0)), replace(OK, at=Instant(93.0))
    hung = [("proxy_hung", "restart", "")]
    assert named(replace(FETCH, through=shut), replace(TIME, through=before), TBXARK) == hung
    assert named(replace(FETCH, through=shut, direct=replace(OK, at=Instant(96.0))), replace(TIME, through=after), TBXARK) != hung
    assert named(replace(FETCH, through=inside), replace(TIME, through=before), TBXARK) != hung


def test_several_routes_that_fall_silent_together_are_the_proxys_fault_unless_it_answered_somebody_since() -> None:
    def fallen(since: float) -> Observation:
        return replace(bad(Symptom.TIMEOUT, Stage.SAFE_CALL), since=Instant(since), at=Instant(95.0))

    idle = replace(HOSTED, runtime="external", through=replace(OK, at=Instant(80.0)))
    two = (replace(FETCH, through=fallen(90.0)), replace(TIME, through=fallen(91.0)))
    hung = [("proxy_hung", "restart", "")]
    assert named(*two, idle, TBXARK) == hung
    assert named(*two, replace(idle, through=replace(OK, at=Instant(92.0))), TBXARK) != hung, "another route was answered since"
    spoke = Observation(Verdict.HEALTHY, ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.OPEN, 0.1),)), at=Instant(92.0))
    assert named(*two, idle, replace(TBXARK, direct=spoke)) != hung, "the proxy itself answered since"
    accepted = replace(spoke, result=ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.CONNECT, 0.1),)))
    assert named(*two, idle, replace(TBXARK, direct=accepted)) == hung, "a connection alone is the kernel's doing"
    younger = tuple(replace(actor, started_at=Instant(60.0)) for actor in two)
    assert named(*younger, idle, TBXARK) != hung, "they started after the proxy, which may hold their old sessions"
    assert named(replace(two[0], stopped_processes=True), two[1], idle, TBXARK) != hung, "one of them is stopped itself"


def test_whose_processes_are_stopped_is_blamed_itself_and_not_the_proxy_it_is_seen_through() -> None:
    silent = bad(Symptom.TIMEOUT)
    stopped = replace(FETCH, through=silent, stopped_processes=True)
    assert causes(stopped, TIME, PROXY) == [("member_hung", "fetch", "resume")]
    hosted = replace(HOSTED, through=silent, stopped_processes=True)
    both = (hosted, replace(hosted, name="other", route="other"))
    assert causes(*both, PROXY) == [("member_hung", "git", "resume"), ("member_hung", "other", "resume")]


def test_a_planned_restart_is_named_and_wakes_nobody() -> None:
    going = replace(FETCH, phase=Phase.STOPPING, planned=True)
    assert causes(going, TIME, PROXY) == [("planned_restart", "fetch", None)]
    coming = replace(PROXY, phase=Phase.STARTING, planned=True, failures=2)
    assert causes(FETCH, replace(HOSTED, phase=Phase.BACKOFF), coming) == [("planned_restart", "proxy", None)]


def test_a_hung_server_inside_a_foreign_proxy_is_told_from_a_stale_session() -> None:
    inside = replace(FETCH, runtime="external", direct=None, through=bad(Symptom.TIMEOUT, Stage.SAFE_CALL))
    assert named(inside, replace(TIME, through=PROVED), TBXARK) == [("member_hung", "restart_proxy", "")]


def test_a_member_whose_dependency_is_down_is_not_restarted_for_it() -> None:
    database = replace(TIME, name="db", phase=Phase.FAILED)
    waiting = replace(FETCH, depends_on=("db",), direct=bad(Symptom.TIMEOUT))
    assert causes(waiting, database, PROXY) == [("dependency", "fetch", None), ("member_down", "db", None)]


def test_an_engine_that_is_away_speaks_for_its_containers() -> None:
    carried = replace(FETCH, runtime="docker", direct=bad(Symptom.REFUSED))
    assert causes(carried, PROXY, engine_gone="no answer") == [("engine_gone", "engine", None)]


def test_the_engine_of_one_runtime_speaks_for_no_other() -> None:
    inside, other = replace(FETCH, runtime="kubernetes"), replace(TIME, runtime="docker", phase=Phase.FAILED, last_exit="x")
    scene = FleetSnapshot(Instant(100.0), (inside, other, PROXY), "proxy", engine_gone="no answer", engines_gone=("kubernetes",))
    assert [(found.cause, found.members) for found in diagnose(scene).found] == [("engine_gone", ("fetch",)), ("member_down", ())]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.BACKOFF, Phase.FAILED])
def test_what_an_engine_says_of_a_member_that_does_not_run_is_the_cause_and_no_restart_answers_it(phase: Phase) -> None:
    held = replace(FETCH, runtime="kubernetes", phase=phase, hindered="unschedulable", hindrance="no node takes its pod: 0/3 fit")
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (held, PROXY), "proxy")).found
    assert (found.cause, found.text, found.rung) == ("unschedulable", "no node takes its pod: 0/3 fit", None)


def test_what_an_engine_says_of_a_member_that_answers_is_no_trouble() -> None:
    held = replace(FETCH, runtime="kubernetes", hindered="node_not_ready", hindrance="the node is not ready")
    assert causes(held, PROXY) == []
    silent = replace(held, direct=bad(Symptom.TIMEOUT))
    assert causes(silent, PROXY) == [("node_not_ready", "fetch", None)]


def test_an_unwanted_member_is_no_trouble() -> None:
    assert causes(replace(FETCH, want=Want.DOWN, phase=Phase.STOPPED, through=bad(Symptom.UPSTREAM_DOWN)), PROXY) == []


def test_the_evidence_tells_what_each_vantage_said() -> None:
    scene = FleetSnapshot(
        Instant(1.0), (replace(FETCH, through=bad(Symptom.SESSION_LOST), started_at=Instant(60.0)), PROXY), "proxy"
    )
    (found,) = diagnose(scene).found
    assert "direct: ok" in found.evidence
    assert "through the proxy: session_lost (3 in a row): said so" in found.evidence
    assert "the member started after the proxy" in found.evidence
    assert found.affects == ("fetch",)


TBXARK = replace(PROXY, started_at=Instant(50.0))
LISTED = OK
PROVED = replace(OK, deep=True, result=ProbeResult(Outcome.SUCCESS, timings=(StageTiming(Stage.SAFE_CALL, 0.1),)))
REBORN = replace(FETCH, started_at=Instant(90.0))


def scene(*actors: MemberSnapshot, **changes: object) -> FleetSnapshot:
    tbxark = FleetSnapshot(
        Instant(100.0), actors, "proxy", holds_sessions=True, mounts_late=False, lists_from_cache=True, reconnects=False
    )
    return replace(tbxark, **changes)  # pyright: ignore[reportArgumentType]


def named(*actors: MemberSnapshot, **changes: object) -> list[tuple[str, str | None, str]]:
    return [(found.cause, found.rung, found.hold) for found in diagnose(scene(*actors, **changes)).found]


@pytest.mark.parametrize(
    ("actors", "changes", "expected"),
    [
        ((REBORN,), {}, [("stale_session", "restart_proxy", "")]),
        ((replace(REBORN, through=PROVED),), {}, []),
        ((replace(REBORN, through=PROVED),), {"lists_from_cache": False}, []),
        ((replace(REBORN, direct=None),), {}, []),
        ((REBORN,), {"reconnects": True}, []),
        ((FETCH,), {}, []),
        ((replace(REBORN, through=Observation()),), {}, []),
    ],
)
def test_a_route_that_answers_from_memory_is_told_by_its_start_times_unless_the_member_itself_answered(
    actors: tuple[MemberSnapshot, ...], changes: dict[str, object], expected: object
) -> None:
    assert named(*actors, TBXARK, **changes) == expected


def test_a_proxy_that_reconnects_is_given_time_to_do_so_before_it_is_restarted() -> None:
    lost = replace(REBORN, through=bad(Symptom.SESSION_LOST))
    ((cause, rung, hold),) = named(lost, TBXARK, reconnects=True)
    assert (cause, rung) == ("stale_session", "restart_proxy")
    assert "reconnects by itself; it is given 35s more" in hold
    assert named(lost, TBXARK, reconnects=True, at=Instant(140.0)) == [("stale_session", "restart_proxy", "")]


def test_one_restart_of_the_proxy_serves_all_routes_and_waits_for_members_that_are_coming_up() -> None:
    lost = replace(REBORN, through=bad(Symptom.UPSTREAM_DOWN))
    other = replace(lost, name="time", route="time")
    shown = decide_repairs(diagnose(scene(lost, other, TBXARK)), (), Instant(100.0)).shown
    assert [(one.cause, one.affects) for one in shown] == [("stale_session", ("fetch", "time"))]
    coming = replace(TIME, phase=Phase.STARTING, started_at=Instant(95.0))
    assert named(lost, coming, TBXARK) == [("stale_session", "restart_proxy", "waiting for time, so that one restart serves all")]
    stuck = replace(coming, started_at=Instant(10.0))
    assert named(lost, stuck, TBXARK) == [("stale_session", "restart_proxy", "")]


def test_a_proxy_that_just_started_is_still_mounting_until_its_log_or_time_says_otherwise() -> None:
    young, lost = replace(PROXY, started_at=Instant(95.0)), replace(FETCH, through=bad(Symptom.NOT_MOUNTED))
    assert named(lost, young) == [("starting", None, "waiting for its start")]
    said = ProxyLogHint("fetch", "failed", "<fetch> Failed to add client to server: connection refused")
    (found,) = diagnose(scene(lost, young, proxy_log=(said,))).found
    assert (found.cause, found.rung) == ("not_mounted", "restart_proxy")
    assert f"proxy log: {said.text}" in found.evidence
    late = replace(lost, start_grace=30.0)
    assert named(late, replace(young, started_at=Instant(60.0))) == [("not_mounted", "restart_proxy", "")]


def test_the_proxy_is_not_blamed_before_the_member_was_looked_at_again() -> None:
    failed = replace(bad(Symptom.UPSTREAM_DOWN), at=Instant(99.0), since=Instant(98.0))
    before = replace(OK, began_at=Instant(97.0))
    unsure = diagnose(scene(replace(FETCH, through=failed, direct=before), TBXARK))
    assert (unsure.found, unsure.look_again) == ((), (LookAgain("fetch"),))
    after = replace(before, began_at=Instant(98.5))
    assert named(replace(FETCH, through=failed, direct=after), TBXARK) == [("stale_session", "restart_proxy", "")]


def test_a_dead_child_inside_a_foreign_proxy_is_brought_back_by_the_proxy() -> None:
    inside = replace(FETCH, runtime="external", direct=None, through=bad(Symptom.UPSTREAM_DOWN))
    assert named(inside, TBXARK) == [("child_died", "restart_proxy", "")]


def test_a_proxy_that_others_run_is_diagnosed_but_not_touched() -> None:
    lost = replace(REBORN, through=bad(Symptom.SESSION_LOST))
    assert named(lost, replace(TBXARK, runtime="external")) == [("stale_session", None, "")]


def test_everybody_silent_at_once_is_the_machines_trouble_and_nobody_is_restarted() -> None:
    silent = [replace(FETCH, name=name, route=name, direct=bad(Symptom.TIMEOUT)) for name in ("a", "b", "c")]
    assert causes(*silent, PROXY)[0] == ("host_trouble", "host", None)
    assert all(rung is None for _, subject, rung in causes(*silent, PROXY) if subject != "proxy")
    assert causes(*silent[:2], FETCH, PROXY) == [("member_hung", "a", "restart"), ("member_hung", "b", "restart")]


def test_a_fleet_of_members_that_hang_themselves_is_not_the_proxys_fault() -> None:
    hung = [replace(FETCH, name=name, route=name, direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT)) for name in ("a", "b")]
    assert causes(*hung, PROXY) == [("member_hung", "a", "restart"), ("member_hung", "b", "restart")]
    assert causes(replace(hung[0], direct=OK), hung[1], PROXY)[0][0] == "proxy_hung", "one is well, and nobody gets through"


def test_a_list_that_never_comes_is_the_proxys_own_silence_only_where_it_lists_from_a_cache() -> None:
    quiet = replace(bad(Symptom.TIMEOUT, Stage.TOOLS_LIST), since=Instant(90.0), at=Instant(95.0))
    silent, other = replace(FETCH, through=quiet), replace(TIME, through=replace(OK, at=Instant(80.0)))
    assert named(silent, other, TBXARK) == [("proxy_hung", "restart", "")]
    assert named(silent, other, TBXARK, lists_from_cache=False)[0][0] != "proxy_hung"


def test_another_server_on_the_members_port_is_named_with_its_pid() -> None:
    held = replace(FETCH, phase=Phase.BACKOFF, failures=1, foreign_port="pid 7 (nginx)")
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (held, TIME, PROXY), "proxy")).found
    assert (found.cause, found.rung, found.text) == ("port_taken", None, "its port is held by pid 7 (nginx)")


def test_a_port_that_is_taken_is_read_from_the_members_last_words() -> None:
    words = "exited with code 1: [Errno 98] error while attempting to bind: address already in use"
    assert causes(replace(FETCH, phase=Phase.BACKOFF, last_exit=words), PROXY) == [("port_taken", "fetch", None)]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("license expired", "licence"),
        ("Too many sessions, retry later", "overloaded"),
        ("Unauthorized: token expired", "auth"),
        ("connect ECONNREFUSED 127.0.0.1:5432", "dependency"),
        ("something else", "member_failing"),
    ],
)
def test_what_a_server_says_of_itself_is_its_cause_and_no_restart_answers_it(message: str, cause: str) -> None:
    said = replace(bad(Symptom.RPC_ERROR), result=ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.INITIALIZE, message))
    rung = "restart" if cause == "member_failing" else None
    assert causes(replace(FETCH, direct=said), TIME, PROXY) == [(cause, "fetch", rung)]


def test_what_answers_while_it_starts_again_is_not_down() -> None:
    again = replace(FETCH, phase=Phase.STARTING, failures=2)
    assert causes(replace(again, direct=bad(Symptom.OVERLOADED)), PROXY) == [("overloaded", "fetch", None)]
    elsewhere = replace(again, direct=bad(Symptom.REFUSED), port=9072, listens_on=(9123,))
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (elsewhere, PROXY), "proxy")).found
    assert (found.cause, found.text) == ("wrong_port", "it listens on port 9123, not on 9072, where it should answer")
    assert causes(replace(again, direct=bad(Symptom.REFUSED)), PROXY) == [("member_down", "fetch", None)]


def test_another_server_in_its_place_is_named_and_left_alone() -> None:
    assert causes(replace(FETCH, direct=bad(Symptom.WRONG_SERVER)), PROXY) == [("wrong_server", "fetch", None)]


def test_a_server_that_lists_less_than_before_on_both_sides_changed_itself() -> None:
    def listing(seen: Observation, *names: str) -> Observation:
        assert seen.result is not None
        return replace(seen, result=replace(seen.result, tools=tuple(Tool(name, name) for name in names)))

    fewer = listing(bad(Symptom.MISSING_TOOLS), "a")
    assert causes(replace(FETCH, direct=listing(OK, "a"), through=fewer), PROXY) == [("drift", "fetch", None)]
    assert causes(replace(FETCH, direct=listing(OK, "a", "b"), through=fewer), PROXY) == [("empty_tools", "proxy", "restart_proxy")]
    assert causes(replace(FETCH, direct=bad(Symptom.DRIFT)), PROXY) == [("drift", "fetch", None)]


def test_a_proxy_whose_log_says_it_has_no_file_descriptor_left_is_named_by_that_line_while_it_is_new() -> None:
    hint = ProxyLogHint("", "exhausted", "accept tcp: accept4: too many open files", Instant(90.0))
    cut = replace(FETCH, through=bad(Symptom.CUT, Stage.OPEN))
    (found,) = diagnose(scene(cut, TIME, TBXARK, proxy_log=(hint,))).found
    assert (found.cause, found.subject, found.rung) == ("proxy_exhausted", "proxy", "restart")
    assert "proxy log: accept tcp: accept4: too many open files" in found.evidence
    assert diagnose(scene(FETCH, TIME, TBXARK, proxy_log=(hint,))).found == ()
    assert named(cut, TIME, TBXARK, proxy_log=(replace(hint, at=Instant(1.0)),))[0][0] != "proxy_exhausted"


def test_a_hosted_server_that_writes_to_its_stdout_is_named_with_the_gateways_own_line() -> None:
    hint = ProxyLogHint("git", "polluted", "stdout holds a line that is no JSON-RPC message: 'hello'", Instant(90.0))
    silent = replace(HOSTED, through=bad(Symptom.TIMEOUT))
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (silent, FETCH, PROXY), "proxy", proxy_log=(hint,))).found
    assert (found.cause, found.rung) == ("polluted", None)
    assert any("'hello'" in line for line in found.evidence)


def test_a_paused_member_is_let_run_and_a_hosted_server_is_not_blamed_at_the_gateways_own_door() -> None:
    assert causes(replace(FETCH, paused=True, direct=bad(Symptom.TIMEOUT)), TIME, PROXY) == [("paused", "fetch", "resume")]
    door = replace(HOSTED, through=bad(Symptom.TIMEOUT, Stage.OPEN))
    unsure = diagnose(
        FleetSnapshot(Instant(100.0), (door, FETCH, replace(TIME, through=replace(OK, at=Instant(99.9))), PROXY), "proxy")
    )
    assert (unsure.found, unsure.look_again) == ((), (LookAgain("git"),))


def test_lists_prove_nothing_against_a_route_whose_calls_fail() -> None:
    lost = replace(FETCH, through=bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL))
    assert diagnose(scene(lost, TBXARK)).look_again == (LookAgain("fetch", deep=True),)
    called = replace(lost, direct_call=PROVED)
    assert named(called, TBXARK) == [("stale_session", "restart_proxy", "")]
    assert causes(replace(lost, direct=bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)), PROXY)[0] == ("child_died", "fetch", "restart")


def test_a_bridge_whose_child_still_starts_is_waited_for_as_long_as_the_child_lives() -> None:
    late = replace(FETCH, started_at=Instant(95.0), direct=bad(Symptom.NOT_MOUNTED), start_grace=60.0)
    (found,) = diagnose(scene(late, PROXY)).found
    assert (found.cause, found.rung, found.until) == ("starting", None, Instant(155.0))
    over = replace(late, started_at=Instant(10.0))
    assert causes(over, PROXY) == [("member_failing", "fetch", "restart")]
    assert causes(replace(over, child_runs=True), PROXY) == [("starting", "fetch", None)]
    assert causes(replace(over, started_at=Instant(100.0 - COLD_START), child_runs=True), PROXY)[0][0] == "member_failing"
    served = replace(over, direct=replace(over.direct or OK, succeeded=True), child_runs=True)
    assert causes(served, PROXY) == [("member_failing", "fetch", "restart")]
    again = replace(late, phase=Phase.STARTING, failures=1)
    assert causes(again, PROXY) == [("starting", "fetch", None)]


def test_fewer_tools_through_the_proxy_than_direct_are_the_proxys_doing() -> None:
    assert causes(replace(FETCH, through=bad(Symptom.MISSING_TOOLS)), PROXY) == [("empty_tools", "proxy", "restart_proxy")]
