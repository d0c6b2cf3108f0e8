"""The fleet as shown, as gauges: what each of them says about a member, a route, a check and the watchdog itself. Pure."""

from __future__ import annotations

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome
from mcpwatch.model.view import FleetView, MemberView, ProbeView, RouteView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.series import Series

INFO_WIDTH = 64
"""Characters kept of what a member says of itself."""
_GOOD = (Outcome.SUCCESS, Outcome.DEGRADED)


def show_member(series: Series, member: MemberView, routes: tuple[RouteView, ...], *, proxy: bool) -> None:
    """Bring the gauges of a member and its routes up to what is shown; `proxy`: it is the proxy that clients reach."""
    name, usage = (member.name,), member.usage
    up = 1 if _up(member) else 0
    series.set(of.MEMBER_UP, name, up)
    if proxy:
        series.set(of.PROXY_UP, name, up)
    series.set(of.MEMBER_WANTED, name, 1 if member.want is Want.UP else 0)
    for phase in Phase:
        series.set(of.MEMBER_PHASE, (member.name, phase), 1 if member.phase is phase else 0)
    for verdict in Verdict:
        series.set(of.MEMBER_VERDICT, (member.name, verdict), 1 if member.verdict is verdict else 0)
    series.replace(of.MEMBER_INFO, member.name, {_info(member, routes): 1})
    causes = {(member.name, member.diagnosis.cause): 1.0} if member.diagnosis else {}
    series.replace(of.DIAGNOSIS, member.name, causes)
    series.set(of.MEMBER_GENERATION, name, member.generation)
    series.set(of.MEMBER_RESTARTS, name, member.restarts)
    series.set(of.MEMBER_RETRY, name, round(member.retry_at or 0))
    series.set(of.MEMBER_START, name, usage.started_at or 0)
    if member.verdict_since is not None:
        series.set(of.MEMBER_VERDICT_SINCE, name, member.verdict_since)
    series.set(of.MEMBER_CPU, name, usage.cpu_seconds)
    series.set(of.MEMBER_MEMORY, name, usage.rss)
    series.set(of.MEMBER_FDS, name, usage.fds)
    series.set(of.MEMBER_PROCESSES, name, usage.processes)
    listed = next((probe.result.tools for probe in member.probes if probe.result.tools is not None), None)
    if listed is not None:
        series.set(of.TOOLS, name, len(listed))
    for probe in member.probes:
        _show_probe(series, (member.name, "", probe.check, probe.vantage), probe)
    explained = {(member.name, route.name, route.diagnosis.cause): 1.0 for route in routes if route.diagnosis}
    series.replace(of.ROUTE_DIAGNOSIS, member.name, explained)
    for route in routes:
        _show_route(series, route)


def _show_route(series: Series, route: RouteView) -> None:
    key = (route.member, route.name)
    series.set(of.ROUTE_UP, key, 1 if route.verdict in (Verdict.HEALTHY, Verdict.DEGRADED) else 0)
    for verdict in Verdict:
        series.set(of.ROUTE_VERDICT, (*key, verdict), 1 if route.verdict is verdict else 0)
    if route.tools is not None:
        series.set(of.ROUTE_TOOLS, key, route.tools)
    if route.tokens is not None:
        series.set(of.ROUTE_TOKENS, key, route.tokens)
    if route.last_success is not None:
        series.set(of.ROUTE_SUCCESS, key, route.last_success)
    for probe in route.probes:
        _show_probe(series, (route.member, route.name, probe.check, probe.vantage), probe)


def _show_probe(series: Series, key: tuple[str, str, str, str], probe: ProbeView) -> None:
    result = probe.result
    good = result.outcome in _GOOD
    if result.outcome is not Outcome.UNKNOWN:
        series.set(of.CHECK_SUCCESS, key, 1 if good else 0)
    series.set(of.CHECK_FAILURES, key, probe.failures)
    series.set(of.CHECK_RUN, key, probe.at)
    if good:
        series.set(of.CHECK_OK, key, probe.at)
    if result.certificate_days is not None:
        series.set(of.CERTIFICATE, key, round(probe.at + result.certificate_days * 86_400))
    for timing in result.timings:
        series.set(of.CHECK_STAGE, (*key, timing.stage), timing.seconds)


def show_daemon(series: Series, view: FleetView) -> None:
    """Bring the gauges of the watchdog itself up to what is shown."""
    daemon = view.daemon
    series.set(of.UP_SINCE, (), daemon.started_at)
    series.set(of.LOOP_LAG, (), daemon.loop_lag)
    series.set(of.SCHEDULE_LAG, (), daemon.schedule_lag)
    series.set(of.FACTS_DROPPED, (), daemon.dropped_facts)
    if daemon.config_error:
        series.set(of.CONFIG_OK, (), 0)
    if series.get(of.CONFIG_AT, ()) is None:
        series.set(of.CONFIG_AT, (), daemon.started_at)


def _up(member: MemberView) -> bool:
    return member.phase is Phase.RUNNING and member.verdict is not Verdict.UNHEALTHY


def _info(member: MemberView, routes: tuple[RouteView, ...]) -> tuple[str, ...]:
    probes = (*member.probes, *(probe for route in routes for probe in route.probes))
    server = next((probe.result.server for probe in probes if probe.result.server is not None), None)
    said = (server.wire, server.name, server.version, server.protocol) if server else ("", "", "", "")
    return (member.name, member.kind, member.runtime, *(word[:INFO_WIDTH] for word in said))
