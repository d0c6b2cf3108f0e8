"""What is worth waking a person for, as Prometheus alerts: the fixed part of the rules, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ON = "on (job, instance, member)"
MUTED = f"unless {ON} (mcpwatch_member_maintenance == 1)"
_WANTED = f"and {ON} (mcpwatch_member_wanted == 1)"
_PROXY_FINE = "unless on (job, instance) (mcpwatch_proxy_up == 0)"
_OLDEST = "mcpwatch_loki_backlog_oldest_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A value computed once and stored under `record`."""

    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A condition a person should hear of. `wait` is Prometheus's `for`."""

    alert: str
    expr: str
    wait: str
    severity: str
    summary: str
    description: str


MEMBERS: tuple[AlertRule, ...] = (
    AlertRule(
        "McpMemberDown",
        f"(mcpwatch_member_up == 0) {_WANTED} {MUTED} unless {ON} (mcpwatch_proxy_up == 0)",
        "2m",
        "critical",
        "{{ $labels.member }} is down",
        "{{ $labels.member }} is asked to be up and is not running or proven unhealthy. See: mcpwatch why {{ $labels.member }}",
    ),
    AlertRule(
        "McpProxyDown",
        f"(mcpwatch_proxy_up == 0) {_WANTED} {MUTED}",
        "1m",
        "critical",
        "the proxy {{ $labels.member }} is down",
        "Every route is away with it. See: mcpwatch why {{ $labels.member }}",
    ),
    AlertRule(
        "McpCrashLoop",
        'sum by (job, instance, member) (increase(mcpwatch_member_exits_total{cause!~"clean|planned"}[15m])) > 3 ' + MUTED,
        "0m",
        "warning",
        "{{ $labels.member }} keeps crashing",
        "{{ $labels.member }} ended {{ $value | humanize }} times in 15 minutes. See: mcpwatch logs {{ $labels.member }}",
    ),
    AlertRule(
        "McpGaveUp",
        f'(mcpwatch_member_phase{{phase="failed"}} == 1) {_WANTED} {MUTED}',
        "0m",
        "critical",
        "{{ $labels.member }} is no longer restarted",
        "It fell too often. Repair its cause, then: mcpwatch start {{ $labels.member }}",
    ),
    AlertRule(
        "McpContractDrift",
        'increase(mcpwatch_contract_changes_total{severity="breaking"}[15m]) > 0',
        "0m",
        "warning",
        "the tools of {{ $labels.member }} changed",
        "A tool was removed or its schema tightened. See: mcpwatch why {{ $labels.member }}",
    ),
    AlertRule(
        "McpRepairFailing",
        'increase(mcpwatch_repairs_total{outcome="failed"}[1h]) > 1',
        "0m",
        "warning",
        "repairs of {{ $labels.member }} do not help",
        "The probe that failed still fails after the repair. See: mcpwatch why {{ $labels.member }}",
    ),
    AlertRule(
        "McpCertificateEnds",
        "mcpwatch_certificate_not_after_timestamp_seconds - time() < 14 * 86400",
        "1h",
        "warning",
        "the certificate of {{ $labels.member }} ends soon",
        "{{ $value | humanizeDuration }} are left.",
    ),
)

ROUTES: tuple[AlertRule, ...] = (
    AlertRule(
        "McpRouteDown",
        f'(mcpwatch_route_verdict{{verdict="unhealthy"}} == 1) and {ON} (mcpwatch_member_up == 1) {MUTED} {_PROXY_FINE}',
        "2m",
        "critical",
        "the route {{ $labels.route }} is down though its member is well",
        "{{ $labels.member }} answers, but not through the proxy. See: mcpwatch why {{ $labels.route }}",
    ),
    AlertRule(
        "McpStaleSession",
        'mcpwatch_route_diagnosis{cause="stale_session"} == 1',
        "5m",
        "warning",
        "the proxy holds a stale session for {{ $labels.route }}",
        "The member was restarted and the proxy did not notice; restarting the proxy helps.",
    ),
    AlertRule(
        "McpChecksNotRunning",
        "(time() - mcpwatch_check_last_run_timestamp_seconds > 3 * mcpwatch_check_interval_seconds + 60)"
        " and (mcpwatch_check_interval_seconds > 0)"
        f' and {ON} (mcpwatch_member_phase{{phase="running"}} == 1)',
        "2m",
        "warning",
        "check {{ $labels.check }} of {{ $labels.member }} does not run",
        "What is shown of it is old: green here proves nothing.",
    ),
)

WATCHDOG: tuple[AlertRule, ...] = (
    AlertRule(
        "McpNotificationsFailing",
        'increase(mcpwatch_notifications_total{outcome=~"failed|refused"}[15m]) > 0',
        "5m",
        "critical",
        "receiver {{ $labels.receiver }} takes no notifications",
        "The next incident may go unnoticed. See: mcpwatch alerts list",
    ),
    AlertRule(
        "McpConfigRejected",
        "mcpwatch_config_last_reload_successful == 0",
        "5m",
        "warning",
        "the changed configuration was refused",
        "The earlier one stays in force. See: mcpwatch config validate",
    ),
    AlertRule(
        "McpClientDrift",
        "mcpwatch_client_config_drift == 1",
        "30m",
        "warning",
        "the file of client {{ $labels.client }} differs and was left alone",
        "See: mcpwatch clients status",
    ),
    AlertRule(
        "McpWatchdogSlow",
        "mcpwatch_event_loop_lag_seconds > 1 or mcpwatch_schedule_lag_seconds > 10",
        "5m",
        "warning",
        "the watchdog itself is too slow",
        "Probes begin late or its event loop stalls: the machine is overloaded.",
    ),
    AlertRule(
        "McpTrouble",
        "mcpwatch_trouble == 1",
        "5m",
        "warning",
        "the watchdog is in trouble: {{ $labels.subject }}",
        "See: mcpwatch events",
    ),
    AlertRule(
        "McpWatchdogAbsent",
        "absent(mcpwatch_build_info)",
        "5m",
        "critical",
        "no watchdog is scraped",
        "mcpwatch does not run, or Prometheus does not reach telemetry.metrics.listen.",
    ),
    AlertRule(
        "McpDeadMansSwitch",
        "vector(1)",
        "0m",
        "none",
        "this alert always fires",
        "Route it to a service that calls you when it stops coming.",
    ),
)

LOGS: tuple[AlertRule, ...] = (
    AlertRule(
        "McpLogBacklog",
        f"(time() - {_OLDEST} > 600) and ({_OLDEST} > 0)",
        "10m",
        "warning",
        "logs wait for Loki",
        "The oldest line is {{ $value | humanizeDuration }} old; nothing is lost yet. See: mcpwatch logs --spool",
    ),
    AlertRule(
        "McpLogsLost",
        "increase(mcpwatch_loki_dropped_lines_total[15m]) > 0"
        " or increase(mcpwatch_loki_rejected_lines_total[15m]) > 0"
        " or increase(mcpwatch_loki_lost_bytes_total[15m]) > 0",
        "0m",
        "warning",
        "log lines do not reach Loki",
        "They were refused, too old, or beyond a cap. See: mcpwatch logs --spool",
    ),
)
