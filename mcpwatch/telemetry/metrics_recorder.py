"""From plan, facts and view to series: what every metric's value is. Pure bookkeeping; knows no library, clock, thread or socket.

Owned by one thread at a time. Everything known in advance is there with 0 from the start, or `increase()` would miss the first
event; everything a member has goes when the member goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from mcpwatch.model import fact as facts
from mcpwatch.model.fact import Fact
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Vantage
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import FleetView, MemberView, ProbeView, RouteView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.readings import AlertsNow
from mcpwatch.telemetry.series import Series
from mcpwatch.telemetry.shipping import Shipping
from mcpwatch.telemetry.spec import TelemetrySpec

INFO_WIDTH = 64
"""Characters kept of what a member says of itself."""

METHODS: dict[Stage, str] = {
    Stage.INITIALIZE: "initialize",
    Stage.DISCOVER: "server/discover",
    Stage.PING: "ping",
    Stage.TOOLS_LIST: "tools/list",
    Stage.PROMPTS_LIST: "prompts/list",
    Stage.RESOURCES_LIST: "resources/list",
    Stage.CANARY: "tools/call",
    Stage.SAFE_CALL: "tools/call",
}
"""Which MCP request a stage waits for."""

EXITS = ("clean", "error", "signal", "oom", "planned", "unknown")
SEVERITIES = ("critical", "warning", "info")
MUTED_BY = ("silence", "maintenance", "inhibited", "flapping", "waiting")
VANTAGES: tuple[str, ...] = get_args(Vantage)
_GOOD = (Outcome.SUCCESS, Outcome.DEGRADED)
_ABOUT_MEMBERS = tuple(family for family in of.FAMILIES if family.labels[:1] == ("member",))
_ABOUT_CHECKS = tuple(family for family in of.FAMILIES if family.labels[:4] == of.CHECK)


class MetricsRecorder:
    """All values of one daemon."""

    def __init__(self, version: str, receivers: Iterable[str] = (), clients: Iterable[str] = ()) -> None:
        self._series = Series(of.FAMILIES)
        self._members: frozenset[str] = frozenset()
        self._shown: dict[str, tuple[MemberView, tuple[RouteView, ...]]] = {}
        self._count: dict[type[Fact], Callable[[Any], None]] = {
            facts.ProbeFinished: self._probed,
            facts.MemberStarted: self._started,
            facts.MemberExited: self._exited,
            facts.ToolsChanged: self._tools_changed,
            facts.RepairTried: lambda f: self._of_member(of.REPAIRS, f.member, "tried"),
            facts.RepairProved: lambda f: self._of_member(of.REPAIRS, f.member, f.outcome),
            facts.PlanApplied: self._config_taken,
            facts.ConfigRejected: self._config_refused,
            facts.WatchGap: lambda f: self._series.add(of.WATCH_GAP, (f.cause,), abs(f.seconds)),
            facts.Troubled: lambda f: self._series.set(of.TROUBLE, (f.subject,), 0 if f.cleared else 1),
            facts.AlertChanged: lambda f: self._series.add(of.ALERTS, (f.new,)),
            facts.NotificationSent: lambda f: self._series.add(of.NOTIFICATIONS, (f.receiver, "sent")),
            facts.NotificationFailed: lambda f: self._series.add(
                of.NOTIFICATIONS, (f.receiver, "refused" if f.permanent else "failed")
            ),
            facts.ClientFileWritten: self._client_written,
            facts.ClientFileSkipped: self._client_skipped,
        }
        self._receivers = tuple(receivers)
        self._begin(version, clients)

    def adopt(self, plan: Plan, spec: TelemetrySpec) -> None:
        """Make the series of this plan known, with 0, and drop those of members and checks that are gone."""
        names = frozenset(member.name for member in plan.members)
        for gone in self._members - names:
            self._series.forget(gone, _ABOUT_MEMBERS)
            self._shown.pop(gone, None)
        self._members = names
        for member in plan.members:
            self._know_member(member.name, spec.promise(member.name).availability)
        intervals = _intervals(plan)
        for key, interval in intervals.items():
            self._know_check(key, interval)
        for name in names:
            wanted = {key for key in intervals if key[0] == name}
            for family in _ABOUT_CHECKS:
                if wanted:
                    self._series.keep(family, name, wanted)
                else:
                    self._series.forget(name, (family,))
        self._shown.clear()

    def count(self, fact: Fact) -> None:
        """Take one fact into account. One about a member that is not in the plan changes nothing of that member."""
        self._series.add(of.FACTS, (fact.name,))
        call = self._count.get(type(fact))
        if call is not None:
            call(fact)

    def show(self, view: FleetView, alerts: AlertsNow) -> None:
        """Bring every gauge up to what the view and the alerts show."""
        routes: dict[str, list[RouteView]] = {}
        for route in view.routes:
            routes.setdefault(route.member, []).append(route)
        for member in view.members:
            if member.name not in self._members:
                continue
            self._series.set(of.MEMBER_MAINTENANCE, (member.name,), 1 if member.name in alerts.maintained else 0)
            mine = tuple(routes.get(member.name, ()))
            if self._shown.get(member.name) != (member, mine):
                self._shown[member.name] = (member, mine)
                self._show_member(member, mine, proxy=view.proxy == member.name)
        self._show_daemon(view)
        self._show_alerts(alerts)

    def ship(self, shipping: Shipping) -> None:
        """Show how the log shipping goes."""
        series = self._series
        series.set(of.LOKI_SENT, (), shipping.sent)
        series.set(of.LOKI_REJECTED, (), shipping.rejected)
        series.set(of.LOKI_LOST, (), shipping.lost_bytes)
        series.set(of.LOKI_BACKLOG, (), shipping.backlog_bytes)
        series.set(of.LOKI_OLDEST, (), shipping.oldest or 0)
        series.set(of.LOKI_DEAD, (), shipping.dead_bytes)
        for why, count in shipping.dropped:
            series.set(of.LOKI_DROPPED, (why,), count)
        for code, count in shipping.pushes:
            series.set(of.LOKI_PUSHES, (code,), count)

    def put(self, family: of.Family, labels: tuple[str, ...], value: float) -> None:
        """Set one value that is counted elsewhere (a reading of another room)."""
        self._series.set(family, labels, value)

    def put_of(self, family: of.Family, labels: tuple[str, ...], value: float) -> None:
        """Set one value of the member that is the first label; nothing where that is not in the plan."""
        if labels[0] in self._members:
            self._series.set(family, labels, value)

    def replace(self, family: of.Family, member: str, rows: dict[tuple[str, ...], float]) -> None:
        """Make `rows` all that a member has in a gauge family."""
        self._series.replace(family, member, rows)

    @property
    def members(self) -> frozenset[str]:
        """The members of the plan."""
        return self._members

    def get(self, family: of.Family, labels: tuple[str, ...] = ()) -> float | None:
        """One value, or `None` when it is not known."""
        return self._series.get(family, labels)

    def text(self) -> str:
        """Everything, in Prometheus text format 0.0.4."""
        return self._series.text()

    # what is known from the start

    def _begin(self, version: str, clients: Iterable[str]) -> None:
        series = self._series
        series.set(of.BUILD, (version,), 1)
        for known in facts.FACTS:
            series.add(of.FACTS, (known.name,), 0)
        for vantage in VANTAGES:
            for stage in Stage:
                series.observe(of.PROBE_STAGES, (vantage, stage), None)
        for method in dict.fromkeys(METHODS.values()):
            series.observe(of.OTEL_OPERATION, (method, ""), None)
        series.observe(of.PROBE_LAG, (), None)
        for state in ("pending", "firing", "resolved"):
            series.add(of.ALERTS, (state,), 0)
        for receiver in self._receivers:
            for outcome in ("sent", "failed", "refused"):
                series.add(of.NOTIFICATIONS, (receiver, outcome), 0)
            series.set(of.OUTBOX, (receiver,), 0)
        for client in clients:
            series.add(of.CLIENT_WRITES, (client,), 0)
            series.add(of.CLIENT_SKIPS, (client,), 0)
            series.set(of.CLIENT_DRIFT, (client,), 0)
        for cause in ("stopped", "suspended", "not_running", "clock_step"):
            series.add(of.WATCH_GAP, (cause,), 0)
        for outcome in ("applied", "rejected"):
            series.add(of.CONFIG_RELOADS, (outcome,), 0)
        series.set(of.CONFIG_OK, (), 1)
        series.set(of.SCRAPE, (), 0)

    def _know_member(self, name: str, promise: float) -> None:
        series = self._series
        series.set(of.SLO, (name,), promise)
        for how in ("started", "adopted"):
            series.add(of.MEMBER_STARTS, (name, how), 0)
        for cause in EXITS:
            series.add(of.MEMBER_EXITS, (name, cause), 0)
        for outcome in ("tried", "proved", "failed"):
            series.add(of.REPAIRS, (name, outcome), 0)
        for severity in ("breaking", "compatible", "description"):
            series.add(of.CONTRACT_CHANGES, (name, severity), 0)

    def _know_check(self, key: tuple[str, str, str, str], interval: float) -> None:
        series = self._series
        member, _, _, vantage = key
        series.set(of.CHECK_INTERVAL, key, interval)
        series.observe(of.PROBE_SECONDS, key, None)
        for outcome in Outcome:
            series.add(of.PROBES, (*key, outcome), 0)
        for symptom in Symptom:
            series.add(of.PROBE_SYMPTOMS, (member, vantage, symptom), 0)

    # facts

    def _of_member(self, family: of.Family, member: str, *labels: str) -> None:
        if member in self._members:
            self._series.add(family, (member, *labels))

    def _probed(self, fact: facts.ProbeFinished) -> None:
        result, vantage = fact.result, fact.vantage
        series = self._series
        series.observe(of.PROBE_LAG, (), max(0.0, fact.lag))
        for timing in result.timings:
            series.observe(of.PROBE_STAGES, (vantage, timing.stage), timing.seconds)
        self._otel(result)
        if fact.member not in self._members:
            return
        key = (fact.member, fact.route if vantage == "route" else "", fact.check, vantage)
        series.add(of.PROBES, (*key, result.outcome))
        series.observe(of.PROBE_SECONDS, key, result.seconds)
        if result.symptom is not None:
            series.add(of.PROBE_SYMPTOMS, (fact.member, vantage, result.symptom))

    def _otel(self, result: ProbeResult) -> None:
        bad = result.outcome is Outcome.FAILURE
        error = str(result.symptom or "unknown") if bad else ""
        spoke = False
        for timing in result.timings:
            method = METHODS.get(timing.stage)
            if method:
                spoke = True
                self._series.observe(of.OTEL_OPERATION, (method, error if timing.stage is result.stage else ""), timing.seconds)
        if spoke:
            protocol = result.server.protocol[:INFO_WIDTH] if result.server else ""
            self._series.observe(of.OTEL_SESSION, (error, protocol if _dated(protocol) else ""), result.seconds)

    def _started(self, fact: facts.MemberStarted) -> None:
        self._of_member(of.MEMBER_STARTS, fact.member, "adopted" if fact.adopted else "started")

    def _exited(self, fact: facts.MemberExited) -> None:
        self._of_member(of.MEMBER_EXITS, fact.member, exit_cause(fact))

    def _tools_changed(self, fact: facts.ToolsChanged) -> None:
        self._of_member(of.CONTRACT_CHANGES, fact.member, fact.severity)

    def _config_taken(self, fact: facts.PlanApplied) -> None:
        self._series.add(of.CONFIG_RELOADS, ("applied",))
        self._series.set(of.CONFIG_OK, (), 1)
        self._series.set(of.CONFIG_AT, (), fact.at)

    def _config_refused(self, _: facts.ConfigRejected) -> None:
        self._series.add(of.CONFIG_RELOADS, ("rejected",))
        self._series.set(of.CONFIG_OK, (), 0)

    def _client_written(self, fact: facts.ClientFileWritten) -> None:
        self._series.add(of.CLIENT_WRITES, (fact.client,))
        self._series.set(of.CLIENT_DRIFT, (fact.client,), 0)

    def _client_skipped(self, fact: facts.ClientFileSkipped) -> None:
        self._series.add(of.CLIENT_SKIPS, (fact.client,))
        self._series.set(of.CLIENT_DRIFT, (fact.client,), 1)

    # the view

    def _show_member(self, member: MemberView, routes: tuple[RouteView, ...], *, proxy: bool) -> None:
        series, name, usage = self._series, (member.name,), member.usage
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
            self._show_probe((member.name, "", probe.check, probe.vantage), probe)
        explained = {(member.name, route.name, route.diagnosis.cause): 1.0 for route in routes if route.diagnosis}
        series.replace(of.ROUTE_DIAGNOSIS, member.name, explained)
        for route in routes:
            self._show_route(route)

    def _show_route(self, route: RouteView) -> None:
        series, key = self._series, (route.member, route.name)
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
            self._show_probe((route.member, route.name, probe.check, probe.vantage), probe)

    def _show_probe(self, key: tuple[str, str, str, str], probe: ProbeView) -> None:
        series, result = self._series, probe.result
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

    def _show_daemon(self, view: FleetView) -> None:
        series, daemon = self._series, view.daemon
        series.set(of.UP_SINCE, (), daemon.started_at)
        series.set(of.LOOP_LAG, (), daemon.loop_lag)
        series.set(of.SCHEDULE_LAG, (), daemon.schedule_lag)
        series.set(of.FACTS_DROPPED, (), daemon.dropped_facts)
        if daemon.config_error:
            series.set(of.CONFIG_OK, (), 0)
        if series.get(of.CONFIG_AT, ()) is None:
            series.set(of.CONFIG_AT, (), daemon.started_at)

    def _show_alerts(self, alerts: AlertsNow) -> None:
        self._series.set(of.SILENCES, (), alerts.silences)
        for family, known, counts in (
            (of.ALERTS_FIRING, SEVERITIES, alerts.firing),
            (of.ALERTS_MUTED, MUTED_BY, alerts.muted),
            (of.OUTBOX, self._receivers, alerts.waiting),
        ):
            for label in {*known, *counts}:
                self._series.set(family, (label,), counts.get(label, 0))


def exit_cause(fact: facts.MemberExited) -> Literal["clean", "error", "signal", "oom", "planned", "unknown"]:
    """Why an incarnation ended, in one of six words."""
    if fact.planned:
        return "planned"
    if fact.oom:
        return "oom"
    if fact.signal is not None:
        return "signal"
    if fact.code is None:
        return "unknown"
    return "error" if fact.code else "clean"


def _up(member: MemberView) -> bool:
    return member.phase is Phase.RUNNING and member.verdict is not Verdict.UNHEALTHY


def _dated(protocol: str) -> bool:
    return len(protocol) == len("2025-06-18") and protocol.replace("-", "").isdigit()


def _info(member: MemberView, routes: tuple[RouteView, ...]) -> tuple[str, ...]:
    probes = (*member.probes, *(probe for route in routes for probe in route.probes))
    server = next((probe.result.server for probe in probes if probe.result.server is not None), None)
    said = (server.wire, server.name, server.version, server.protocol) if server else ("", "", "", "")
    return (member.name, member.kind, member.runtime, *(word[:INFO_WIDTH] for word in said))


def _intervals(plan: Plan) -> dict[tuple[str, str, str, str], float]:
    """Every (member, route, check, vantage) that is probed, with its interval in seconds (0: by cron)."""
    found: dict[tuple[str, str, str, str], float] = {}
    for member in plan.members:
        for check in member.checks:
            if "direct" in check.vantages:
                found[member.name, "", check.name, "direct"] = check.interval or 0.0
    for route in plan.routes:
        for check in route.checks:
            if "route" in check.vantages:
                found[route.member, route.name, check.name, "route"] = check.interval or 0.0
    return found
