"""Causes that a few words decide: what put itself into the background, what was cut, and a line of which life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.diagnose_symptom import TOLD_FOR
from mcpwatch.watchdog.snapshot import Observation, ProxyLogHint
from tests.watchdog.scenes import FETCH, HOSTED, PROXY, bad, found, one, scene

GREETED = tuple(StageTiming(stage, 0.1) for stage in (Stage.CONNECT, Stage.OPEN, Stage.INITIALIZE))


def cut(symptom: Symptom, message: str, stage: Stage | None = Stage.TOOLS_LIST) -> Observation:
    result = ProbeResult(Outcome.FAILURE, symptom, stage, message, timings=GREETED)
    return replace(bad(symptom), result=result)


def test_a_server_that_puts_itself_into_the_background_is_told_as_that() -> None:
    words = "it put itself into the background; run it in the foreground"
    finding = one(replace(FETCH, phase=Phase.BACKOFF, last_exit=words), PROXY)
    assert (finding.cause, finding.text, finding.rung) == ("daemonised", f"the member is down: {words}", None)


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (cut(Symptom.CUT, "connection lost"), "cut_short"),
        (cut(Symptom.NO_REPLY, "the stream ended"), "cut_short"),
        (cut(Symptom.NO_REPLY, "nothing came in 3 s"), "member_hung"),
        (cut(Symptom.TIMEOUT, "it ended"), "member_hung"),
        (cut(Symptom.CUT, "connection lost", stage=None), "member_hung"),
        (cut(Symptom.CUT, "connection lost", stage=Stage.INITIALIZE), "member_hung"),
    ],
)
def test_an_answer_that_was_begun_and_ended_is_told_apart_from_one_that_never_came(seen: Observation, cause: str) -> None:
    assert one(replace(FETCH, direct=seen), PROXY).cause == cause


@pytest.mark.parametrize(
    ("started", "read", "told"),
    [(20.0, 5.0, True), (20.0, 4.9, False), (None, 0.0, True), (None, -14.5, True)],
)
def test_a_line_on_stdout_is_of_this_life_if_it_came_since_the_start_or_just_before(
    started: float | None, read: float, *, told: bool
) -> None:
    """What a server writes at once may be read before its start is told."""
    hint = ProxyLogHint("git", "polluted", "stdout holds a line that is no JSON-RPC message: 'Welcome'", Instant(read))
    server = replace(HOSTED, started_at=None if started is None else Instant(started))
    causes = [finding.cause for finding in found(server, PROXY, proxy_log=(hint,)).found]
    assert causes == (["noisy_stdout"] if told else [])


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("calling status failed: Unknown tool: status", "config"),
        ("calling status failed: Tool status not found", "config"),
        ("calling status failed: tool 'status' not found", "config"),
        ("calling status failed: no such tool", "config"),
        ("calling status failed: Input validation error: 'database' is a required property", "config"),
        ("calling status failed: MCP error -32602: Invalid arguments for tool status: Required", "config"),
        ("calling status failed: 1 validation error for statusArguments database Field required", "config"),
        ("calling status failed: 2 validation errors for call[status] database Missing required argument", "config"),
        ("calling status failed: the database reports a validation error for column owner", "unexpected"),
        ("calling status failed: the file that the tool reads was not found", "unexpected"),
        ("calling status failed: feature not enabled for workspace", "unexpected"),
        ("calling status failed: denied by policy of your administrator", "unexpected"),
        ("calling status failed: the service that the answer names times out", "unexpected"),
        ("calling status failed: this tool requires a paid plan", "licence"),
        ("calling status failed: your organisation's plan does not include this tool", "licence"),
        ("calling status failed: only available on the Enterprise plan", "licence"),
        ("calling status failed: the database does not answer", "dependency"),
        ("calling status failed: timeout connecting to db.internal:5432", "dependency"),
        ("calling status failed: connection to 10.0.0.1 timed out", "dependency"),
        ("calling status failed: read ECONNRESET", "dependency"),
        ("calling status failed: Failed to connect to redis", "dependency"),
        ("calling status failed: upstream API: 502 Bad Gateway", "dependency"),
    ],
)
def test_a_canary_that_the_server_no_longer_takes_is_wrong_and_nothing_behind_the_server(message: str, cause: str) -> None:
    result = ProbeResult(Outcome.FAILURE, Symptom.TOOL_ERROR, Stage.CANARY, message)
    finding = one(replace(FETCH, direct=replace(bad(Symptom.TOOL_ERROR), result=result)), PROXY)
    assert (finding.cause, finding.rung) == (cause, None)
    assert message in finding.text
    assert any(message in line for line in finding.evidence), "its own words"


@pytest.mark.parametrize("words", ["Feature not enabled for this workspace", "This tool requires admin rights", "Access denied"])
def test_a_canary_that_is_declined_by_an_error_of_the_protocol_restarts_nothing(words: str) -> None:
    declined = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.CANARY, f"answered an error: {words}", words, rpc_code=-32603)
    seen = replace(bad(Symptom.RPC_ERROR), result=declined)
    finding = one(replace(FETCH, through=None, direct=seen), PROXY)
    assert (finding.cause, finding.rung) == ("unexpected", None)
    broken = replace(seen, result=replace(declined, said="Internal error", message="answered an error: Internal error"))
    assert one(replace(FETCH, through=None, direct=broken), PROXY).rung == "restart"
    listing = replace(seen, result=replace(declined, stage=Stage.TOOLS_LIST), succeeded=True)
    assert one(replace(FETCH, through=None, direct=listing), PROXY).rung == "restart", "nothing of it works"


@pytest.mark.parametrize(
    ("symptom", "ago", "cause"),
    [
        (Symptom.TIMEOUT, TOLD_FOR, "dependency"),
        (Symptom.NO_REPLY, 1.0, "dependency"),
        (Symptom.TIMEOUT, TOLD_FOR + 0.1, "member_hung"),
        (Symptom.TIMEOUT, None, "member_hung"),
        (Symptom.CUT, 1.0, "member_hung"),
    ],
)
def test_silences_between_its_own_words_of_what_it_waits_for_are_of_that_and_no_reason_to_restart_it(
    symptom: Symptom, ago: float | None, cause: str
) -> None:
    told = ProbeResult(Outcome.FAILURE, Symptom.TOOL_ERROR, Stage.CANARY, "could not connect to server: timed out")
    seen = replace(bad(symptom, Stage.CONNECT), told=told, told_at=None if ago is None else Instant(100.0 - ago))
    finding = one(replace(FETCH, direct=seen, through=None), PROXY)
    assert (finding.cause, finding.rung) == (cause, None if cause == "dependency" else "restart")


def test_what_listens_at_another_address_alone_is_told_so_for_as_long_as_it_does() -> None:
    """No look again: a refusal of seconds ago is still one of now, while nothing listens where it is asked."""
    old = replace(bad(Symptom.REFUSED, Stage.CONNECT), began_at=Instant(90.0))
    elsewhere = replace(FETCH, direct=old, port=9072, listens_on=(9072,), listens_at=("[::1]:9072",), asked_at="127.0.0.1:9072")
    assert one(elsewhere, PROXY).cause == "wrong_port"
    assert found(replace(elsewhere, listens_at=()), PROXY).found == ()


@pytest.mark.parametrize(("cut_off", "cause", "rung"), [(True, "unreachable", None), (False, "member_hung", "restart")])
def test_one_that_listens_and_that_no_connection_reaches_is_not_restarted_for_what_is_between(
    cause: str, rung: str | None, *, cut_off: bool
) -> None:
    dropped = replace(FETCH, direct=bad(Symptom.TIMEOUT, Stage.CONNECT), through=None, port=9072, cut_off=cut_off)
    finding = one(dropped, PROXY)
    assert (finding.cause, finding.rung) == (cause, rung)


@pytest.mark.parametrize(
    ("symptom", "text"),
    [
        (Symptom.REFUSED, "nothing listens at 10.0.0.7:8585 (refused); mcpwatch did not start it, and cannot tell whether it runs"),
        (Symptom.TIMEOUT, "it does not answer (timeout@connect); mcpwatch did not start it, and cannot tell whether it runs"),
    ],
)
def test_of_a_server_of_others_is_said_what_was_seen_and_what_cannot_be_known(symptom: Symptom, text: str) -> None:
    theirs = replace(FETCH, runtime="external", direct=bad(symptom, Stage.CONNECT), asked_at="10.0.0.7:8585")
    found = one(theirs, PROXY)
    assert (found.cause, found.rung, found.text) == ("member_hung", None, text)
    ours = one(replace(FETCH, direct=bad(symptom, Stage.CONNECT)), PROXY)
    assert ours.text.startswith("the member runs but does not answer")


@pytest.mark.parametrize("words", ["an answer came with id 7, but ping was asked with id 3", "an answer came without an id, but x"])
def test_one_that_answers_something_else_than_it_was_asked_is_told_so_and_not_to_hang(words: str) -> None:
    silent = replace(bad(Symptom.NO_REPLY), failures=9)
    assert silent.result is not None
    seen = replace(silent, result=replace(silent.result, message=words, said="{}"))
    assert not seen.mute
    new = one(replace(FETCH, direct=seen, through=None), PROXY)
    assert (new.cause, new.rung, new.text) == ("config", None, f"it answers, but not what it was asked: {words}")
    broke = one(replace(FETCH, direct=replace(seen, succeeded=True), through=None), PROXY)
    assert (broke.cause, broke.rung, broke.text) == ("member_failing", "restart", new.text)
    assert one(replace(FETCH, direct=silent, through=None), PROXY).cause == "member_hung", "nothing came at all"


@pytest.mark.parametrize("why", ["as asked", "with the proxy that runs it", "because its configuration changed"])
def test_a_planned_restart_says_why_it_is_planned(why: str) -> None:
    going = replace(FETCH, phase=Phase.STOPPING, planned=True, planned_why=why)
    assert one(going, PROXY).text == f"it is being restarted {why}"
    assert one(FETCH, replace(PROXY, phase=Phase.STOPPING, planned=True, planned_why=why)).text == f"it is being restarted {why}"


def test_what_a_server_inside_the_proxy_wrote_into_the_proxys_log_is_evidence() -> None:
    gone = replace(FETCH, runtime="external", direct=None, through=bad(Symptom.UPSTREAM_DOWN), proxy_words="KeyError: 'HOME'")
    (found,) = diagnose(scene(gone, PROXY)).found
    assert "the proxy last wrote: KeyError: 'HOME'" in found.evidence
