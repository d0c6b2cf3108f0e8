"""From plan, facts and view to series: what every metric's value is. Pure bookkeeping; knows no library, clock, thread or socket.

Owned by one thread at a time. Everything known in advance is there with 0 from the start, or `increase()` would miss the first
event; everything a member has goes when the member goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from mcpwatch.model import fact as facts
from mcpwatch.model.fact import Fact
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import FleetView, MemberView, RouteView
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.fleet_gauges import INFO_WIDTH, show_daemon, show_member
from mcpwatch.telemetry.initial_series import METHODS, begin, intervals, know_check, know_member
from mcpwatch.telemetry.readings import AlertsNow, Shipping
from mcpwatch.telemetry.series import Series
from mcpwatch.telemetry.spec import TelemetrySpec

SEVERITIES = ("critical", "warning", "info")
MUTED_BY = ("silence", "maintenance", "inhibited", "flapping", "waiting")
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
        begin(self._series, version, self._receivers, clients)

    def adopt(self, plan: Plan, spec: TelemetrySpec) -> None:
        """Make the series of this plan known, with 0, and drop those of members and checks that are gone."""
        names = frozenset(member.name for member in plan.members)
        for gone in self._members - names:
            self._series.forget(gone, _ABOUT_MEMBERS)
            self._shown.pop(gone, None)
        self._members = names
        for member in plan.members:
            know_member(self._series, member.name, spec.promise(member.name).availability)
        checks = intervals(plan)
        for key, interval in checks.items():
            know_check(self._series, key, interval)
        for name in names:
            wanted = {key for key in checks if key[0] == name}
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
                show_member(self._series, member, mine, proxy=view.proxy == member.name)
        show_daemon(self._series, view)
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


def _dated(protocol: str) -> bool:
    return len(protocol) == len("2025-06-18") and protocol.replace("-", "").isdigit()
