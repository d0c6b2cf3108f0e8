"""What is shown of members and routes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import MemberState, Phase, Streaks, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Target, Tool
from mcpwatch.model.spec import MemberSpec, RouteSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Diagnosis, MemberView, RouteView, Usage
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from mcpwatch.watchdog.views import GONE, member_view, probe_views, route_view, verdict_of
from tests.watchdog.scenes import actor

NOW, WALL = Instant(100.0), WallTime(1_000.0)
RUNNING = MemberState(want=Want.UP, phase=Phase.RUNNING, verdict=Verdict.HEALTHY, generation=3, restarts=2)
SPEC = MemberSpec("fetch", "bridge", "process", None, route="web")
PROXY = MemberSpec("front", "proxy", "process", None)
ROUTE = RouteSpec(
    "web", "fetch", "http://127.0.0.1/web/sse", Target("http://127.0.0.1/web/sse"), http_url="http://127.0.0.1/web/mcp"
)
TOOLS = ProbeResult(Outcome.SUCCESS, tools=(Tool("a", "1"), Tool("b", "2")), tokens=70, contract="much text")
CUT = ProbeResult(Outcome.FAILURE, Symptom.CUT, Stage.OPEN, "the stream ended")


def history(latest: ProbeResult | None, wall: float | None = 900.0, **changes: Any) -> CheckHistory:
    made = CheckHistory(Verdict.HEALTHY, Streaks(successes=4), latest, wall=None if wall is None else WallTime(wall))
    return replace(made, **changes)


def seen(vantage: str, **checks: CheckHistory) -> Histories:
    made = Histories()
    for check, one in checks.items():
        made[CheckKey("web" if vantage == "route" else "fetch", check, vantage)] = one  # pyright: ignore[reportArgumentType]
    return made


NOTHING = seen("route")


def shown(
    spec: MemberSpec = SPEC, state: MemberState = RUNNING, usage: Usage | None = None, *diagnoses: Diagnosis, **changes: Any
) -> MemberView:
    return member_view(actor(spec, state, **changes), seen("direct", mcp=history(TOOLS)), usage, diagnoses, NOW, WALL)


def served(histories: Histories, member: Phase = Phase.RUNNING, proxy: Phase = Phase.RUNNING, **changes: Any) -> RouteView:
    one = actor(SPEC, replace(RUNNING, phase=member), **changes)
    return route_view(ROUTE, one, actor(PROXY, replace(RUNNING, phase=proxy)), histories, (), WallTime(5.0))


def test_the_latest_probe_of_each_check_is_shown_without_the_bulk_of_its_contract() -> None:
    unseen = seen("route", mcp=history(TOOLS), tools=history(None), canary=history(CUT, None))
    (one,) = probe_views(unseen, "web", "route")
    assert (one.check, one.vantage, one.at, one.failures, one.successes) == ("mcp", "route", WallTime(900.0), 0, 4)
    assert one.result == replace(TOOLS, contract=None)
    assert probe_views(unseen, "web", "direct") == ()


def test_a_member_is_shown_as_it_is_held() -> None:
    one = shown(
        since=WallTime(1.0), verdict_since=WallTime(2.0), reason="mcp direct: ok", last_exit="code 1", adopted=True, usage=None
    )
    assert (one.name, one.kind, one.runtime, one.want, one.phase) == ("fetch", "bridge", "process", Want.UP, Phase.RUNNING)
    assert (one.verdict, one.generation, one.restarts, one.adopted) == (Verdict.HEALTHY, 3, 2, True)
    assert (one.since, one.verdict_since, one.reason, one.last_exit) == (WallTime(1.0), WallTime(2.0), "mcp direct: ok", "code 1")
    assert [probe.check for probe in one.probes] == ["mcp"]
    assert (one.diagnosis, one.retry_at) == (None, None)


@pytest.mark.parametrize(
    ("phase", "wake", "retry"),
    [
        (Phase.BACKOFF, 130.0, 1_030.0),
        (Phase.FAILED, 130.0, 1_030.0),
        (Phase.BACKOFF, 90.0, 1_000.0),
        (Phase.FAILED, None, None),
        (Phase.STARTING, 130.0, None),
    ],
)
def test_when_it_is_tried_again_is_shown_of_a_member_that_waits_for_that(
    phase: Phase, wake: float | None, retry: float | None
) -> None:
    state = replace(RUNNING, phase=phase, wake_at=None if wake is None else Instant(wake))
    assert shown(SPEC, state).retry_at == retry


@pytest.mark.parametrize("phase", Phase)
def test_what_a_member_uses_is_shown_while_it_lives(phase: Phase) -> None:
    state, living = replace(RUNNING, phase=phase), Incarnation("fetch", 3, "", pid=7)
    lives = phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
    used = Usage(pid=7, rss=1_000)
    assert shown(SPEC, state, used).usage == (used if lives else Usage())
    assert shown(SPEC, state, incarnation=living).usage == (Usage(pid=7) if lives else Usage())
    assert shown(SPEC, state).usage == Usage()


def test_a_member_is_shown_with_its_own_cause_and_what_is_hosted_with_that_of_what_carries_it() -> None:
    own = Diagnosis("member_hung", "fetch", "hung")
    down = Diagnosis("proxy_down", "front", "down", members=("fetch",), affects=("web",))
    other = Diagnosis("member_hung", "time", "hung")
    hosted = replace(SPEC, runtime="hosted")
    assert shown(SPEC, RUNNING, None, other, down, own).diagnosis is own
    assert shown(SPEC, RUNNING, None, other, down).diagnosis is None
    assert shown(hosted, RUNNING, None, other, down, own).diagnosis is own
    assert shown(hosted, RUNNING, None, other, down).diagnosis is down
    assert shown(hosted, RUNNING, None, other).diagnosis is None


def test_a_route_is_not_judged_while_its_start_or_a_planned_restart_is_waited_for() -> None:
    histories, one, proxy = seen("route", mcp=history(TOOLS)), actor(SPEC, RUNNING), actor(PROXY, RUNNING)
    starting = Diagnosis("starting", "fetch", "still", affects=("web",))
    assert verdict_of(ROUTE, one, proxy, histories, ()) is Verdict.HEALTHY
    assert verdict_of(ROUTE, one, None, histories, ()) is Verdict.HEALTHY
    assert verdict_of(ROUTE, one, proxy, histories, (starting,)) is Verdict.UNKNOWN
    assert verdict_of(ROUTE, one, proxy, histories, (replace(starting, affects=("other",)),)) is Verdict.HEALTHY
    assert verdict_of(ROUTE, one, proxy, histories, (replace(starting, cause="slow"),)) is Verdict.HEALTHY
    assert verdict_of(ROUTE, None, proxy, histories, ()) is Verdict.UNKNOWN
    going = actor(SPEC, replace(RUNNING, phase=Phase.STOPPING))
    assert verdict_of(ROUTE, going, proxy, histories, ()) is Verdict.UNHEALTHY
    going.excuse("as asked")
    assert verdict_of(ROUTE, going, proxy, histories, ()) is Verdict.UNKNOWN
    assert verdict_of(ROUTE, one, going, histories, ()) is Verdict.UNKNOWN


@pytest.mark.parametrize("cause", sorted(GONE))
@pytest.mark.parametrize("verdict", [Verdict.HEALTHY, Verdict.DEGRADED])
def test_a_route_that_only_the_memory_of_its_proxy_answers_serves_nobody(cause: str, verdict: Verdict) -> None:
    one, proxy, histories = actor(SPEC, RUNNING), actor(PROXY, RUNNING), seen("route", mcp=history(TOOLS, verdict=verdict))
    gone = Diagnosis(cause, "front", "the server is gone", affects=("web",))
    found = route_view(ROUTE, one, proxy, histories, (gone,), None)
    assert (found.verdict, found.symptom, found.message) == (Verdict.UNHEALTHY, "upstream_down", "the server is gone")
    assert route_view(ROUTE, one, proxy, histories, (replace(gone, affects=("other",)),), None).verdict is verdict
    cut = route_view(ROUTE, one, proxy, seen("route", mcp=history(CUT, verdict=verdict)), (gone,), None)
    assert (cut.verdict, cut.message) == (Verdict.UNHEALTHY, CUT.message)


def test_a_route_is_shown_with_its_tools_its_last_success_and_its_cause() -> None:
    checks = {
        "mcp": history(TOOLS, last_success=WallTime(800.0)),
        "canary": history(ProbeResult(Outcome.SUCCESS), last_success=WallTime(850.0)),
        "refusal": history(None),
    }
    one = served(seen("route", **checks))
    assert (one.name, one.member, one.url, one.http_url) == ("web", "fetch", ROUTE.url, ROUTE.http_url)
    assert (one.verdict, one.tools, one.tokens) == (Verdict.HEALTHY, 2, 70)
    assert (one.last_success, one.verdict_since, one.symptom, one.message) == (WallTime(850.0), WallTime(5.0), "", "")
    assert [probe.check for probe in one.probes] == ["mcp", "canary"]
    bare = served(NOTHING)
    assert (bare.tools, bare.tokens, bare.last_success, bare.verdict, bare.diagnosis) == (None, None, None, Verdict.UNKNOWN, None)
    cause = Diagnosis("stale_session", "front", "stale", affects=("web",))
    other = replace(cause, affects=("other",))
    assert route_view(ROUTE, actor(SPEC, RUNNING), None, NOTHING, (other, cause), None).diagnosis is cause


def test_a_route_that_fails_says_what_its_plainest_failing_check_saw() -> None:
    failing = seen("route", mcp=history(TOOLS), canary=history(CUT, verdict=Verdict.UNHEALTHY))
    one = served(failing)
    assert (one.verdict, one.symptom, one.message, one.tools) == (Verdict.UNHEALTHY, "cut@open", "the stream ended", 2)


def test_a_route_whose_member_or_proxy_is_down_says_so_instead_of_what_was_seen_before() -> None:
    failing = seen("route", mcp=history(CUT, verdict=Verdict.UNHEALTHY))
    down = served(failing, member=Phase.FAILED, last_exit="exited with code 1")
    assert (down.verdict, down.symptom, down.message) == (Verdict.UNHEALTHY, "upstream_down", "fetch: exited with code 1")
    assert served(failing, member=Phase.BACKOFF).message == "fetch: backoff"
    stopped = served(failing, member=Phase.STOPPING, last_exit="exited with code 1")
    assert stopped.message == "fetch: stopping", "how an earlier life ended is no reason"
    assert served(failing, proxy=Phase.FAILED).message == "front: failed"
    first = served(failing, member=Phase.STOPPED)
    assert (first.verdict, first.symptom) == (Verdict.UNHEALTHY, "upstream_down")
    alone = route_view(ROUTE, None, None, failing, (), None)
    assert (alone.verdict, alone.symptom) == (Verdict.UNKNOWN, "cut@open"), "nothing says that anybody is down"
