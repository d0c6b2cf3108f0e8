"""The series that are known in advance: there with 0 from the start, or `increase()` would miss their first event. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from mcpwatch.model import fact as facts
from mcpwatch.model.probe import Outcome, Stage, Symptom, Vantage
from mcpwatch.model.spec import Plan
from mcpwatch.telemetry import families as of
from mcpwatch.telemetry.series import Series

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
VANTAGES: tuple[str, ...] = get_args(Vantage)


def begin(series: Series, version: str, receivers: Iterable[str], clients: Iterable[str]) -> None:
    """Make known what a daemon of this version has whatever its plan is."""
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
    for receiver in receivers:
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


def know_member(series: Series, name: str, promise: float) -> None:
    """Make known what a member has; `promise` is its objective, a share."""
    series.set(of.SLO, (name,), promise)
    for how in ("started", "adopted"):
        series.add(of.MEMBER_STARTS, (name, how), 0)
    for cause in EXITS:
        series.add(of.MEMBER_EXITS, (name, cause), 0)
    for outcome in ("tried", "proved", "failed"):
        series.add(of.REPAIRS, (name, outcome), 0)
    for severity in ("breaking", "compatible", "description"):
        series.add(of.CONTRACT_CHANGES, (name, severity), 0)


def know_check(series: Series, key: tuple[str, str, str, str], interval: float) -> None:
    """Make known what a check has; `interval` in seconds."""
    member, _, _, vantage = key
    series.set(of.CHECK_INTERVAL, key, interval)
    series.observe(of.PROBE_SECONDS, key, None)
    for outcome in Outcome:
        series.add(of.PROBES, (*key, outcome), 0)
    for symptom in Symptom:
        series.add(of.PROBE_SYMPTOMS, (member, vantage, symptom), 0)


def intervals(plan: Plan) -> dict[tuple[str, str, str, str], float]:
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
