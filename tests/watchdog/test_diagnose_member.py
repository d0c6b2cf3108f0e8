"""What is wrong with a member itself, and what no restart answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import NO_TOKEN, Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.advice import advice
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import LookAgain
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.starts import COLD_START
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROXY, TBXARK, TIME, bad, causes, found, named, one, scene


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
        (replace(FETCH, direct=bad(Symptom.TOOL_ERROR)), ("unexpected", "fetch", None)),
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


def test_a_member_whose_dependency_is_down_is_not_restarted_for_it() -> None:
    database = replace(TIME, name="db", phase=Phase.FAILED)
    waiting = replace(FETCH, depends_on=("db",), direct=bad(Symptom.TIMEOUT))
    assert causes(waiting, database, PROXY) == [("dependency", "fetch", None), ("member_down", "db", None)]


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


def test_another_server_on_the_members_port_is_named_with_its_pid() -> None:
    held = replace(FETCH, phase=Phase.BACKOFF, failures=1, foreign_port="pid 7 (nginx)")
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (held, TIME, PROXY), "proxy")).found
    assert (found.cause, found.rung, found.text) == ("port_taken", None, "its port is held by pid 7 (nginx), not by mcpwatch")
    other = replace(held, foreign_port="pid 7 (python -m mcpwatch.gateway --config /x.json)")
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (other, TIME, PROXY), "proxy")).found
    assert found.text.endswith("/x.json), of another mcpwatch")
    ours = replace(held, port=8001, foreign_port="pid 7 (nginx), the member 'web'")
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (ours, TIME, PROXY), "proxy")).found
    assert found.text == "its port 8001 is held by pid 7 (nginx), the member 'web'"


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
    assert causes(replace(FETCH, direct=said, through=bad(Symptom.BAD_REPLY)), TIME, PROXY) == [(cause, "fetch", rung)]


def test_what_answers_while_it_starts_again_is_not_down() -> None:
    again = replace(FETCH, phase=Phase.STARTING, failures=2)
    assert causes(replace(again, direct=bad(Symptom.OVERLOADED)), PROXY) == [("overloaded", "fetch", None)]
    elsewhere = replace(again, direct=bad(Symptom.REFUSED), port=9072, listens_on=(9123,))
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (elsewhere, PROXY), "proxy")).found
    assert (found.cause, found.text) == ("wrong_port", "it listens on port 9123, not on 9072, where it should answer")
    assert causes(replace(again, direct=bad(Symptom.REFUSED)), PROXY) == [("member_down", "fetch", None)]


def test_another_server_in_its_place_is_named_and_left_alone() -> None:
    assert causes(replace(FETCH, direct=bad(Symptom.WRONG_SERVER)), PROXY) == [("wrong_server", "fetch", None)]


def test_a_hosted_server_that_writes_to_its_stdout_is_named_with_the_gateways_own_line() -> None:
    hint = ProxyLogHint("git", "polluted", "stdout holds a line that is no JSON-RPC message: 'hello'", Instant(90.0))
    silent = replace(HOSTED, through=bad(Symptom.TIMEOUT))
    (found,) = diagnose(FleetSnapshot(Instant(100.0), (silent, FETCH, PROXY), "proxy", proxy_log=(hint,))).found
    assert (found.cause, found.rung) == ("polluted", None)
    assert any("'hello'" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("stdout holds a JSON-RPC message that is spread over several lines: '{'", "each message over several lines"),
        ("stdout holds bytes that are not UTF-8: 'caf'", "bytes to its stdout that are not UTF-8"),
    ],
)
def test_what_its_stdout_holds_instead_of_messages_is_named_whether_it_works_or_not(said: str, told: str) -> None:
    hint = ProxyLogHint("git", "polluted", said, Instant(90.0))
    for member, cause in ((HOSTED, "noisy_stdout"), (replace(HOSTED, through=bad(Symptom.TIMEOUT)), "polluted")):
        (found,) = diagnose(FleetSnapshot(Instant(100.0), (member, FETCH, PROXY), "proxy", proxy_log=(hint,))).found
        assert (found.cause, found.rung) == (cause, None)
        assert told in found.text
    answer = said.replace("stdout holds", "tools/list was answered with error -32000: member 'git' answered with")
    refused = bad(Symptom.RPC_ERROR)
    assert refused.result is not None
    garbled = replace(refused, result=replace(refused.result, message=answer))
    assert causes(replace(HOSTED, through=garbled), FETCH, PROXY) == [("polluted", "git", None)]
    if "spread" in said:
        ended = replace(HOSTED, phase=Phase.FAILED, through=None, last_exit=f"git: refused initialize: answered with {said}")
        assert causes(ended, FETCH, PROXY) == [("polluted", "git", None)]


def test_a_paused_member_is_let_run_and_a_hosted_server_is_not_blamed_at_the_gateways_own_door() -> None:
    assert causes(replace(FETCH, paused=True, direct=bad(Symptom.TIMEOUT)), TIME, PROXY) == [("paused", "fetch", "resume")]
    door = replace(HOSTED, through=bad(Symptom.TIMEOUT, Stage.OPEN))
    unsure = diagnose(
        FleetSnapshot(Instant(100.0), (door, FETCH, replace(TIME, through=replace(OK, at=Instant(99.9))), PROXY), "proxy")
    )
    assert (unsure.found, unsure.look_again) == ((), (LookAgain("git"),))


def test_a_bridge_whose_child_still_starts_is_waited_for_as_long_as_the_child_lives() -> None:
    down = bad(Symptom.UPSTREAM_DOWN)
    late = replace(FETCH, started_at=Instant(95.0), direct=bad(Symptom.NOT_MOUNTED), through=down, start_grace=60.0)
    (found,) = diagnose(scene(late, PROXY)).found
    assert (found.cause, found.rung, found.until) == ("starting", None, Instant(155.0))
    over = replace(late, started_at=Instant(10.0), unserved=True)
    assert causes(over, PROXY) == [("member_failing", "fetch", "restart")]
    assert "the server that it runs never came to be served" in one(over, PROXY).text
    assert causes(replace(over, child_runs=True), PROXY) == [("starting", "fetch", None)]
    assert causes(replace(over, started_at=Instant(100.0 - COLD_START), child_runs=True), PROXY)[0][0] == "member_failing"
    served = replace(over, direct=replace(over.direct or OK, succeeded=True), child_runs=True)
    assert causes(served, PROXY) == [("member_failing", "fetch", "restart")]
    again = replace(late, phase=Phase.STARTING, failures=1)
    assert causes(again, PROXY) == [("starting", "fetch", None)]


def test_a_server_that_answers_at_another_path_alone_is_not_restarted_for_that() -> None:
    moved = replace(FETCH, direct=replace(bad(Symptom.NOT_MOUNTED, Stage.OPEN), succeeded=True), through=bad(Symptom.UPSTREAM_DOWN))
    told = one(moved, TIME, PROXY)
    assert (told.cause, told.rung) == ("config", None)
    assert "not at the path of its url, which may be wrong or have changed with an upgrade: said so" in told.text
    bridge = replace(moved, direct=replace(moved.direct or OK, deep=True))
    assert one(bridge, TIME, PROXY).rung == "restart", "it lists from its memory, and runs another server"
    assert one(replace(bridge, direct=replace(bridge.direct or OK, succeeded=False)), TIME, PROXY).cause == "config"
    assert one(replace(moved, unserved=True), TIME, PROXY).rung == "restart", "it says that it could not begin what it runs"
    assert one(replace(moved, child_runs=True), TIME, PROXY).rung == "restart"
    assert one(replace(HOSTED, through=bad(Symptom.NOT_MOUNTED)), TIME, PROXY).rung == "restart"


def test_a_finding_of_a_member_tells_what_it_rests_on_and_where_a_person_should_look() -> None:
    hung = one(replace(FETCH, route="web", direct=bad(Symptom.TIMEOUT)), TIME, PROXY)
    assert (hung.about, hung.affects, hung.seen_at, hung.seen_until) == ("member:fetch", ("web",), Instant(99.0), Instant(99.5))
    assert hung.text == "the member runs but does not answer (timeout@tools_list)"
    assert "mcpwatch logs fetch" in hung.look_at
    down = one(replace(FETCH, route=None, direct=None, through=None, phase=Phase.FAILED), TIME, PROXY)
    assert (down.affects, down.seen_at, down.seen_until) == ((), None, None)


@pytest.mark.parametrize(
    ("changes", "cause", "text"),
    [
        ({"last_exit": ""}, "member_down", "the member is down"),
        ({"last_exit": "killed by SIGSEGV"}, "member_down", "the member is down: killed by SIGSEGV"),
        ({"oom": True}, "member_oom", "it was killed for using too much memory"),
        ({"last_exit": "bind: EADDRINUSE"}, "port_taken", "its port is held by another program"),
        (
            {"last_exit": "bind: EADDRINUSE", "port": 9},
            "member_down",
            "the member is down: bind: EADDRINUSE; nobody listens there now: old connections may still be closing (TIME_WAIT)",
        ),
        ({"planned": True}, "planned_restart", "it is being restarted as asked"),
        ({"paused": True, "oom": True}, "paused", "its container is paused"),
    ],
)
def test_a_member_that_does_not_run_is_told_by_how_it_ended(changes: dict[str, object], cause: str, text: str) -> None:
    ended = replace(FETCH, phase=Phase.FAILED, **changes)  # pyright: ignore[reportArgumentType]
    finding = one(ended, TIME, PROXY)
    assert (finding.cause, finding.text) == (cause, text)


def test_what_fails_and_recovers_again_and_again_is_told_with_its_rate_and_not_repaired() -> None:
    shaky = replace(OK, verdict=Verdict.DEGRADED, rate=0.5)
    finding = one(replace(FETCH, direct=shaky), PROXY)
    assert (finding.cause, finding.rung) == ("flapping", None)
    assert "50% of its latest probes failed" in finding.text
    assert "direct: ok (50% of the latest probes failed)" in finding.evidence
    assert causes(replace(HOSTED, through=shaky, alone="bye"), PROXY) == [("flapping", "git", None)]


def test_a_member_that_bears_one_client_is_told_and_never_blamed_for_what_was_seen_before() -> None:
    lone = replace(FETCH, alone="one client only", direct=bad(Symptom.CUT))
    finding = one(lone, PROXY)
    assert (finding.cause, finding.rung) == ("single_client", None)
    assert "(one client only)" in finding.text
    assert causes(replace(HOSTED, alone="one client only"), PROXY) == [("single_client", "git", None)]


def test_a_first_start_is_not_judged_and_a_single_failure_of_one_that_runs_neither() -> None:
    assert causes(replace(FETCH, phase=Phase.STARTING, direct=bad(Symptom.AUTH)), PROXY) == []
    once = replace(bad(Symptom.OVERLOADED), verdict=Verdict.HEALTHY, failures=1)
    assert causes(replace(FETCH, direct=once), PROXY) == []
    again = replace(FETCH, phase=Phase.STARTING, failures=1, direct=replace(once, verdict=Verdict.UNKNOWN))
    assert causes(again, PROXY) == [("overloaded", "fetch", None)], "it answers, so its start is not the trouble"
    assert causes(replace(again, phase=Phase.STOPPING), PROXY) == []
    sick = replace(again, direct=replace(bad(Symptom.RPC_ERROR, Stage.INITIALIZE), verdict=Verdict.UNKNOWN))
    finding = one(sick, PROXY)
    assert (finding.cause, finding.rung, finding.hold) == ("member_failing", None, "waiting for its start")


def test_what_was_seen_before_its_start_or_before_it_listened_is_looked_at_again_instead_of_blamed() -> None:
    def told(**changes: object) -> list[str]:
        seen = replace(bad(Symptom.REFUSED), began_at=Instant(99.0))
        member = replace(FETCH, port=8000, direct=seen)
        findings = found(replace(member, **changes), TIME, PROXY)  # pyright: ignore[reportArgumentType]
        return [*(one.cause for one in findings.found), *(f"look at {one.member}" for one in findings.look_again)]

    def refused(began: float | None, symptom: Symptom = Symptom.REFUSED) -> Observation:
        return replace(bad(symptom), began_at=None if began is None else Instant(began))

    assert told() == ["member_hung"]
    assert told(started_at=Instant(99.0)) == ["member_hung"]
    assert told(started_at=Instant(99.1)) == ["look at fetch"], "of its former life"
    assert told(started_at=None) == ["member_hung"]
    assert told(direct=refused(None)) == ["look at fetch"], "nobody knows of when it is"
    assert told(listens_on=(8000, 9)) == ["look at fetch"], "it listens there by now"
    assert told(listens_on=(8000,), direct=refused(99.5)) == ["wrong_port"], "at another address, as a restart would not change"
    assert told(listens_on=(8000,), direct=refused(99.0, Symptom.TIMEOUT)) == ["member_hung"]
    assert told(listens_on=(9, 10)) == ["wrong_port"]
    assert told(listens_on=(9,), port=None) == ["member_hung"]


def test_the_words_of_a_server_count_where_they_are_its_own() -> None:
    def told(symptom: Symptom, message: str, said: str = "") -> tuple[str, str]:
        seen = replace(bad(symptom), succeeded=True, result=ProbeResult(Outcome.FAILURE, symptom, Stage.INITIALIZE, message, said))
        finding = one(replace(FETCH, direct=seen), TIME, PROXY)
        return finding.cause, finding.text

    assert told(Symptom.HTTP_STATUS, "answered 402", "Payment Required") == ("licence", "it refuses to work: answered 402")
    assert told(Symptom.UPSTREAM_DOWN, "license expired") == ("licence", "it refuses to work: license expired")
    assert told(Symptom.UPSTREAM_DOWN, "connection refused")[0] == "child_died", "by a bridge it is its own child that is gone"
    assert told(Symptom.BAD_REPLY, "license expired")[0] == "member_failing", "no answer of MCP"
    assert told(Symptom.OVERLOADED, "429") == ("overloaded", "it takes no more requests for now: 429")
    assert told(Symptom.OVERLOADED, "") == ("overloaded", "it takes no more requests for now")


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, "config"),
        (409, "config"),
        (422, "config"),
        (499, "config"),
        (500, "member_failing"),
        (599, "member_failing"),
        (None, "config"),
    ],
)
@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.DISCOVER, Stage.INITIALIZE, Stage.TOOLS_LIST])
def test_what_was_never_well_and_greets_as_no_mcp_server_does_is_a_wrong_configuration(
    status: int | None, cause: str, stage: Stage
) -> None:
    symptom = Symptom.HTTP_STATUS if status else Symptom.BAD_REPLY
    seen = replace(bad(symptom), result=ProbeResult(Outcome.FAILURE, symptom, stage, "<h1>hello</h1>", http_status=status))
    greeted = stage is Stage.TOOLS_LIST
    finding = one(replace(FETCH, direct=seen, through=seen), TIME, PROXY)
    assert (finding.cause, finding.rung) == (("member_failing", "restart") if greeted or cause != "config" else (cause, None))
    assert greeted or cause != "config" or "<h1>hello</h1>" in finding.text, "what it said is told"
    was_well = one(replace(FETCH, direct=replace(seen, succeeded=True), through=None), TIME, PROXY)
    assert was_well.cause == ("busy" if status == 409 and not greeted else "member_failing")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("POST /mcp was refused with HTTP 401: no token was sent", "it asks for a token, and none is sent"),
        ("POST /mcp was refused with HTTP 401: the token that was sent is wrong or expired", "it refuses our token"),
    ],
)
def test_a_missing_token_is_told_from_a_wrong_one(message: str, text: str) -> None:
    seen = replace(bad(Symptom.AUTH), result=ProbeResult(Outcome.FAILURE, Symptom.AUTH, Stage.OPEN, message))
    finding = one(replace(FETCH, direct=seen), TIME, PROXY)
    assert (finding.cause, finding.text, finding.rung) == ("auth", text, None)
    routed = one(replace(FETCH, through=seen), TIME, PROXY)
    assert (routed.cause, routed.rung, "none is sent" in routed.text) == ("auth", None, "none is sent" in text)


@pytest.mark.parametrize(
    ("symptom", "cause"),
    [
        (Symptom.BAD_ENDPOINT, "wrong_base_url"),
        (Symptom.WRONG_TYPE, "config"),
        (Symptom.BUFFERED, "config"),
        (Symptom.TOO_LARGE, "config"),
        (Symptom.UNGUARDED, "auth"),
        (Symptom.UNEXPECTED, "unexpected"),
    ],
)
def test_no_restart_answers_what_only_a_person_can_correct(symptom: Symptom, cause: str) -> None:
    assert causes(replace(FETCH, direct=bad(symptom)), TIME, PROXY) == [(cause, "fetch", None)]


@pytest.mark.parametrize(
    ("stage", "code", "expected"),
    [
        (Stage.CANARY, -32602, ("config", None)),
        (Stage.CANARY, -32601, ("config", None)),
        (Stage.CANARY, -32603, ("unexpected", None)),
        (Stage.TOOLS_LIST, -32602, ("member_failing", "restart")),
    ],
)
def test_a_canary_that_the_server_does_not_take_is_wrong_itself(stage: Stage, code: int, expected: tuple[str, str | None]) -> None:
    refused = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, stage, "unknown tool: pnig", rpc_code=code)
    seen = replace(bad(Symptom.RPC_ERROR), result=refused, succeeded=True)
    finding = one(replace(FETCH, direct=seen, through=seen), TIME, PROXY)
    assert (finding.cause, finding.rung) == expected
    inside = replace(FETCH, runtime="external", direct=None, through=replace(bad(Symptom.RPC_ERROR), result=refused))
    assert (named(inside, TIME, TBXARK)[0][:2] == ("config", None)) is (expected[0] == "config")


def test_a_hosted_server_that_its_gateway_does_not_reach_is_reconnected_first_and_restarted_then() -> None:
    cut = replace(HOSTED, through=bad(Symptom.UPSTREAM_DOWN))
    finding = one(cut, FETCH, PROXY, nudges=True)
    assert (finding.cause, finding.subject, finding.rung, finding.suspect) == ("member_failing", "git", "reconnect", "git")
    assert finding.text == "the proxy that hosts it does not reach it: said so"
    assert causes(cut, FETCH, PROXY) == [("member_failing", "git", "restart")]
    other = replace(HOSTED, through=bad(Symptom.BAD_REPLY))
    assert (one(other, FETCH, PROXY, nudges=True).rung, one(other, FETCH, PROXY).text) == (
        "restart",
        "the member fails its checks (bad_reply)",
    )


def test_what_a_gateways_log_said_of_a_former_life_of_a_server_is_no_reason_now() -> None:
    silent = replace(HOSTED, started_at=Instant(60.0), through=bad(Symptom.TIMEOUT))

    def cause(meaning: str, at: float, **changes: object) -> str:
        log = (ProxyLogHint("git", meaning, "x", Instant(at)),)
        return one(replace(silent, **changes), FETCH, PROXY, proxy_log=log).cause  # pyright: ignore[reportArgumentType]

    assert cause("polluted", 60.0) == "polluted"
    assert cause("polluted", 59.0) == "member_hung"
    assert cause("polluted", 0.5, started_at=None) == "polluted"
    assert cause("failed", 70.0) == "member_hung"
    well_once = replace(bad(Symptom.TIMEOUT), succeeded=True)
    assert cause("polluted", 80.0, through=well_once) == "polluted", "it began to fail at 95 s"
    assert cause("polluted", 79.5, through=well_once) == "member_hung"


def test_stopped_processes_are_let_run_again_unless_they_are_being_ended() -> None:
    stopped = replace(FETCH, stopped_processes=True)
    finding = one(stopped, PROXY)
    assert (finding.cause, finding.rung, finding.text) == ("member_hung", "resume", "its processes are stopped (state T)")
    assert causes(replace(stopped, phase=Phase.STOPPING), PROXY) == []


@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.DRIFT, Symptom.WRONG_SERVER, Symptom.CUT, None])
def test_a_member_that_shares_its_port_with_another_program_is_told_so_and_not_restarted(symptom: Symptom | None) -> None:
    seen = replace(OK, rate=0.4) if symptom is None else bad(symptom)
    finding = one(replace(FETCH, direct=seen, port=9072, rival="pid 7 (python)"), PROXY)
    assert (finding.cause, finding.rung) == ("port_shared", None)
    assert finding.text == "pid 7 (python) listens on port 9072 too, and each connection comes to one of them"


def test_a_member_that_listens_at_another_address_is_told_with_both() -> None:
    seen = replace(bad(Symptom.REFUSED, Stage.CONNECT), began_at=Instant(99.9))
    elsewhere = replace(FETCH, direct=seen, port=9072, listens_on=(9072,), listens_at=("[::1]:9072",), asked_at="127.0.0.1:9072")
    finding = one(elsewhere, PROXY)
    assert (finding.cause, finding.rung) == ("wrong_port", None)
    assert finding.text == "it listens at [::1]:9072, but not at 127.0.0.1:9072, where it should answer"


@pytest.mark.parametrize("symptom", [Symptom.CUT, Symptom.NO_REPLY])
@pytest.mark.parametrize("own_port", [True, False])
def test_answers_that_are_begun_and_cut_are_told_as_such_and_only_who_listens_there_is_restarted(
    symptom: Symptom, own_port: bool
) -> None:
    timings = tuple(StageTiming(stage, 0.1) for stage in (Stage.CONNECT, Stage.OPEN, Stage.INITIALIZE))
    result = replace(bad(symptom).result or ProbeResult(Outcome.FAILURE), message="the stream ended", timings=timings)
    seen, ports = replace(bad(symptom), result=result), (9072,) if own_port else (80,)
    member = replace(FETCH, direct=seen, through=seen, port=9072, listens_on=ports)
    finding = one(member, PROXY)
    assert (finding.cause, finding.rung) == ("cut_short", "restart" if own_port else None)
    assert finding.text == f"its answers end early ({result.symptom_text}): it, or something between, closes them: the stream ended"
    never = replace(member, direct=replace(bad(symptom), result=replace(result, timings=timings[:1])))
    assert one(never, PROXY).cause != "cut_short"


def test_a_banner_on_the_stdout_of_a_server_that_works_is_told_and_nothing_is_done_about_it() -> None:
    hint = ProxyLogHint("git", "polluted", "stdout holds a line that is no JSON-RPC message: 'Welcome'", Instant(12.0))
    finding = one(HOSTED, PROXY, proxy_log=(hint,))
    assert (finding.cause, finding.rung) == ("noisy_stdout", None)
    assert f"proxy log: {hint.text}" in finding.evidence
    assert found(replace(HOSTED, started_at=Instant(60.0)), PROXY, proxy_log=(hint,)).found == (), "of its former life"


def test_what_a_server_that_is_gone_last_wrote_is_part_of_the_evidence() -> None:
    gone = replace(FETCH, direct=bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL), words="Error: no module named time")
    assert "it last wrote: Error: no module named time" in one(gone, PROXY).evidence


@pytest.mark.parametrize("symptom", [Symptom.OVERLOADED, Symptom.RPC_ERROR, Symptom.HTTP_STATUS])
@pytest.mark.parametrize(
    ("words", "ours"), [("too many sessions", True), ("Session limit reached", True), ("429 too many requests", False)]
)
def test_a_limit_of_sessions_is_told_with_what_our_own_checks_have_to_do_with_it(symptom: Symptom, words: str, ours: bool) -> None:
    seen = bad(symptom)
    assert seen.result is not None
    finding = one(replace(FETCH, direct=replace(seen, result=replace(seen.result, message=words))), PROXY)
    assert (finding.cause, finding.rung) == ("overloaded", None)
    assert ("each check of mcpwatch opens a session too" in finding.text) == ours


UNSERVED = replace(bad(Symptom.NOT_MOUNTED), succeeded=False)


def test_a_bridge_that_is_up_and_serves_something_else_is_not_still_starting() -> None:
    other = replace(FETCH, started_at=Instant(90.0), child_runs=True, direct=UNSERVED, serves=("clock", "git"))
    finding = one(other, PROXY)
    assert (finding.cause, finding.subject, finding.rung, finding.hold) == ("config", "fetch", None, "")
    assert "all it serves is 'clock', 'git'" in finding.text
    assert one(replace(other, serves=()), PROXY).cause == "starting"
    served = replace(UNSERVED, succeeded=True)
    assert one(replace(other, direct=served), PROXY).cause == "member_failing", "it served it in this very run"
    assert found(replace(other, direct=replace(UNSERVED, verdict=Verdict.UNKNOWN)), PROXY).found[0].cause == "starting", "once only"


@pytest.mark.parametrize("symptom", [Symptom.REFUSED, Symptom.CUT])
def test_what_listens_to_nobody_outside_its_container_is_not_restarted_for_it(symptom: Symptom) -> None:
    walled = replace(FETCH, runtime="docker", direct=bad(symptom, Stage.CONNECT), walled=("127.0.0.1:8080",))
    finding = one(walled, PROXY)
    assert (finding.cause, finding.rung) == ("config", None)
    assert "it listens at 127.0.0.1:8080 inside its container" in finding.text
    again = replace(walled, phase=Phase.STARTING, failures=3)
    assert one(again, PROXY).cause == "config", "what runs and says why is not down"
    assert causes(replace(again, walled=()), PROXY) == [("member_down", "fetch", None)]


SAID = bad(Symptom.UPSTREAM_DOWN, Stage.INITIALIZE)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STARTING])
def test_a_server_that_ran_no_other_and_says_that_something_is_gone_is_not_started_again_for_it(phase: Phase) -> None:
    native = replace(FETCH, childless=True, direct=SAID, through=SAID, phase=phase)
    if phase is Phase.STARTING:
        assert "fetch" not in [each.subject for each in found(native, TIME, PROXY).found if each.rung]
        return
    told = one(native, TIME, PROXY)
    assert (told.cause, told.rung, told.text) == ("dependency", None, "it answers that what it needs does not work: said so")
    other = one(replace(native, childless=False), TIME, PROXY)
    assert (other.cause, other.rung) == ("child_died", "restart"), "it may have run another"
    called = bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)
    lists = one(replace(native, direct=called, through=called), TIME, PROXY)
    assert (lists.cause, lists.rung) == ("child_died", "restart"), "it lists for one that it cannot call"


def test_one_that_refuses_what_it_allowed_is_not_told_to_have_asked_for_a_token_always() -> None:
    refused = replace(bad(Symptom.AUTH), result=ProbeResult(Outcome.FAILURE, Symptom.AUTH, Stage.OPEN, NO_TOKEN))
    assert one(replace(FETCH, direct=refused), PROXY).text == "it asks for a token, and none is sent"
    assert "refuses what it allowed before" in one(replace(FETCH, direct=replace(refused, succeeded=True)), PROXY).text


def test_what_a_member_depends_on_is_looked_at_first_when_it_failed_a_moment_ago() -> None:
    waits = replace(FETCH, direct=SAID, through=SAID, depends_on=("time", "gone"))
    ill = replace(TIME, direct=replace(bad(Symptom.TIMEOUT), failures=1, verdict=Verdict.HEALTHY))
    told = next(each for each in found(waits, ill, PROXY).found if each.subject == "fetch")
    assert (told.cause, told.rung, told.text) == ("dependency", None, "what it depends on does not work: time")
    for still in (replace(TIME, direct=None, stopped_processes=True), replace(TIME, paused=True)):
        both = {each.subject: each for each in found(waits, still, PROXY).found}
        assert (both["fetch"].cause, both["fetch"].rung, both["time"].rung) == ("dependency", None, "resume")
    (well,) = (each for each in found(waits, TIME, PROXY).found if each.subject == "fetch")
    assert (well.cause, well.rung) == ("child_died", "restart"), "that is well"


@pytest.mark.parametrize(("kept", "advised"), [("traced", "let the debugger go on"), ("frozen", "thaw its cgroup")])
def test_whoever_is_kept_from_running_is_left_to_the_one_who_keeps_him(kept: str, advised: str) -> None:
    silent = replace(FETCH, direct=bad(Symptom.TIMEOUT, Stage.OPEN), hindered=kept, hindrance="kept by another")
    told = one(silent, TIME, PROXY)
    assert (told.cause, told.rung, told.text, advised in advice(told)) == (kept, None, "kept by another", True)
    answers = replace(silent, direct=OK)
    assert found(answers, TIME, PROXY).found == ()
