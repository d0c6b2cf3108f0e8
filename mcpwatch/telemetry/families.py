"""Every metric that mcpwatch exports, as one table: name, kind, labels, meaning. Pure; `docs/reference/metrics.md` is made from it.

Label values are bounded: names from the plan, words from closed lists, and (in `*_info`) what a member says of itself, cut
short. No URL, token, tool name, argument or session id is ever a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds, those of the OpenTelemetry conventions for MCP."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. When it is about members, `member` is its first label."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """The HELP and TYPE lines of the text format."""
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(f"mcpwatch_{name}", "gauge", text, labels)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"mcpwatch_{name}_total", "counter", text, labels)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(f"mcpwatch_{name}", "histogram", text, labels)


CHECK = ("member", "route", "check", "vantage")

# fleet
MEMBER_UP = _gauge("member_up", "1 when the member runs and is not proven unhealthy.", "member")
MEMBER_WANTED = _gauge("member_wanted", "1 when the member is asked to be up.", "member")
MEMBER_PHASE = _gauge("member_phase", "1 for the phase the member is in.", "member", "phase")
MEMBER_VERDICT = _gauge("member_verdict", "1 for the verdict on the member.", "member", "verdict")
MEMBER_INFO = _gauge(
    "member_info", "What the member is; always 1.", "member", "kind", "runtime", "transport", "server", "version", "protocol"
)
MEMBER_MAINTENANCE = _gauge("member_maintenance", "1 while the member is silenced or in a maintenance window.", "member")
MEMBER_GENERATION = _gauge("member_generation", "Number of the member's present incarnation.", "member")
MEMBER_START = _gauge("member_start_time_seconds", "Unix time at which the present incarnation started.", "member")
MEMBER_VERDICT_SINCE = _gauge("member_verdict_since_timestamp_seconds", "Unix time since which the verdict holds.", "member")
MEMBER_RETRY = _gauge("member_retry_timestamp_seconds", "Unix time at which the next start is tried; 0: none is due.", "member")
MEMBER_STARTS = _counter("member_starts", "Incarnations, by how they came: started by us or found alive.", "member", "how")
MEMBER_RESTARTS = _counter("member_restarts", "Restarts of the member.", "member")
MEMBER_EXITS = _counter("member_exits", "Ends of incarnations, by cause.", "member", "cause")
MEMBER_CPU = _counter("member_cpu_seconds", "CPU time of the member's living processes.", "member")
MEMBER_MEMORY = _gauge("member_resident_memory_bytes", "Resident memory of the member's whole process tree.", "member")
MEMBER_FDS = _gauge("member_open_fds", "Open file descriptors of the member's process tree.", "member")
MEMBER_PROCESSES = _gauge("member_processes", "Living processes of the member.", "member")
DIAGNOSIS = _gauge("member_diagnosis", "1 while this cause of trouble is named for the member.", "member", "cause")
REPAIRS = _counter("repairs", "Repairs of the member: tried, then proved or failed.", "member", "outcome")
SLO = _gauge("slo_target_ratio", "Share of successful probes the member promises.", "member")

# objectives: what a route promises
OBJECTIVE_TARGET = _gauge(
    "objective_target", "What a route promises: a ratio, seconds or clients, by objective.", "member", "route", "objective"
)
OBJECTIVE_MEASURED = _gauge(
    "objective_measured", "What was measured over the last 7 days, in the same unit; absent while unknown.",
    "member", "route", "objective",
)  # fmt: skip
OBJECTIVE_BUDGET = _gauge(
    "objective_budget_left_ratio", "Share of the error budget that is left; below 0: overspent.", "member", "route", "objective"
)
TOOL_CALLS = _counter("route_tool_calls", "Tool calls of clients that the gateway counted as answered.", "member", "route")
TOOL_ERRORS = _counter("route_tool_errors", "Those of them that failed.", "member", "route")
ROUTE_CLIENTS = _gauge("route_clients", "Clients on the route at once, when the gateway was last asked.", "member", "route")

# routes and proxy
ROUTE_UP = _gauge("route_up", "1 when the route is proven healthy through the proxy.", "member", "route")
ROUTE_VERDICT = _gauge("route_verdict", "1 for the verdict on the route.", "member", "route", "verdict")
ROUTE_DIAGNOSIS = _gauge("route_diagnosis", "1 while this cause of trouble explains the route.", "member", "route", "cause")
ROUTE_TOOLS = _gauge("route_tools", "Tools last listed through the proxy.", "member", "route")
ROUTE_TOKENS = _gauge("route_tools_tokens", "Estimated weight of the tool list in a model's context.", "member", "route")
ROUTE_SUCCESS = _gauge("route_last_success_timestamp_seconds", "Unix time of the last good probe.", "member", "route")
PROXY_UP = _gauge("proxy_up", "1 when the proxy runs and is not proven unhealthy.", "member")

# checks
CHECK_SUCCESS = _gauge("check_success", "1 when the latest probe succeeded or was only degraded.", *CHECK)
CHECK_FAILURES = _gauge("check_consecutive_failures", "Failed probes in a row.", *CHECK)
CHECK_INTERVAL = _gauge("check_interval_seconds", "Seconds between two probes; 0 when a cron expression rules.", *CHECK)
CHECK_RUN = _gauge("check_last_run_timestamp_seconds", "Unix time at which the latest probe ended.", *CHECK)
CHECK_OK = _gauge("check_last_success_timestamp_seconds", "Unix time at which the latest good probe ended.", *CHECK)
CHECK_STAGE = _gauge("check_stage_seconds", "How long each stage of the latest probe took.", *CHECK, "stage")
CERTIFICATE = _gauge("certificate_not_after_timestamp_seconds", "Unix time at which the TLS certificate ends.", *CHECK)
PROBES = _counter("probes", "Probes by outcome.", *CHECK, "outcome")
PROBE_SECONDS = _histogram("probe_duration_seconds", "How long a probe took.", *CHECK)
PROBE_SYMPTOMS = _counter("probe_symptoms", "Probes that were not a success, by symptom.", "member", "vantage", "symptom")
PROBE_STAGES = _histogram("probe_stage_duration_seconds", "How long the stages of probes took.", "vantage", "stage")
PROBE_LAG = _histogram("probe_schedule_lag_seconds", "Seconds between when a probe was due and when it began.")

# contract
TOOLS = _gauge("member_tools", "Tools the member itself last listed.", "member")
CONTRACT_CHANGES = _counter("contract_changes", "Changes of the member's tools against baseline or pin.", "member", "severity")

# alerts
ALERTS_FIRING = _gauge("alerts_firing", "Alerts that fire now.", "severity")
ALERTS = _counter("alerts", "Alerts that changed state, by the new state.", "state")
NOTIFICATIONS = _counter(
    "notifications", "Notifications by receiver: sent, failed (tried again), refused (given up).", "receiver", "outcome"
)
OUTBOX = _gauge("notifications_pending", "Notifications waiting in the outbox.", "receiver")
ALERTS_MUTED = _gauge("alerts_muted", "Alerts that are not told now, by why.", "why")
SILENCES = _gauge("silences_active", "Silences and maintenance windows in force.")

# clients
CLIENT_WRITES = _counter("client_config_syncs", "Times the client's file was written.", "client")
CLIENT_SKIPS = _counter("client_config_skips", "Times the client's file differed and was left alone.", "client")
CLIENT_DRIFT = _gauge("client_config_drift", "1 when the client's file differs from the plan and was left alone.", "client")

# logs
LOKI_SENT = _counter("loki_sent_lines", "Log lines Loki has acknowledged.")
LOKI_DROPPED = _counter("loki_dropped_lines", "Log lines given up before sending, by why.", "why")
LOKI_LOST = _counter("loki_lost_bytes", "Bytes of member logs that rotated away before they were shipped.")
LOKI_REJECTED = _counter("loki_rejected_lines", "Log lines Loki refused for good; see the dead letters.")
LOKI_PUSHES = _counter("loki_push_requests", "Pushes to Loki by answer.", "code")
LOKI_BACKLOG = _gauge("loki_backlog_bytes", "Bytes of logs not yet acknowledged by Loki.")
LOKI_OLDEST = _gauge("loki_backlog_oldest_timestamp_seconds", "Unix time of the oldest line not yet acknowledged; 0 when none.")
LOKI_DEAD = _gauge("loki_dead_letters_bytes", "Bytes of dead letters on disk.")
LOG_DROPPED = _counter("log_dropped_records", "Own log records lost because the log target was too slow.")

# itself
BUILD = _gauge("build_info", "What runs; always 1.", "version")
UP_SINCE = _gauge("start_time_seconds", "Unix time at which this watchdog started.")
LOOP_LAG = _gauge("event_loop_lag_seconds", "Worst delay of the event loop in the last minute.")
SCHEDULE_LAG = _gauge("schedule_lag_seconds", "Worst delay of a probe in the last minute.")
FACTS = _counter("facts", "Facts by name.", "fact")
FACTS_DROPPED = _counter("dropped_facts", "Facts a listener was too slow for.")
TROUBLE = _gauge("trouble", "1 while something of mcpwatch's own is in trouble.", "subject")
WATCH_GAP = _counter("watch_gap_seconds", "Seconds in which nothing was watched: unknown, not down.", "cause")
CONFIG_OK = _gauge("config_last_reload_successful", "1 when the configuration last read was taken.")
CONFIG_AT = _gauge("config_last_reload_success_timestamp_seconds", "Unix time at which a configuration was last taken.")
CONFIG_RELOADS = _counter("config_reloads", "Configurations read: applied or rejected.", "outcome")
SCRAPE = _gauge("scrape_render_seconds", "CPU time the previous scrape took to render.")

# twins after the OpenTelemetry semantic conventions for MCP
OTEL_OPERATION = Family(
    "mcp_client_operation_duration_seconds",
    "histogram",
    "Duration of an MCP request as the probing client sees it.",
    ("mcp_method_name", "error_type"),
)
OTEL_SESSION = Family(
    "mcp_client_session_duration_seconds", "histogram", "Duration of a probing MCP session.", ("error_type", "mcp_protocol_version")
)

FAMILIES: tuple[Family, ...] = tuple(value for value in tuple(globals().values()) if isinstance(value, Family))
