"""Recording and alert rules for Prometheus (2.42 and later), with the user's own objectives. Pure; writes YAML by itself.

`mcpwatch rules export` prints them; promtool tests them in `tests/telemetry/rules_test.yaml`. Every alert is explained in
`docs/how-to/monitoring.md` under its own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mcpwatch.telemetry.conditions import LOGS, MEMBERS, MUTED, ON, ROUTES, WATCHDOG, AlertRule, RecordingRule
from mcpwatch.telemetry.spec import TelemetrySpec

WINDOWS = ("5m", "30m", "1h", "6h")
MANUAL = "docs/how-to/monitoring.md"
_IS_FAILURE = 'outcome="failure"'
_IS_PROOF = 'outcome!="unknown"'


@dataclass(frozen=True, slots=True)
class Group:
    """Rules evaluated together."""

    name: str
    rules: tuple[RecordingRule | AlertRule, ...]


def groups(spec: TelemetrySpec) -> tuple[Group, ...]:
    """All rules for what `spec` turns on."""
    alerts = (*MEMBERS, *ROUTES, *_objectives(spec), *WATCHDOG, *(LOGS if spec.loki else ()))
    return (Group("mcpwatch-recording", _recordings()), Group("mcpwatch-alerts", alerts))


def render(found: Iterable[Group]) -> str:
    """The rules file."""
    lines = ["# Made by 'mcpwatch rules export'; change the objectives in mcpwatch.yaml, not here.", "groups:"]
    for group in found:
        lines += [f"  - name: {group.name}", "    rules:"]
        for rule in group.rules:
            lines += _recording(rule) if isinstance(rule, RecordingRule) else _alert(rule)
    return "\n".join(lines) + "\n"


def _recording(rule: RecordingRule) -> list[str]:
    return [f"      - record: {rule.record}", f"        expr: {json.dumps(rule.expr)}"]


def _alert(rule: AlertRule) -> list[str]:
    return [
        f"      - alert: {rule.alert}",
        f"        expr: {json.dumps(rule.expr)}",
        f"        for: {rule.wait}",
        "        labels:",
        f"          severity: {rule.severity}",
        "        annotations:",
        f"          summary: {json.dumps(rule.summary)}",
        f"          description: {json.dumps(rule.description)}",
        f"          runbook: {MANUAL}#{rule.alert.lower()}",
    ]


def _recordings() -> tuple[RecordingRule, ...]:
    history = "avg_over_time(mcpwatch:probe_errors:ratio_rate5m[30d])"
    return (
        *(
            RecordingRule(
                f"mcpwatch:probe_errors:ratio_rate{window}", f"{_rate(_IS_FAILURE, window)} / ({_rate(_IS_PROOF, window)} > 0)"
            )
            for window in WINDOWS
        ),
        RecordingRule("mcpwatch:probe_availability:ratio_rate5m", "1 - mcpwatch:probe_errors:ratio_rate5m"),
        RecordingRule("mcpwatch:probe_availability:ratio_30d", f"1 - {history}"),
        RecordingRule("mcpwatch:error_budget:remaining_ratio_30d", f"1 - {history} / {ON} (1 - mcpwatch_slo_target_ratio)"),
        RecordingRule(
            "mcpwatch:probe_duration_seconds:p95_10m",
            "histogram_quantile(0.95, sum by (job, instance, member, le) (rate(mcpwatch_probe_duration_seconds_bucket[10m])))",
        ),
    )


def _rate(match: str, window: str) -> str:
    return f"sum by (job, instance, member) (rate(mcpwatch_probes_total{{{match}}}[{window}]))"


def _burns(window: str, factor: float) -> str:
    """Errors eat the budget `factor` times too fast; never more than 90 % of all probes, or a modest objective could not fire."""
    return f"(mcpwatch:probe_errors:ratio_rate{window} > {ON} clamp_max({factor} * (1 - mcpwatch_slo_target_ratio), 0.9))"


def _objectives(spec: TelemetrySpec) -> tuple[AlertRule, ...]:
    return (
        AlertRule(
            "McpErrorBudgetFastBurn",
            f"({_burns('1h', 14.4)} and {ON} {_burns('5m', 14.4)}) {MUTED}",
            "2m",
            "critical",
            "{{ $labels.member }} uses up its error budget in two days",
            "{{ $value | humanizePercentage }} of its probes failed in the last hour.",
        ),
        AlertRule(
            "McpErrorBudgetSlowBurn",
            f"({_burns('6h', 6)} and {ON} {_burns('30m', 6)}) {MUTED}",
            "15m",
            "warning",
            "{{ $labels.member }} uses up its error budget in five days",
            "{{ $value | humanizePercentage }} of its probes failed in the last six hours.",
        ),
        AlertRule(
            "McpSlow",
            " or ".join(f"(mcpwatch:probe_duration_seconds:p95_10m{match} > {latency:g})" for match, latency in _latencies(spec)),
            "10m",
            "warning",
            "{{ $labels.member }} is slow",
            "95 of 100 of its probes should be faster than its objective allows; they take {{ $value | humanizeDuration }}.",
        ),
    )


def _latencies(spec: TelemetrySpec) -> list[tuple[str, float]]:
    """Label matcher and latency objective: one of the members that have their own, one of all others."""
    own: dict[float, list[str]] = {}
    for member, objective in sorted(spec.objectives.items()):
        own.setdefault(objective.latency, []).append(member)
    found = [(_matcher("=~", members), latency) for latency, members in own.items()]
    return [*found, (_matcher("!~", sorted(spec.objectives)), spec.objective.latency)]


def _matcher(operator: str, members: list[str]) -> str:
    return f"{{member{operator}{json.dumps('|'.join(re.escape(member) for member in members))}}}" if members else ""
