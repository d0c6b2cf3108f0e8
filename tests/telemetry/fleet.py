"""Fleets as data, for the tests of this room: plans, views and facts of any size."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.model.fact import ProbeFinished
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, ServerInfo, Stage, StageTiming, Symptom, Target, Tool, Vantage
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, RouteSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import FleetView, MemberView, ProbeView, RouteView, SelfView, Usage

NOW = WallTime(1_795_000_000.0)
CHECK = CheckSpec(name="mcp")
GOOD = ProbeResult(
    outcome=Outcome.SUCCESS,
    seconds=0.03,
    timings=(
        StageTiming(Stage.CONNECT, 0.001),
        StageTiming(Stage.OPEN, 0.002),
        StageTiming(Stage.ENDPOINT, 0.001),
        StageTiming(Stage.INITIALIZE, 0.008),
        StageTiming(Stage.TOOLS_LIST, 0.015),
        StageTiming(Stage.CLOSE, 0.001),
    ),
    server=ServerInfo(name="mcp-time", version="1.2.3", protocol="2025-06-18", wire="sse"),
    tools=(Tool("now", "aa"), Tool("convert", "bb")),
)
BAD = replace(GOOD, outcome=Outcome.FAILURE, symptom=Symptom.TIMEOUT, stage=Stage.TOOLS_LIST, seconds=10.0)


def names(count: int) -> tuple[str, ...]:
    """`count` member names."""
    return tuple(f"member{number}" for number in range(count))


def plan(*members: str, proxy: str | None = "proxy") -> Plan:
    """A plan of native SSE servers, each with a route, and a proxy."""
    specs = tuple(
        MemberSpec(
            name=name,
            kind="server",
            runtime="process",
            carrier=None,
            direct=Target(url="http://x/sse"),
            route=name,
            checks=(CHECK,),
        )
        for name in members
    )
    front = (MemberSpec(name=proxy, kind="proxy", runtime="process", carrier=None),) if proxy else ()
    routes = tuple(
        RouteSpec(name=name, member=name, url=f"http://p/{name}/sse", probe=Target(url="http://p"), checks=(CHECK,))
        for name in members
    )
    return Plan(members=(*specs, *front), routes=routes)


def member(name: str, result: ProbeResult = GOOD, at: float = NOW) -> MemberView:
    """A running, healthy member as shown."""
    return MemberView(
        name=name,
        kind="server",
        runtime="process",
        want=Want.UP,
        phase=Phase.RUNNING,
        verdict=Verdict.HEALTHY,
        generation=3,
        restarts=2,
        usage=Usage(pid=4242, started_at=NOW, cpu=1.5, cpu_seconds=12.25, rss=50 << 20, fds=12, processes=2),
        since=NOW,
        verdict_since=NOW,
        probes=(ProbeView("mcp", "direct", WallTime(at), result),),
    )


def route(name: str, result: ProbeResult = GOOD, at: float = NOW) -> RouteView:
    """A healthy route as shown."""
    return RouteView(
        name=name,
        member=name,
        url=f"http://p/{name}/sse",
        verdict=Verdict.HEALTHY,
        tools=2,
        tokens=310,
        last_success=WallTime(at),
        verdict_since=NOW,
        probes=(ProbeView("mcp", "route", WallTime(at), result),),
    )


def view(*members: str, proxy: str | None = "proxy", at: float = NOW) -> FleetView:
    """A fleet in which everything is well."""
    front = (replace(member(proxy), kind="proxy", probes=()),) if proxy else ()
    return FleetView(
        at=WallTime(at),
        daemon=SelfView(pid=1, version="0.1.0", started_at=NOW),
        proxy=proxy,
        members=(*(member(name, at=at) for name in members), *front),
        routes=tuple(route(name, at=at) for name in members),
    )


def probed(name: str, result: ProbeResult = GOOD, vantage: Vantage = "direct", at: float = NOW) -> ProbeFinished:
    """The fact of one probe."""
    return ProbeFinished(
        at=WallTime(at),
        text=f"{name} probed",
        member=name,
        check="mcp",
        vantage=vantage,
        generation=3,
        outcome=result.outcome,
        result=result,
        route=name if vantage == "route" else "",
        lag=0.002,
    )
