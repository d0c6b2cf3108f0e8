"""A member is well and its route is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, ServerInfo, Stage, Symptom, Tool, Transport
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import Finding, Findings, LookAgain
from mcpwatch.watchdog.ladder import Step, steps
from mcpwatch.watchdog.repair import decide_repairs
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.vantages import since_change
from tests.watchdog.scenes import FETCH, OK, PROVED, PROXY, REBORN, TBXARK, TIME, bad, causes, named, one, scene


def test_a_hung_server_inside_a_foreign_proxy_is_told_from_a_stale_session() -> None:
    inside = replace(FETCH, runtime="external", direct=None, through=bad(Symptom.TIMEOUT, Stage.SAFE_CALL))
    assert named(inside, replace(TIME, through=PROVED), TBXARK) == [("member_hung", "restart_proxy", "")]


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


def test_a_proxy_whose_name_was_found_before_and_does_not_resolve_is_not_restarted_for_that() -> None:
    lost = replace(FETCH, through=replace(bad(Symptom.UNRESOLVED, Stage.RESOLVE), succeeded=True))
    for traits in ({}, {"nudges": True}, {"holds_sessions": True}):
        assert named(lost, TBXARK, **traits) == [("unreachable", None, "")]


def test_a_proxy_that_others_run_is_diagnosed_but_not_touched() -> None:
    lost = replace(REBORN, through=bad(Symptom.SESSION_LOST))
    assert named(lost, replace(TBXARK, runtime="external")) == [("stale_session", None, "")]


def test_a_server_that_lists_less_than_before_on_both_sides_changed_itself() -> None:
    def listing(seen: Observation, *names: str) -> Observation:
        assert seen.result is not None
        return replace(seen, result=replace(seen.result, tools=tuple(Tool(name, name) for name in names)))

    fewer = listing(bad(Symptom.MISSING_TOOLS), "a")
    assert causes(replace(FETCH, direct=listing(OK, "a"), through=fewer), PROXY) == [("drift", "fetch", None)]
    assert causes(replace(FETCH, direct=listing(OK, "a", "b"), through=fewer), PROXY) == [("empty_tools", "proxy", "restart_proxy")]
    assert causes(replace(FETCH, direct=bad(Symptom.DRIFT)), PROXY) == [("drift", "fetch", None)]


def test_lists_prove_nothing_against_a_route_whose_calls_fail() -> None:
    lost = replace(FETCH, through=bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL))
    assert diagnose(scene(lost, TBXARK)).look_again == (LookAgain("fetch", deep=True),)
    called = replace(lost, direct_call=PROVED)
    assert named(called, TBXARK) == [("stale_session", "restart_proxy", "")]
    assert causes(replace(lost, direct=bad(Symptom.UPSTREAM_DOWN, Stage.SAFE_CALL)), PROXY)[0] == ("child_died", "fetch", "restart")


def test_fewer_tools_through_the_proxy_than_direct_are_the_proxys_doing() -> None:
    assert causes(replace(FETCH, through=bad(Symptom.MISSING_TOOLS)), PROXY) == [("empty_tools", "proxy", "restart_proxy")]


LOST = replace(FETCH, route="web", through=bad(Symptom.SESSION_LOST))
INSIDE = replace(FETCH, name="in", route="web", runtime="external", direct=None, started_at=None)
SERVED = replace(TIME, through=replace(OK, since=Instant(60.0)))
"""Another route, well since the proxy started."""


def told(*actors: MemberSnapshot, **changes: object) -> list[str]:
    """Causes with their rungs, and who is to be looked at, behind a TBXark."""
    findings = diagnose(scene(*actors, **changes))
    causes = [f"{one.cause} {one.subject} {one.rung or '-'}" for one in findings.found]
    return [*causes, *(f"look at {one.member}{' by calls' if one.deep else ''}" for one in findings.look_again)]


def test_a_finding_of_a_route_tells_what_it_rests_on_and_where_a_person_should_look() -> None:
    (finding,) = diagnose(scene(LOST, SERVED, TBXARK)).found
    assert (finding.about, finding.affects, finding.seen_at, finding.seen_until) == (
        "route:web",
        ("web",),
        Instant(99.0),
        Instant(99.5),
    )
    assert finding.look_at == "the log of 'proxy' and how it reaches 'fetch'; does it, or what is between, end sessions?"


def test_two_vantages_are_compared_only_when_both_were_seen_after_the_last_change_of_either_side() -> None:
    at = Instant
    after = replace(OK, began_at=at(99.2))
    seen = bad(Symptom.SESSION_LOST)
    cases: list[tuple[dict[str, object], dict[str, object], bool]] = [
        ({}, {}, True),
        ({"started_at": at(99.0), "direct": after}, {}, True),
        ({"started_at": at(99.1), "direct": after}, {}, False),
        ({"changed_at": at(99.1), "direct": after}, {}, False),
        ({}, {"started_at": at(99.1)}, False),
        ({}, {"changed_at": at(99.1)}, False),
        ({"direct": replace(after, since=at(99.1))}, {}, False),
        ({"direct": replace(OK, began_at=at(95.0))}, {}, True),
        ({"direct": replace(OK, began_at=at(94.9))}, {}, False),
        ({"direct": replace(OK, began_at=None)}, {}, False),
        ({"direct": replace(OK, failures=1)}, {}, False),
        ({"through": replace(seen, began_at=None)}, {}, False),
        ({"through": replace(seen, since=None)}, {}, False),
        ({"started_at": None, "direct": replace(OK, since=None)}, {"started_at": None}, True),
        ({"started_at": None, "direct": replace(OK, since=None, began_at=at(94.0))}, {"started_at": None}, False),
    ]
    for member, proxy, comparable in cases:
        lost, front = replace(LOST, **member), replace(TBXARK, **proxy)  # pyright: ignore[reportArgumentType]
        expected = ["stale_session proxy restart_proxy"] if comparable else ["look at fetch"]
        assert told(lost, SERVED, front) == expected, (member, proxy)
    assert since_change(scene(FETCH, TBXARK), FETCH, OK), "a list is enough where no call is asked for"
    alone = replace(LOST, alone="bye", direct=bad(Symptom.CUT))
    assert since_change(scene(alone, TBXARK), alone, seen), "it is looked at through the proxy only"


@pytest.mark.parametrize(
    ("symptom", "stage", "behind_tbxark", "behind_a_gateway"),
    [
        (Symptom.AUTH, Stage.OPEN, "auth proxy -", "auth proxy -"),
        (Symptom.UNGUARDED, Stage.OPEN, "auth proxy -", "auth proxy -"),
        (Symptom.TLS, Stage.CONNECT, "config proxy -", "config proxy -"),
        (Symptom.BUFFERED, Stage.OPEN, "config proxy -", "config proxy -"),
        (Symptom.BAD_ENDPOINT, Stage.ENDPOINT, "wrong_base_url proxy -", "wrong_base_url proxy -"),
        (Symptom.OVERLOADED, Stage.OPEN, "overloaded proxy -", "overloaded proxy -"),
        (Symptom.WRONG_SERVER, Stage.INITIALIZE, "wrong_server fetch -", "wrong_server fetch -"),
        (Symptom.DRIFT, Stage.TOOLS_LIST, "drift fetch -", "drift fetch -"),
        (Symptom.EMPTY_TOOLS, Stage.TOOLS_LIST, "empty_tools proxy restart_proxy", "empty_tools proxy restart_proxy"),
        (Symptom.UPSTREAM_DOWN, Stage.INITIALIZE, "stale_session proxy restart_proxy", "route_failing proxy reconnect"),
        (Symptom.BAD_REPLY, Stage.INITIALIZE, "stale_session proxy restart_proxy", "route_failing proxy reconnect"),
    ],
)
def test_what_a_route_of_a_member_that_is_well_says_is_named_and_only_what_the_proxy_lost_is_repaired(
    symptom: Symptom, stage: Stage, behind_tbxark: str, behind_a_gateway: str
) -> None:
    failing = replace(FETCH, route="web", through=bad(symptom, stage))
    assert told(failing, SERVED, TBXARK) == [behind_tbxark]
    gateway = {"holds_sessions": False, "mounts_late": True, "lists_from_cache": False, "reconnects": True, "nudges": True}
    assert told(failing, SERVED, TBXARK, **gateway) == [behind_a_gateway]
    assert told(failing, SERVED, replace(TBXARK, runtime="external"))[0].endswith(" -"), "others run this proxy"


def test_what_a_member_says_itself_through_its_route_is_its_own_cause() -> None:
    words = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.INITIALIZE, "license expired")
    finding = one(replace(FETCH, route="web", through=replace(bad(Symptom.RPC_ERROR), result=words)), SERVED, TBXARK)
    assert (finding.cause, finding.subject, finding.rung) == ("licence", "fetch", None)
    assert finding.text == "through 'web' it refuses to work: license expired"
    other = one(replace(FETCH, route="web", through=bad(Symptom.AUTH)), SERVED, TBXARK)
    assert other.text == "the proxy's tokens are wrong for 'web' (auth)"
    assert one(replace(LOST, through=bad(Symptom.OVERLOADED)), SERVED, TBXARK).text.endswith("for now: said so")


@pytest.mark.parametrize(
    ("symptom", "stage", "expected"),
    [
        (Symptom.TOOL_ERROR, Stage.CANARY, "unexpected in -"),
        (Symptom.UNEXPECTED, Stage.CANARY, "unexpected in -"),
        (Symptom.RPC_ERROR, Stage.INITIALIZE, "child_died proxy restart_proxy"),
        (Symptom.TIMEOUT, Stage.SAFE_CALL, "member_hung proxy restart_proxy"),
        (Symptom.MISSING_TOOLS, Stage.TOOLS_LIST, "drift in -"),
        (Symptom.EMPTY_TOOLS, Stage.TOOLS_LIST, "child_died proxy restart_proxy"),
        (Symptom.BAD_REPLY, Stage.INITIALIZE, "stale_session proxy restart_proxy"),
    ],
)
def test_a_server_inside_the_proxy_can_be_started_again_by_the_proxy_alone(symptom: Symptom, stage: Stage, expected: str) -> None:
    assert told(replace(INSIDE, through=bad(symptom, stage)), SERVED, TBXARK) == [expected]


def test_a_canary_that_a_server_inside_the_proxy_does_not_take_is_wrong_itself() -> None:
    refused = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.CANARY, "unknown tool: pnig", rpc_code=-32602)
    inside = replace(INSIDE, through=replace(bad(Symptom.RPC_ERROR), result=refused))
    finding = one(inside, SERVED, TBXARK)
    assert (finding.cause, finding.subject, finding.rung) == ("config", "in", None)
    assert finding.text == "its canary is not what it takes: unknown tool: pnig"


def test_a_canary_that_worked_is_not_wrong_because_the_server_knows_the_proxys_session_no_more() -> None:
    unready = ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, Stage.CANARY, "Invalid request parameters", rpc_code=-32602)
    never = replace(bad(Symptom.RPC_ERROR), result=unready)
    assert one(replace(INSIDE, through=never), SERVED, TBXARK).cause == "config", "it never worked"
    finding = one(replace(INSIDE, through=replace(never, succeeded=True)), SERVED, TBXARK)
    assert (finding.cause, finding.rung) == ("child_died", "restart_proxy")


def test_a_route_that_shows_fewer_tools_than_its_member_is_named() -> None:
    fewer = one(replace(FETCH, route="web", through=bad(Symptom.MISSING_TOOLS)), SERVED, TBXARK)
    assert fewer.text == "the proxy shows fewer tools of 'web' than the member lists"


def test_a_tool_of_a_server_inside_the_proxy_that_fails_without_a_word_is_the_servers_end() -> None:
    wordless = ProbeResult(Outcome.FAILURE, Symptom.TOOL_ERROR, Stage.CANARY, "")
    inside = replace(INSIDE, through=replace(bad(Symptom.TOOL_ERROR), result=wordless))
    assert told(inside, SERVED, TBXARK) == ["child_died proxy restart_proxy"]


def test_a_proxy_that_neither_holds_sessions_nor_can_be_nudged_is_restarted_for_a_route_that_fails() -> None:
    finding = one(replace(FETCH, route="web", through=bad(Symptom.BAD_REPLY)), SERVED, TBXARK)
    assert (finding.cause, finding.subject, finding.rung) == ("route_failing", "proxy", "restart_proxy")
    assert finding.text == "'fetch' answers direct, not through the proxy (bad_reply)"


def test_a_gateway_is_asked_to_connect_again_and_suspected_only_where_it_does_not_say_what_is_wrong() -> None:
    honest = one(replace(LOST, through=bad(Symptom.UPSTREAM_DOWN)), SERVED, PROXY, nudges=True)
    assert (honest.rung, honest.suspect) == ("reconnect", "")
    assert honest.text == "the proxy has not reached 'fetch' again: said so"
    silent = one(replace(LOST, through=bad(Symptom.BAD_REPLY)), SERVED, PROXY, nudges=True)
    assert (silent.rung, silent.suspect) == ("reconnect", "proxy")
    assert silent.text == "'fetch' answers direct, not through the proxy (bad_reply)"


def test_a_route_that_is_not_there_is_told_with_what_the_proxys_log_said_of_it() -> None:
    lost = replace(LOST, through=replace(bad(Symptom.NOT_MOUNTED), succeeded=True))
    plain = "the proxy has no route 'web'"
    for meaning, late, text in (
        ("failed", False, "the proxy could not reach 'fetch' when it started, and never tries again"),
        ("connecting", False, f"{plain}: it began to connect to 'fetch' and did not finish within 60s"),
        ("connected", False, plain),
        ("", False, f"{plain}: it never said that it connected to 'fetch'"),
        ("", True, plain),
    ):
        log = (ProxyLogHint("web", meaning, "x"),) if meaning else ()
        (finding,) = diagnose(scene(lost, SERVED, TBXARK, proxy_log=log, mounts_late=late)).found
        assert (finding.cause, finding.text) == ("not_mounted", text)
        assert (finding.tries, "vantages: [route]" in finding.look_at) == ((1, True) if meaning == "connecting" else (2, False))


def test_no_restart_answers_a_server_that_refused_the_proxy_when_it_started() -> None:
    def found_by(words: str, meaning: str, at: float, member: MemberSnapshot = INSIDE) -> Finding:
        log = (ProxyLogHint("web", meaning, f"<web> Failed to add client to server: {words}", Instant(at)),)
        lost = replace(member, through=bad(Symptom.NOT_MOUNTED))
        return one(lost, SERVED, TBXARK, proxy_log=log, mounts_late=False)

    def told(words: str, meaning: str = "failed", at: float = 60.0) -> tuple[str, str, str | None]:
        finding = found_by(words, meaning, at)
        return finding.cause, finding.subject, finding.rung

    assert told("request failed with status 401: Unauthorized") == ("auth", "in", None)
    assert told("license expired") == ("licence", "in", None)
    assert told("connection refused") == ("not_mounted", "proxy", "restart_proxy"), "that is the server itself"
    assert told("exit status 1") == ("not_mounted", "proxy", "restart_proxy")
    assert told("license expired", "connecting")[0] == "starting"
    busy = found_by("429 too many requests", "failed", 60.0)
    assert (busy.cause, busy.rung, busy.until, busy.hold) == ("overloaded", None, 360.0, "waiting until it takes requests again")
    assert told("429 too many requests", at=-200.0) == ("not_mounted", "proxy", "restart_proxy"), "it may be free again"
    assert told("license expired", at=-200.0) == ("licence", "in", None)
    for words in (
        "Post http://licence-server:9000/mcp: connection refused",
        "dial tcp: lookup billing.internal on 127.0.0.11:53: no such host",
        'client=web err="dial tcp quota:9000: i/o timeout"',
    ):
        assert told(words)[0] == "not_mounted", "a name says nothing"
    billing = replace(INSIDE, name="billing", route="web")
    assert found_by("client=billing err=EOF", "failed", 60.0, billing).cause == "not_mounted"
    own = replace(FETCH, route="web")
    assert found_by("license expired", "failed", 60.0, own).cause == "not_mounted", "that one answers direct by now"


def test_a_route_that_is_still_being_connected_or_whose_server_still_starts_is_waited_for() -> None:
    young = replace(TBXARK, started_at=Instant(95.0))
    once = replace(bad(Symptom.TIMEOUT, Stage.TOOLS_LIST), verdict=Verdict.UNKNOWN, failures=1)
    (finding,) = diagnose(scene(replace(INSIDE, through=once), SERVED, young)).found
    assert (finding.cause, finding.subject, finding.until, finding.rung) == ("starting", "in", Instant(155.0), None)
    assert finding.text == "'in' is still starting; it is given 55s more (start_grace 60s)"
    (cold,) = diagnose(scene(replace(INSIDE, through=once, child_runs=True), SERVED, young)).found
    assert cold.text == "'in' is still starting; it is given 595s more (as its process lives)"
    assert told(replace(INSIDE, through=replace(once, succeeded=True)), SERVED, young) == []
    assert told(replace(INSIDE, through=replace(once, failures=0)), SERVED, young) == []
    called = replace(once, result=bad(Symptom.TIMEOUT, Stage.SAFE_CALL).result)
    assert told(replace(INSIDE, through=called), SERVED, young) == [], "it lists already"
    assert told(replace(INSIDE, through=replace(once, result=bad(Symptom.AUTH).result)), SERVED, young) == []
    assert told(replace(FETCH, through=once), SERVED, young) == [], "its own start is seen from the direct vantage"
    assert told(replace(FETCH, through=replace(once, result=bad(Symptom.NOT_MOUNTED).result)), SERVED, young) == [
        "starting fetch -"
    ]


def test_a_restart_of_the_proxy_waits_for_its_budget_and_for_members_that_are_coming_up() -> None:
    def held(*others: MemberSnapshot, **proxy: object) -> tuple[str, float | None]:
        (finding, *_) = diagnose(scene(LOST, *others, replace(TBXARK, **proxy))).found  # pyright: ignore[reportArgumentType]
        return finding.hold, finding.until

    assert held() == ("", None)
    assert held(budget_at=Instant(130.0)) == (
        "it was restarted too often, and still serves others; its restart budget allows the next in 30s",
        130.0,
    )
    assert held(budget_at=Instant(100.0)) == ("", None)
    coming = replace(TIME, through=None, phase=Phase.STARTING, started_at=Instant(95.0))
    also = replace(coming, name="also", started_at=Instant(90.0))
    assert held(coming, also) == ("waiting for time, also, so that one restart serves all", 120.0)
    assert held(replace(coming, started_at=Instant(70.0))) == ("", None)
    assert held(replace(coming, started_at=Instant(70.1)))[1] == pytest.approx(100.1)
    for changes in ({"route": None}, {"want": Want.DOWN}, {"runtime": "hosted"}, {"runtime": "external"}):
        assert held(replace(coming, **changes)) == ("", None)  # pyright: ignore[reportArgumentType]
    for phase in (Phase.STOPPING, Phase.STARTING):  # as an operator asked; its former life began long ago
        again = replace(coming, phase=phase, started_at=Instant(5.0), changed_at=Instant(99.9))
        assert held(again) == ("waiting for time, so that one restart serves all", pytest.approx(129.9))
        assert held(replace(again, want=Want.DOWN)) == ("", None)
    ended = replace(coming, phase=Phase.BACKOFF, changed_at=Instant(98.0), failures=1)
    assert held(ended) == ("waiting for time, so that one restart serves all", 128.0)
    assert held(replace(ended, failures=2)) == ("", None), "it dies again and again"
    assert held(replace(ended, phase=Phase.FAILED)) == ("", None)


def test_a_proxy_that_reconnects_by_itself_is_held_no_longer_than_its_grace_after_the_last_change() -> None:
    def hold(at: float) -> str:
        return (
            diagnose(scene(LOST, SERVED, replace(TBXARK, started_at=Instant(60.0)), reconnects=True, at=Instant(at))).found[0].hold
        )

    assert hold(104.9) == "this proxy reconnects by itself; it is given 0s more"
    assert hold(105.0) == ""
    timeless = replace(LOST, started_at=None, direct=replace(OK, since=None))
    (finding,) = diagnose(scene(timeless, replace(TBXARK, started_at=None), reconnects=True)).found
    assert finding.hold == "", "nobody knows of a change"


def test_the_member_is_the_next_suspect_of_a_stale_session_unless_it_was_proved_by_a_call() -> None:
    def suspect(**changes: object) -> str:
        return diagnose(scene(replace(LOST, **changes), SERVED, TBXARK)).found[0].suspect  # pyright: ignore[reportArgumentType]

    assert suspect() == "fetch"
    assert suspect(direct_call=PROVED) == ""
    assert suspect(direct_call=OK) == "fetch"
    assert suspect(runtime="external") == ""


def test_a_session_that_may_be_with_a_former_life_is_told_by_that() -> None:
    def evidence(started: float) -> bool:
        (finding,) = diagnose(scene(replace(LOST, started_at=Instant(started)), SERVED, TBXARK)).found
        return "the member started after the proxy" in finding.evidence

    assert evidence(50.1)
    assert not evidence(50.0)


@pytest.mark.parametrize(
    ("changes", "member", "expected"),
    [
        ({}, {}, ["stale_session proxy restart_proxy"]),
        ({"lists_from_cache": False}, {}, []),
        ({"holds_sessions": False}, {}, []),
        ({}, {"direct": replace(OK, verdict=Verdict.UNKNOWN)}, []),
        ({}, {"through": replace(OK, began_at=Instant(89.0))}, ["look at fetch"]),
    ],
)
def test_a_route_that_answers_from_memory_proves_nothing_after_its_member_started_again(
    changes: dict[str, object], member: dict[str, object], expected: list[str]
) -> None:
    reborn = replace(REBORN, **member)  # pyright: ignore[reportArgumentType]
    assert told(reborn, SERVED, TBXARK, **changes) == expected


def test_what_is_known_of_an_answer_from_memory_is_in_the_evidence_and_foreign_proxies_are_left_alone() -> None:
    (finding,) = diagnose(scene(REBORN, replace(TBXARK, runtime="external"))).found
    assert finding.rung is None
    assert finding.evidence[-1] == "the route still answers: from the proxy's memory, which proves nothing"
    assert finding.evidence[-2] == "the member started after the proxy"


def test_a_route_that_fails_and_recovers_again_and_again_is_told_with_its_rate() -> None:
    shaky = replace(FETCH, route="web", through=replace(OK, verdict=Verdict.DEGRADED, rate=0.25))
    finding = one(shaky, TBXARK)
    assert (finding.cause, finding.subject, finding.rung) == ("flapping", "fetch", None)
    assert finding.text == "route 'web' fails and recovers again and again: 25% of its latest probes failed"


def test_what_was_well_a_moment_ago_is_looked_at_again_though_the_verdict_is_not_yet_its() -> None:
    recovering = replace(OK, verdict=Verdict.UNHEALTHY)
    assert told(replace(FETCH, through=recovering), SERVED, TBXARK) == ["look at fetch"]
    assert told(replace(FETCH, direct=recovering), SERVED, TBXARK) == ["look at fetch"]
    assert told(FETCH, SERVED, replace(TBXARK, direct=recovering)) == ["look at proxy"]


@pytest.mark.parametrize(("read", "cause"), [(80.1, "stale_session"), (85.0, "upstream_unreachable")])
def test_a_line_that_may_have_been_written_before_the_member_was_well_keeps_no_repair_away(read: float, cause: str) -> None:
    member = replace(REBORN, through=bad(Symptom.SESSION_LOST), proxy_url="http://inner:9000/sse")
    assert member.direct is not None
    member = replace(member, started_at=Instant(80.0), changed_at=Instant(80.0), direct=replace(member.direct, since=Instant(80.0)))
    line = ProxyLogHint("fetch", "lost", "MCP Ping failed: dial tcp 172.18.0.5:9000: connect: connection refused", Instant(read))
    ((found, rung, _),) = named(member, TBXARK, proxy_log=(line,))
    assert (found, rung) == (cause, "restart_proxy" if cause == "stale_session" else None)
    later = replace(TBXARK, started_at=Instant(80.05))  # all that it says was said since
    ((found, rung, _),) = named(member, later, proxy_log=(line,))
    assert (found, rung) == ("upstream_unreachable", None)


@pytest.mark.parametrize(
    "symptom", [Symptom.TIMEOUT, Symptom.NOT_MOUNTED, Symptom.UPSTREAM_DOWN, Symptom.RPC_ERROR, Symptom.EMPTY_TOOLS]
)
def test_no_proxy_is_blamed_where_the_members_answers_have_a_form_that_official_clients_refuse(symptom: Symptom) -> None:
    odd = ProbeResult(Outcome.DEGRADED, Symptom.INCOMPATIBLE, Stage.INITIALIZE, "the answer to initialize is a JSON array")
    member = replace(FETCH, start_grace=0, direct=replace(OK, verdict=Verdict.DEGRADED, result=odd), through=bad(symptom))
    ((cause, rung, hold),) = named(member, TBXARK)
    assert (cause, rung, hold) == ("config", None, "")
    served = replace(member, through=replace(bad(symptom), succeeded=True))
    assert named(served, TBXARK) == [("config", None, "")], "it may have begun to answer so while it ran"


@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.NOT_MOUNTED, Symptom.UPSTREAM_DOWN, Symptom.RPC_ERROR])
@pytest.mark.parametrize(
    ("spoken", "asked", "fits"),
    [
        ("sse", "sse", True),
        ("http", "http", True),
        ("stateless", "http", True),
        ("sse", "http", False),
        ("http", "sse", False),
        ("stateless", "sse", False),
        ("sse", "", True),
        ("stdio", "http", True),
    ],
)
def test_a_proxy_that_asks_over_another_wire_than_the_member_speaks_is_not_restarted_for_it(
    symptom: Symptom, spoken: Transport, asked: str, fits: bool
) -> None:
    told = ProbeResult(Outcome.SUCCESS, server=ServerInfo("fetch", wire=spoken))
    member = replace(FETCH, start_grace=0, direct=replace(OK, result=told), through=bad(symptom), proxy_wire=asked)
    ((cause, rung, _),) = named(member, TBXARK)
    assert (cause == "config", rung is None) == (not fits, not fits)
    if not fits:
        text = diagnose(scene(member, TBXARK)).found[0].text
        assert "and the proxy asks it over" in text
        assert text.endswith("write its `transport`")


def forgetting(stage: Stage = Stage.SAFE_CALL, symptom: Symptom = Symptom.STALE_SESSION) -> Observation:
    seen = bad(symptom, stage)
    assert seen.result is not None
    return replace(seen, failures=9, deep=True, result=replace(seen.result, said="Session not found", message="calling t failed"))


def test_a_tool_that_says_the_same_when_it_is_asked_itself_gets_no_proxy_restarted() -> None:
    assert PROVED.result is not None
    same = replace(PROVED, result=replace(PROVED.result, said="Session not found"))
    kept = replace(TIME, direct=same, direct_call=same, through=forgetting())
    assert named(kept, TBXARK) == [("unexpected", None, "")]
    other = replace(PROVED, result=replace(PROVED.result, said="path is required"))
    lost = replace(TIME, direct=other, direct_call=other, through=forgetting())
    assert named(lost, TBXARK)[0][:2] == ("stale_session", "restart_proxy")
    silent = replace(TIME, direct=PROVED, direct_call=PROVED, through=forgetting())
    assert named(silent, TBXARK)[0][:2] == ("stale_session", "restart_proxy")


def test_a_server_inside_the_proxy_has_no_session_to_lose() -> None:
    inside = replace(TIME, runtime="external", direct=None)
    for symptom in (Symptom.STALE_SESSION, Symptom.RPC_ERROR):
        assert named(replace(inside, through=forgetting(symptom=symptom)), TBXARK) == [("unexpected", None, "")]
    listed = replace(inside, through=forgetting(Stage.TOOLS_LIST))
    assert named(listed, TBXARK)[0][:2] == ("child_died", "restart_proxy"), "all of it is lost, not a session of one tool"
    elsewhere = forgetting()
    assert elsewhere.result is not None
    gone = replace(inside, through=replace(elsewhere, result=replace(elsewhere.result, said="transport closed")))
    assert named(gone, TBXARK)[0][:2] == ("child_died", "restart_proxy")


def test_a_canary_that_is_told_of_a_lost_session_of_the_tool_restarts_no_member() -> None:
    canary = forgetting(Stage.CANARY, Symptom.RPC_ERROR)
    assert causes(replace(FETCH, direct=canary), PROXY) == [("unexpected", "fetch", None)]
    assert causes(replace(FETCH, runtime="hosted", direct=None, through=canary), PROXY) == [("unexpected", "fetch", None)]
    listing = forgetting(Stage.TOOLS_LIST, Symptom.RPC_ERROR)
    assert causes(replace(FETCH, direct=listing, through=None), PROXY) == [("member_failing", "fetch", "restart")]


def test_a_gateway_that_lost_one_route_reads_its_file_again_before_it_is_restarted() -> None:
    lost = replace(TIME, through=replace(bad(Symptom.NOT_MOUNTED, Stage.OPEN), failures=9))
    found = one(lost, PROXY, nudges=True, at=Instant(1000.0))
    assert (found.cause, found.rung, found.suspect) == ("not_mounted", "reconnect", "proxy")
    assert steps(found) == (Step("reconnect", "proxy"), Step("restart_proxy", "proxy"))
    (shown,) = decide_repairs(Findings((replace(found, seen_until=None),)), (), Instant(1000.0)).shown
    assert shown.next == "have the proxy read its configuration again"
    hosted = replace(lost, runtime="hosted", direct=None)
    found = one(hosted, PROXY, nudges=True, at=Instant(1000.0))
    assert (found.cause, found.rung, found.suspect) == ("not_mounted", "reconnect", "time")
    assert found.text == "the proxy that hosts it has no route to it: said so"
    foreign = one(lost, PROXY, at=Instant(1000.0))
    assert foreign.rung == "restart_proxy", "one that cannot be asked to"


@pytest.mark.parametrize("lived", [2.0, 29.0, 31.0])
@pytest.mark.parametrize("ends", [0, 2, 3, 5])
def test_nobody_else_is_cut_for_a_member_that_ended_again_and_again_before_it_has_lived_for_a_while(
    ends: int, lived: float
) -> None:
    reborn = replace(FETCH, started_at=Instant(100.0 - lived), failures=ends, through=bad(Symptom.STALE_SESSION))
    (found,) = diagnose(scene(reborn, TIME, PROXY)).found
    waits = ends >= 3 and lived < 30.0
    assert (found.cause, found.rung, bool(found.hold)) == ("stale_session", "restart_proxy", waits)
    assert found.until == (Instant(130.0 - lived) if waits else None)


@pytest.mark.parametrize("code", [-32602, -32601])
@pytest.mark.parametrize("symptom", [Symptom.RPC_ERROR, Symptom.TOOL_ERROR])
@pytest.mark.parametrize("nudges", [False, True])
@pytest.mark.parametrize("succeeded", [False, True])
def test_a_canary_that_the_route_does_not_show_is_configuration_and_no_trouble_of_the_proxy(
    code: int, symptom: Symptom, nudges: bool, succeeded: bool
) -> None:
    message = "tools/call was answered with an error: Unknown tool: echo"
    hidden = ProbeResult(Outcome.FAILURE, symptom, Stage.CANARY, message, rpc_code=code)
    seen = replace(bad(symptom, Stage.CANARY), result=hidden, succeeded=succeeded)
    for direct in (OK, PROVED):
        found = one(replace(FETCH, direct=direct, direct_call=PROVED, through=seen), TIME, PROXY, nudges=nudges)
        assert (found.cause, found.subject, found.rung) == ("config", "fetch", None)
        assert "Unknown tool: echo" in found.text
