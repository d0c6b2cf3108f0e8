"""What histories mean: the verdict of a route, and which servers list from their memory."""

from __future__ import annotations

import pytest

from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.probe import Canary, Outcome, ProbeResult, ServerInfo, Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.watchdog.evaluate import deepened, lists_from_cache, route_verdict
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories

RUNNING = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=1)


def served(verdict: Verdict = Verdict.HEALTHY) -> Histories:
    histories = Histories()
    histories[CheckKey("time", "mcp", "route")] = CheckHistory(verdict=verdict)
    return histories


@pytest.mark.parametrize(
    ("member", "proxy", "verdict"),
    [
        (RUNNING, RUNNING, Verdict.HEALTHY),
        (RUNNING, None, Verdict.HEALTHY),
        (None, RUNNING, Verdict.UNKNOWN),
        (MemberState(), RUNNING, Verdict.UNKNOWN),
        (MemberState(want=Want.UP, phase=Phase.STARTING, generation=1), RUNNING, Verdict.UNKNOWN),
        (MemberState(want=Want.UP, phase=Phase.STARTING, generation=2, restarts=1), RUNNING, Verdict.UNHEALTHY),
        (MemberState(want=Want.UP, phase=Phase.BACKOFF, generation=1), RUNNING, Verdict.UNHEALTHY),
        (MemberState(want=Want.UP, phase=Phase.FAILED, generation=1), RUNNING, Verdict.UNHEALTHY),
        (RUNNING, MemberState(want=Want.UP, phase=Phase.STARTING, generation=1), Verdict.UNKNOWN),
        (RUNNING, MemberState(want=Want.UP, phase=Phase.BACKOFF, generation=1), Verdict.UNHEALTHY),
        (RUNNING, MemberState(want=Want.DOWN, phase=Phase.STOPPED, generation=1), Verdict.UNKNOWN),
    ],
)
def test_a_route_is_as_well_as_its_probes_say_unless_one_side_is_down(
    member: MemberState | None, proxy: MemberState | None, verdict: Verdict
) -> None:
    assert route_verdict(served(), "time", member, proxy) is verdict
    assert route_verdict(served(), "time", member, proxy, excused=True) is Verdict.UNKNOWN


def test_a_route_whose_two_sides_run_has_the_worst_verdict_of_its_own_checks_only() -> None:
    histories = served(Verdict.DEGRADED)
    histories[CheckKey("git", "mcp", "route")] = CheckHistory(verdict=Verdict.UNHEALTHY)
    histories[CheckKey("time", "mcp", "direct")] = CheckHistory(verdict=Verdict.UNHEALTHY)
    assert route_verdict(histories, "time", RUNNING, RUNNING) is Verdict.DEGRADED


@pytest.mark.parametrize(
    ("name", "url", "cached"),
    [
        ("fetch", "http://127.0.0.1:9072/fetch/sse", True),
        ("fetch", "http://127.0.0.1:9072/servers/fetch/sse", True),
        ("mcp-fetch", "http://127.0.0.1:9072/fetch/sse", False),
        ("sse", "http://127.0.0.1:9072/sse", False),
        ("", "http://127.0.0.1:9072//sse", False),
    ],
)
def test_who_lists_from_a_cache_is_told_by_its_name_which_is_that_of_its_route(name: str, url: str, *, cached: bool) -> None:
    result = ProbeResult(Outcome.SUCCESS, server=ServerInfo(name, "1"))
    assert lists_from_cache(result, Target(url)) is cached
    assert not lists_from_cache(ProbeResult(Outcome.SUCCESS), Target(url))
    assert not lists_from_cache(None, Target(url))


def test_a_check_that_speaks_to_a_server_calls_a_tool_too_unless_it_has_a_canary() -> None:
    assert deepened(CheckSpec("mcp", "mcp")).safe_call
    assert not deepened(CheckSpec("tcp", "tcp")).safe_call
    assert not deepened(CheckSpec("canary", "mcp", canary=Canary("a"))).safe_call


STRANGERS = CheckHistory(verdict=Verdict.HEALTHY, proves=False)


@pytest.mark.parametrize("served_", [Verdict.UNKNOWN, Verdict.DEGRADED, Verdict.UNHEALTHY])
def test_that_a_stranger_is_refused_makes_no_route_well(served_: Verdict) -> None:
    histories = served(served_)
    histories[CheckKey("time", "refusal", "route")] = STRANGERS
    assert route_verdict(histories, "time", RUNNING, RUNNING) is served_


def test_that_a_stranger_is_let_in_makes_a_route_ill_and_where_nothing_else_is_asked_a_refusal_is_all_there_is() -> None:
    histories = served()
    histories[CheckKey("time", "refusal", "route")] = CheckHistory(verdict=Verdict.UNHEALTHY, proves=False)
    assert route_verdict(histories, "time", RUNNING, RUNNING) is Verdict.UNHEALTHY
    alone = Histories()
    alone[CheckKey("time", "refusal", "route")] = STRANGERS
    assert route_verdict(alone, "time", RUNNING, RUNNING) is Verdict.HEALTHY
