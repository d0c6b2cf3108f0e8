"""When the proxy is to blame, and when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation, ProxyLogHint
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROXY, TBXARK, TIME, bad, causes, found, named, one, scene


def test_a_proxy_that_is_down_speaks_for_its_routes_but_not_for_a_member_that_is_down_itself() -> None:
    down = replace(PROXY, phase=Phase.BACKOFF, last_exit="killed by SIGKILL")
    lost = replace(HOSTED, phase=Phase.BACKOFF)
    assert causes(FETCH, lost, down) == [("proxy_down", "proxy", None)]
    assert causes(replace(FETCH, phase=Phase.FAILED), down) == [("proxy_down", "proxy", None), ("member_down", "fetch", None)]
    for taken in (replace(down, foreign_port="pid 7 (mcp-proxy)"), replace(down, last_exit="listen: address already in use")):
        assert causes(FETCH, lost, taken) == [("port_taken", "proxy", None)]


def test_a_proxy_that_is_being_ended_by_a_repair_speaks_for_what_it_hosts() -> None:
    ending = replace(PROXY, phase=Phase.STOPPING)
    cut = replace(HOSTED, through=bad(Symptom.CUT, Stage.OPEN))
    assert causes(FETCH, cut, replace(HOSTED, name="other", phase=Phase.BACKOFF), ending) == [("proxy_down", "proxy", None)]


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


def test_a_fleet_of_members_that_hang_themselves_is_not_the_proxys_fault() -> None:
    hung = [replace(FETCH, name=name, route=name, direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT)) for name in ("a", "b")]
    assert causes(*hung, PROXY) == [("member_hung", "a", "restart"), ("member_hung", "b", "restart")]
    assert causes(replace(hung[0], direct=OK), hung[1], PROXY)[0][0] == "proxy_hung", "one is well, and nobody gets through"


def test_a_list_that_never_comes_is_the_proxys_own_silence_only_where_it_lists_from_a_cache() -> None:
    quiet = replace(bad(Symptom.TIMEOUT, Stage.TOOLS_LIST), since=Instant(90.0), at=Instant(95.0))
    silent, other = replace(FETCH, through=quiet), replace(TIME, through=replace(OK, at=Instant(80.0)))
    assert named(silent, other, TBXARK) == [("proxy_hung", "restart", "")]
    assert named(silent, other, TBXARK, lists_from_cache=False)[0][0] != "proxy_hung"


def test_a_proxy_whose_log_says_it_has_no_file_descriptor_left_is_named_by_that_line_while_it_is_new() -> None:
    hint = ProxyLogHint("", "exhausted", "accept tcp: accept4: too many open files", Instant(90.0))
    cut = replace(FETCH, through=bad(Symptom.CUT, Stage.OPEN))
    (found,) = diagnose(scene(cut, TIME, TBXARK, proxy_log=(hint,))).found
    assert (found.cause, found.subject, found.rung) == ("proxy_exhausted", "proxy", "restart")
    assert "proxy log: accept tcp: accept4: too many open files" in found.evidence
    assert diagnose(scene(FETCH, TIME, TBXARK, proxy_log=(hint,))).found == ()
    assert named(cut, TIME, TBXARK, proxy_log=(replace(hint, at=Instant(1.0)),))[0][0] != "proxy_exhausted"


@pytest.mark.parametrize("full", ["", "60 of 60 are open (pid 7)"])
@pytest.mark.parametrize("logged", [False, True])
def test_a_gateway_out_of_descriptors_that_closes_at_once_serves_those_it_has_and_is_left_to_a_person(
    full: str, logged: bool
) -> None:
    log = (ProxyLogHint("", "exhausted", "too many open files", Instant(90.0)),) if logged else ()
    for symptom in (Symptom.CUT, Symptom.TIMEOUT):
        for nudges in (False, True):
            proxy = replace(TBXARK, direct=bad(symptom, Stage.OPEN), descriptors=full)
            (found, *_) = diagnose(
                scene(replace(FETCH, through=bad(symptom)), TIME, proxy, proxy_log=log, nudges=nudges)
            ).found or (None,)
            if found is None or not (full or logged):
                assert found is None or found.cause != "proxy_exhausted"
                continue
            left = nudges and symptom is Symptom.CUT
            assert (found.cause, found.subject, found.rung) == ("proxy_exhausted", "proxy", None if left else "restart")
            assert full in found.text
            assert ("goes on with the connections that it has" in found.text) == left


def seen(symptom: Symptom, stage: Stage, since: float | None = 90.0, began: float = 92.0) -> Observation:
    """A vantage that fails since then; its latest probe began then."""
    times = {"since": None if since is None else Instant(since), "began_at": Instant(began), "at": Instant(began + 1.0)}
    return replace(bad(symptom, stage), **times)  # pyright: ignore[reportArgumentType]


def answered(at: float) -> Observation:
    return replace(OK, began_at=Instant(at - 0.1), at=Instant(at))


def told(*actors: MemberSnapshot, **changes: object) -> list[str]:
    """Causes with their rungs, and who is to be looked at."""
    findings = found(*actors, **changes)
    causes = [f"{one.cause} {one.rung or '-'}" for one in findings.found]
    return [*causes, *(f"look at {one.member}" for one in findings.look_again)]


def test_a_cause_of_the_whole_proxy_names_every_route_and_what_it_hosts_and_when_it_was_seen() -> None:
    silent = replace(FETCH, route="web", through=replace(bad(Symptom.TIMEOUT), at=Instant(98.0)))
    finding = one(silent, replace(HOSTED, through=None), replace(PROXY, direct=bad(Symptom.REFUSED, Stage.CONNECT)))
    assert (finding.cause, finding.subject, finding.about, finding.rung) == ("proxy_hung", "proxy", "member:proxy", "restart")
    assert (finding.affects, finding.members, finding.seen_until) == (("web", "git"), ("git",), Instant(99.5))
    assert "proxy: running" in finding.evidence
    assert "web: timeout@tools_list (3 in a row): said so" in finding.evidence
    assert "the log of 'proxy'" in finding.look_at


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"paused": True}, ["paused resume"]),
        ({"stopped_processes": True}, ["proxy_hung resume"]),
        ({"paused": True, "runtime": "external"}, ["paused -"]),
        ({"phase": Phase.STARTING}, []),
        ({"phase": Phase.STARTING, "failures": 1}, ["proxy_down -"]),
        ({"phase": Phase.STOPPING, "want": Want.DOWN}, []),
        ({"phase": Phase.FAILED, "want": Want.DOWN}, []),
    ],
)
def test_the_life_of_the_proxy_is_told_before_what_was_seen_through_it(changes: dict[str, object], expected: list[str]) -> None:
    proxy = replace(PROXY, **changes)  # pyright: ignore[reportArgumentType]
    assert told(replace(FETCH, through=bad(Symptom.SESSION_LOST)), replace(TIME, through=bad(Symptom.CUT)), proxy) == expected


def test_how_a_proxy_is_paused_stopped_or_ended_is_said() -> None:
    assert one(FETCH, replace(PROXY, paused=True)).text == "its container is paused"
    assert one(FETCH, replace(PROXY, stopped_processes=True)).text == "its processes are stopped (state T)"
    assert one(FETCH, replace(PROXY, phase=Phase.FAILED)).text == "the proxy is down (failed)"
    assert one(FETCH, replace(PROXY, phase=Phase.FAILED, last_exit="code 2")).text == "the proxy is down (code 2)"


def test_a_fleet_without_a_proxy_has_no_trouble_with_one() -> None:
    assert told(replace(FETCH, through=bad(Symptom.TIMEOUT)), proxy=None) == []


def test_one_route_alone_that_is_silent_behind_the_door_says_nothing_of_the_proxy() -> None:
    silent = seen(Symptom.TIMEOUT, Stage.PROMPTS_LIST)
    quiet = replace(PROXY, direct=None)
    assert told(replace(FETCH, through=silent), quiet) == ["route_failing restart_proxy"]
    assert told(replace(FETCH, through=silent), replace(TIME, through=silent), quiet) == ["proxy_hung restart"]
    unknown = replace(silent, since=None)
    assert "proxy_hung restart" not in told(replace(FETCH, through=unknown), replace(TIME, through=unknown), quiet)


def test_a_silent_proxy_is_blamed_after_the_members_were_looked_at_since_their_routes_fell_silent() -> None:
    silent = seen(Symptom.TIMEOUT, Stage.PROMPTS_LIST)
    before = replace(OK, began_at=Instant(89.0))
    pair = (replace(FETCH, through=silent, direct=before), replace(TIME, through=silent, direct=before))
    assert told(*pair, replace(PROXY, direct=None)) == ["look at fetch", "look at time"]
    hosted = replace(HOSTED, through=silent, started_at=Instant(91.9))
    assert told(pair[0], hosted, replace(PROXY, direct=None))[-1:] == ["look at fetch"]
    assert told(*pair[:1], replace(hosted, started_at=Instant(92.1)), replace(PROXY, direct=None))[-1:] == ["look at git"]


def test_a_door_that_stays_shut_for_a_member_that_is_silent_itself_is_not_held_against_the_proxy() -> None:
    shut = seen(Symptom.TIMEOUT, Stage.OPEN)
    hung = replace(FETCH, direct=bad(Symptom.TIMEOUT), through=shut)
    assert told(hung, replace(TIME, through=answered(80.0)), TBXARK) == ["member_hung restart"]
    refused = replace(hung, direct=bad(Symptom.AUTH))
    assert "proxy_hung restart" in told(refused, replace(TIME, through=answered(80.0)), TBXARK), "this one is alive"


def test_a_proxy_that_answered_when_a_route_began_to_fail_is_not_silent() -> None:
    pair = (replace(FETCH, through=seen(Symptom.CUT, Stage.OPEN)), replace(TIME, through=answered(90.0)))
    assert "proxy_hung restart" not in told(*pair, TBXARK)
    assert "proxy_hung restart" in told(pair[0], replace(TIME, through=answered(89.9)), TBXARK)


def test_a_proxy_whose_own_port_is_silent_is_hung_unless_its_routes_are_answered_since() -> None:
    closed = replace(PROXY, direct=seen(Symptom.REFUSED, Stage.CONNECT))
    assert told(FETCH, TIME, closed) == ["member_failing -"], "its routes are answered: clients do not ask what that check asks"
    assert told(replace(FETCH, through=answered(89.0)), closed) == ["proxy_hung restart"]
    slow = replace(PROXY, direct=seen(Symptom.TIMEOUT, Stage.OPEN))
    assert told(replace(FETCH, through=answered(89.0)), slow) == ["look at fetch"], "a page that is slow says less than a shut port"
    silent = replace(FETCH, through=seen(Symptom.TIMEOUT, Stage.PROMPTS_LIST, since=88.0, began=90.0))
    assert told(silent, slow) == ["proxy_hung restart"]
    assert told(slow) == ["proxy_hung restart"], "there is nobody else to ask"
    idle = replace(TIME, through=answered(90.5))
    shut = (replace(FETCH, through=seen(Symptom.TIMEOUT, Stage.OPEN, since=91.0)), idle)
    assert told(*shut, closed) == ["proxy_hung restart"], "nobody got through since that door was shut"


@pytest.mark.parametrize(
    ("symptom", "expected"),
    [
        (Symptom.UNEXPECTED, "unexpected -"),
        (Symptom.AUTH, "auth -"),
        (Symptom.TLS, "config -"),
        (Symptom.OVERLOADED, "overloaded -"),
        (Symptom.NOT_MOUNTED, "member_failing restart"),
        (Symptom.HTTP_STATUS, "member_failing restart"),
    ],
)
def test_an_own_check_of_the_proxy_that_fails_by_an_answer_is_named_by_it_and_no_restart_cuts_routes_that_are_served(
    symptom: Symptom, expected: str
) -> None:
    proxy = replace(PROXY, direct=seen(symptom, Stage.OPEN))
    assert told(FETCH, HOSTED, proxy) == [f"{expected.split(maxsplit=1)[0]} -"]
    assert one(FETCH, proxy).text.endswith("), yet its routes are answered")
    assert one(FETCH, proxy).hold == "left alone while its routes are answered"
    unseen = replace(FETCH, through=answered(80.0))
    assert told(unseen, proxy) == ([expected] if expected.endswith("-") else ["look at fetch"])
    assert told(replace(unseen, through=seen(Symptom.HTTP_STATUS, Stage.OPEN)), proxy)[0] == expected
    assert told(replace(unseen, through=None), proxy) == [expected]
    assert told(FETCH, replace(proxy, direct=replace(seen(symptom, Stage.OPEN), verdict=Verdict.HEALTHY))) == []
    assert told(FETCH, replace(proxy, direct=replace(OK, verdict=Verdict.UNHEALTHY))) == ["look at proxy"], "well a moment ago"


def test_exhaustion_is_told_only_with_a_failure_that_it_explains() -> None:
    hint = ProxyLogHint("", "exhausted", "too many open files", Instant(90.0))

    def cause(*actors: MemberSnapshot, hint: ProxyLogHint = hint) -> bool:
        return "proxy_exhausted restart" in told(*actors, TIME, PROXY, proxy_log=(hint,), lists_from_cache=True)

    failing = replace(FETCH, through=seen(Symptom.HTTP_STATUS, Stage.OPEN))
    assert cause(failing)
    assert not cause(replace(FETCH, through=seen(Symptom.AUTH, Stage.OPEN))), "that is another trouble"
    assert not cause(replace(failing, direct=bad(Symptom.TIMEOUT))), "the member fails itself"
    assert cause(replace(failing, direct=None, runtime="external"))
    assert not cause(failing, hint=replace(hint, route="fetch"))
    assert not cause(failing, hint=replace(hint, meaning="ready"))
    assert not cause(failing, hint=replace(hint, at=Instant(40.0))), "a minute ago"
    assert cause(failing, hint=replace(hint, at=Instant(40.1)))
    own = found(replace(FETCH, through=None), replace(PROXY, direct=seen(Symptom.REFUSED, Stage.CONNECT)), proxy_log=(hint,))
    assert [one.cause for one in own.found] == ["proxy_exhausted"]


def test_one_silence_right_behind_answers_is_no_silence() -> None:
    """A proxy that refuses what is too much (503) and is late once is loaded, not hung."""
    late = bad(Symptom.TIMEOUT, Stage.OPEN)
    assert late.mute
    assert replace(late, earlier=Symptom.TIMEOUT).mute
    assert not replace(late, earlier=Symptom.OVERLOADED).mute
    assert not replace(late, earlier=Symptom.HTTP_STATUS).mute


def test_a_proxy_that_ends_with_the_first_server_that_does_not_start_names_the_one_it_was_starting() -> None:
    down = replace(PROXY, phase=Phase.BACKOFF, last_exit="exited with code 1: Connection closed")
    away = replace(FETCH, direct=bad(Symptom.REFUSED, Stage.CONNECT))
    log = (ProxyLogHint("fetch", "mounting", "Setting up named server 'fetch': uvx"),)
    told = found(TIME, away, down, mounting="fetch", proxy_log=log).found[0]
    assert told.cause == "proxy_down"
    assert told.text.endswith("it was starting 'fetch', and ends as a whole where one of its servers does not start")
    assert told.look_at.startswith("'fetch' and what it needs")
    assert any(line == "proxy log: Setting up named server 'fetch': uvx" for line in told.evidence)
    assert any("refused" in line for line in told.evidence), "what is seen of that server itself is told too"
    for plain in (found(TIME, away, down), found(TIME, away, down, mounting="unknown")):
        assert "it was starting" not in plain.found[0].text
    ending = replace(down, phase=Phase.STOPPING)
    assert "it was starting" not in found(TIME, FETCH, ending, mounting="fetch").found[0].text
