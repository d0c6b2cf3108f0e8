"""The proxy's own way to a member: when it is another than ours, and what follows from what the proxy itself says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.probe import Symptom, Target
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import USELESS, Finding
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation, ProxyLogHint
from mcpwatch.watchdog.ways import FIRST_LOOK, READ_LATE, elsewhere, no_way
from tests.watchdog.scenes import FETCH, OK, TBXARK, bad, scene

REFUSED = "MCP Ping failed: dial tcp 172.18.0.5:9000: connect: connection refused"
STALE = Finding(
    "stale_session", "proxy", "stale", "route:fetch", rung="restart_proxy", affects=("fetch",), suspect="fetch", look_at="its log"
)
BAD = bad(Symptom.SESSION_LOST)
CUT_OFF = replace(FETCH, started_at=Instant(50.0), changed_at=Instant(60.0), direct=replace(OK, since=Instant(70.0)), through=BAD)
"""It is well since 70 s, and its route is not; the proxy began at 50 s."""


def saying(text: str) -> Observation:
    assert BAD.result is not None
    return replace(BAD, result=replace(BAD.result, message=text))


def line(at: float, text: str = REFUSED, meaning: str = "lost", route: str = "fetch") -> ProxyLogHint:
    return ProxyLogHint(route, meaning, text, Instant(at))


def judged(
    member: MemberSnapshot,
    *log: ProxyLogHint,
    proxy: MemberSnapshot = TBXARK,
    seen: Observation = BAD,
    finding: Finding = STALE,
) -> Finding:
    return no_way(scene(member, proxy, proxy_log=log), member, seen, finding)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (None, "http://h:1/mcp", ""),
        (Target(""), "http://h:1/mcp", ""),
        (Target("http://h:1/mcp"), "", ""),
        (Target("http://h:1/mcp"), "http://h:1/sse", ""),
        (Target("http://h:1/mcp"), "http://h:2/mcp", "http://h:2/mcp"),
        (Target("http://h:1/mcp"), "http://other:1/mcp", "http://other:1/mcp"),
    ],
)
def test_a_proxy_goes_another_way_where_the_host_or_the_port_differs(ours: Target | None, theirs: str, told: str) -> None:
    assert elsewhere(ours, theirs) == told


def test_a_way_that_the_proxy_says_it_does_not_find_now_is_no_reason_to_restart_it() -> None:
    assert judged(CUT_OFF, seen=saying("Post: dial tcp: lookup fetch: no such host")) == replace(
        STALE,
        cause="upstream_unreachable",
        text="'fetch' answers, but the proxy finds no way to it where it is checked too: no such host",
        rung=None,
        look_at="the URL that 'proxy' uses for 'fetch', its name servers, its networks and the firewalls between",
        tries=1,
        suspect="",
    )


def test_a_gateway_that_waits_for_a_slow_name_server_is_not_asked_to_connect_again() -> None:
    words = "member 'fetch' is down: the name fetch.lan does not resolve within 5 s: its name server is slow, or does not answer"
    found = judged(CUT_OFF, seen=saying(words), finding=replace(STALE, cause="route_failing", rung="reconnect"))
    assert (found.cause, found.rung) == ("upstream_unreachable", None)


def test_a_line_of_the_proxys_log_by_our_own_url_allows_one_restart_and_by_another_none() -> None:
    ours = judged(CUT_OFF, line(80.0))
    assert (ours.cause, ours.rung, ours.tries, ours.suspect) == ("upstream_unreachable", "restart_proxy", 1, "")
    assert ours.text.endswith(f"where it is checked too: {REFUSED}")
    assert USELESS > 1, "any other finding may be tried more often"
    theirs = judged(replace(CUT_OFF, proxy_url="http://inner:9000/sse"), line(80.0))
    assert (theirs.cause, theirs.rung) == ("upstream_unreachable", None)
    assert "no way to it at http://inner:9000/sse, which differs from where it is checked: " in theirs.text


@pytest.mark.parametrize("cause", ["not_mounted", "stale_session", "route_failing"])
def test_it_is_asked_of_causes_that_a_lost_way_can_look_like(cause: str) -> None:
    finding = replace(STALE, cause=cause)
    assert judged(CUT_OFF, line(80.0), finding=finding).cause == "upstream_unreachable"
    assert judged(CUT_OFF, line(80.0, "context deadline exceeded"), finding=finding) is finding


@pytest.mark.parametrize(
    "words",
    [
        'Failed to add client: Get "http://127.0.0.1:1/sse": read tcp 127.0.0.1:2->127.0.0.1:1: read: connection reset by peer',
        'Failed to add client: Get "http://127.0.0.1:1/sse": write tcp 127.0.0.1:2->127.0.0.1:1: write: broken pipe',
        'Failed to add client: Get "http://127.0.0.1:1/sse": EOF',
        'Failed to add client: Get "http://127.0.0.1:1/sse": unexpected EOF',
        "Error: read ECONNRESET",
    ],
)
def test_a_way_that_closes_each_connection_is_no_way_for_one_that_connects_at_its_start(words: str) -> None:
    begun = judged(CUT_OFF, line(80.0, words, "failed"), finding=replace(STALE, cause="not_mounted"))
    assert (begun.cause, begun.rung, begun.tries) == ("upstream_unreachable", "restart_proxy", 1)
    other = replace(CUT_OFF, proxy_url="http://127.0.0.1:1/sse")
    assert judged(other, line(80.0, words, "failed")).rung is None
    assert judged(CUT_OFF, line(80.0, words, "lost")) is STALE, "so does a server that starts anew"
    assert judged(CUT_OFF, line(80.0, "Failed to add client: no EOF of it", "failed")).cause == "stale_session"


def test_another_cause_stays_and_so_does_one_of_a_member_that_is_itself_not_well() -> None:
    auth = replace(STALE, cause="auth")
    assert judged(CUT_OFF, line(80.0), finding=auth) is auth
    assert judged(replace(CUT_OFF, direct=None), line(80.0)) is STALE
    assert judged(replace(CUT_OFF, direct=replace(OK, failures=1)), line(80.0)) is STALE
    unseen = judged(CUT_OFF, line(80.0), seen=Observation())
    assert unseen.cause == "upstream_unreachable", "the log says it without a probe"
    assert judged(CUT_OFF, seen=Observation()) is STALE


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (line(80.0), True),
        (line(80.0, meaning="failed"), True),
        (line(80.0, meaning="mounted"), False),
        (line(80.0, "context deadline exceeded"), False),
        (line(80.0, route="git"), False),
    ],
)
def test_only_a_line_of_the_routes_own_failure_to_connect_counts(hint: ProxyLogHint, told: bool) -> None:
    assert (judged(CUT_OFF, hint).cause == "upstream_unreachable") is told


@pytest.mark.parametrize(
    ("began", "read", "told"),
    [
        (50.0, 70.0 + READ_LATE, True),
        (50.0, 70.0 + READ_LATE - 0.1, False),
        (70.0, 70.0, True),
        (70.0, 69.9, False),
        (None, 70.0, False),
        (None, 70.5, True),
    ],
)
def test_a_line_counts_when_it_was_written_after_the_member_was_well(began: float | None, read: float, told: bool) -> None:
    proxy = replace(TBXARK, started_at=None if began is None else Instant(began))
    assert (judged(CUT_OFF, line(read), proxy=proxy).cause == "upstream_unreachable") is told


@pytest.mark.parametrize(
    ("member", "since"),
    [
        (CUT_OFF, 70.0),
        (replace(CUT_OFF, started_at=Instant(75.0)), 75.0),
        (replace(CUT_OFF, changed_at=Instant(77.0)), 77.0),
        (replace(CUT_OFF, started_at=None, changed_at=None), 70.0),
        (replace(CUT_OFF, started_at=None, direct=replace(OK, since=Instant(70.0), unbroken=True)), 70.0 - FIRST_LOOK),
        (replace(CUT_OFF, direct=replace(OK, since=Instant(70.0), unbroken=True)), 70.0),
    ],
)
def test_a_member_is_well_since_it_answers_and_last_changed_or_since_before_the_first_look(
    member: MemberSnapshot, since: float
) -> None:
    early = replace(TBXARK, started_at=Instant(10.0))
    assert judged(member, line(since + READ_LATE - 0.01), proxy=early).cause == "stale_session"
    assert judged(member, line(since + READ_LATE), proxy=early).cause == "upstream_unreachable"


def test_a_line_says_nothing_while_nobody_knows_since_when_the_member_is_well() -> None:
    assert judged(replace(CUT_OFF, direct=replace(OK, since=None)), line(99.0)) is STALE
