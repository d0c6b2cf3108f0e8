# ruff: noqa: E501 - a query is read whole
"""Builds the Grafana dashboards and writes them where the package ships them: `python -m tools.dashboards`.

Data sources are variables, nothing has a fixed uid but the dashboards themselves, and `$__rate_interval` is used everywhere.
A test regenerates and compares; another asks a real Prometheus every query.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.panels import (
    BLUE,
    GREEN,
    JOB,
    MEMBER,
    ONE,
    PHASE_RANK,
    PHASES,
    RED,
    UP_DOWN,
    VERDICT_RANK,
    VERDICTS,
    YELLOW,
    base,
    grid,
    heat,
    lines,
    log_panel,
    number,
    ranked,
    steps,
    timeline,
)

OUT = Path(__file__).resolve().parent.parent / "mcpwatch" / "telemetry" / "dashboards"


def overview() -> dashboards.Dashboard:
    """The fleet."""
    wanted = f"mcpwatch_member_wanted{{{MEMBER}}} == 1"
    on = "on (job, instance, member)"
    probes = f"mcpwatch_probes_total{{{MEMBER}}}"
    red_if_any = steps((None, GREEN), (1, RED))
    return (
        base("mcpwatch / fleet", "mcpwatch-fleet", "Every member, every route, and what is wrong.")
        .with_row(dashboards.Row("Now"))
        .with_panel(
            number(
                "members up",
                "Running and not proven unhealthy.",
                f"sum(mcpwatch_member_up{{{MEMBER}}})",
                "none",
                steps((None, GREEN)),
            )
        )
        .with_panel(
            number(
                "members down",
                "Asked to be up and not up.",
                f"sum((1 - mcpwatch_member_up{{{MEMBER}}}) and {on} ({wanted})) or vector(0)",
                "none",
                red_if_any,
            )
        )
        .with_panel(
            number(
                "routes down",
                "Proven unhealthy through the proxy.",
                f'sum(mcpwatch_route_verdict{{{MEMBER},verdict="unhealthy"}}) or vector(0)',
                "none",
                red_if_any,
            )
        )
        .with_panel(
            number(
                "availability",
                "Share of good probes in the time shown.",
                f'1 - sum(increase(mcpwatch_probes_total{{{MEMBER},outcome="failure"}}[$__range])) / sum(increase({probes}[$__range]))',
                "percentunit",
                steps((None, RED), (0.95, YELLOW), (0.99, GREEN)),
            )
        )
        .with_panel(
            number(
                "restarts",
                "In the time shown.",
                f"sum(increase(mcpwatch_member_restarts_total{{{MEMBER}}}[$__range]))",
                "none",
                steps((None, GREEN), (1, YELLOW), (10, RED)),
            )
        )
        .with_panel(number("alerts firing", "By mcpwatch itself.", f"sum(mcpwatch_alerts_firing{{{JOB}}})", "none", red_if_any))
        .with_panel(
            timeline(
                "routes",
                "The verdict through the proxy, as a client sees it.",
                ranked("mcpwatch_route_verdict", "verdict", VERDICT_RANK, "route"),
                "{{route}}",
                VERDICTS,
            )
        )
        .with_panel(
            timeline(
                "members",
                "The verdict on each member itself.",
                ranked("mcpwatch_member_verdict", "verdict", VERDICT_RANK, "member"),
                "{{member}}",
                VERDICTS,
            )
        )
        .with_panel(
            grid(
                "fleet",
                "One line a member; click it.",
                [
                    ("up", "none", f"mcpwatch_member_up{{{MEMBER}}}"),
                    ("generation", "none", f"mcpwatch_member_generation{{{MEMBER}}}"),
                    ("restarts", "none", f"mcpwatch_member_restarts_total{{{MEMBER}}}"),
                    ("tools", "none", f"mcpwatch_route_tools{{{MEMBER}}} or mcpwatch_member_tools{{{MEMBER}}}"),
                    ("tokens", "none", f"mcpwatch_route_tools_tokens{{{MEMBER}}}"),
                    ("memory", "bytes", f"mcpwatch_member_resident_memory_bytes{{{MEMBER}}}"),
                    (
                        "up for",
                        "s",
                        f"(time() - mcpwatch_member_start_time_seconds{{{MEMBER}}}) and mcpwatch_member_start_time_seconds{{{MEMBER}}} > 0",
                    ),
                    ("last good probe", "s", f"time() - mcpwatch_check_last_success_timestamp_seconds{{{MEMBER}}}"),
                ],
            )
        )
        .with_row(dashboards.Row("Probes"))
        .with_panel(
            lines(
                "probes by outcome",
                "Rate.",
                [(f"sum by (outcome) (rate({probes}[$__rate_interval]))", "{{outcome}}")],
                "reqps",
                width=8,
                stack=True,
            )
        )
        .with_panel(
            lines(
                "what is wrong, by symptom",
                "Rate of probes that were not a success.",
                [
                    (
                        f"sum by (symptom) (rate(mcpwatch_probe_symptoms_total{{{MEMBER}}}[$__rate_interval])) > 0 or sum(rate(mcpwatch_probe_symptoms_total{{{MEMBER}}}[$__rate_interval]))",
                        "{{symptom}}",
                    )
                ],
                "reqps",
                width=8,
                stack=True,
            )
        )
        .with_panel(
            lines(
                "duration",
                "Of whole probes.",
                [
                    (
                        f"histogram_quantile({q}, sum by (le) (rate(mcpwatch_probe_duration_seconds_bucket{{{MEMBER}}}[$__rate_interval])))",
                        f"p{round(q * 100)}",
                    )
                    for q in (0.5, 0.95, 0.99)
                ],
                "s",
                width=8,
            )
        )
        .with_panel(
            heat(
                "duration of probes",
                "How many probes took how long.",
                f"sum by (le) (increase(mcpwatch_probe_duration_seconds_bucket{{{MEMBER}}}[$__rate_interval]))",
            )
        )
        .with_panel(
            lines(
                "stages, p95",
                "Which stage takes the time.",
                [
                    (
                        f"histogram_quantile(0.95, sum by (le, stage) (rate(mcpwatch_probe_stage_duration_seconds_bucket{{{JOB}}}[$__rate_interval]))) > 0",
                        "{{stage}}",
                    )
                ],
                "s",
            )
        )
        .with_row(dashboards.Row("Logs"))
        .with_panel(log_panel("facts", '{app="mcpwatch",stream="facts",member=~"$member"} | level!="debug"'))
    )


def one_member() -> dashboards.Dashboard:
    """One member."""
    series = f"{{{ONE}}}"
    return (
        base("mcpwatch / member", "mcpwatch-member", "One member: its life, its probes, what it uses and says.", member="one")
        .with_row(dashboards.Row("$member"))
        .with_panel(
            number(
                "up",
                "Running and not proven unhealthy.",
                f"max(mcpwatch_member_up{series})",
                "none",
                steps((None, RED), (1, GREEN)),
            )
        )
        .with_panel(
            number(
                "up for",
                "Age of this incarnation.",
                f"time() - max(mcpwatch_member_start_time_seconds{series} > 0)",
                "s",
                steps((None, BLUE)),
            )
        )
        .with_panel(
            number(
                "error budget left",
                "Of 30 days; needs the recording rules.",
                f"min(mcpwatch:error_budget:remaining_ratio_30d{series})",
                "percentunit",
                steps((None, RED), (0.25, YELLOW), (0.5, GREEN)),
            )
        )
        .with_panel(
            number(
                "tools",
                "As listed through the proxy.",
                f"max(mcpwatch_route_tools{series} or mcpwatch_member_tools{series})",
                "none",
                steps((None, RED), (1, GREEN)),
            )
        )
        .with_panel(
            number(
                "tokens",
                "What the tool list weighs in a model's context.",
                f"max(mcpwatch_route_tools_tokens{series})",
                "none",
                steps((None, BLUE)),
            )
        )
        .with_panel(
            number(
                "last good probe",
                "Seconds ago.",
                f"time() - max(mcpwatch_check_last_success_timestamp_seconds{series})",
                "s",
                steps((None, GREEN), (120, YELLOW), (600, RED)),
            )
        )
        .with_panel(
            timeline(
                "phase", "Its life.", ranked("mcpwatch_member_phase", "phase", PHASE_RANK, "member", ONE), "{{member}}", PHASES, 4
            )
        )
        .with_panel(
            timeline(
                "checks",
                "Each check from each vantage.",
                f"min by (check, vantage, route) (mcpwatch_check_success{series})",
                "{{check}} {{vantage}} {{route}}",
                UP_DOWN,
                6,
            )
        )
        .with_row(dashboards.Row("Probes"))
        .with_panel(
            lines(
                "stages of the latest probe",
                "Direct and through the proxy.",
                [(f"max by (vantage, stage) (mcpwatch_check_stage_seconds{series})", "{{vantage}} {{stage}}")],
                "s",
                stack=True,
            )
        )
        .with_panel(
            lines(
                "symptoms",
                "What was wrong, by vantage.",
                [
                    (
                        f"sum by (vantage, symptom) (increase(mcpwatch_probe_symptoms_total{series}[$__rate_interval])) > 0 or sum(increase(mcpwatch_probe_symptoms_total{series}[$__rate_interval]))",
                        "{{vantage}} {{symptom}}",
                    )
                ],
                "none",
                bars=True,
                stack=True,
            )
        )
        .with_panel(
            heat(
                "duration of probes",
                "How many probes took how long.",
                f"sum by (le) (increase(mcpwatch_probe_duration_seconds_bucket{series}[$__rate_interval]))",
                24,
            )
        )
        .with_row(dashboards.Row("Life"))
        .with_panel(
            lines(
                "ends",
                "By cause.",
                [(f"sum by (cause) (increase(mcpwatch_member_exits_total{series}[$__rate_interval]))", "{{cause}}")],
                "none",
                width=8,
                bars=True,
                stack=True,
            )
        )
        .with_panel(
            lines(
                "repairs",
                "Tried, and what the proof said.",
                [(f"sum by (outcome) (increase(mcpwatch_repairs_total{series}[$__rate_interval]))", "{{outcome}}")],
                "none",
                width=8,
                bars=True,
            )
        )
        .with_panel(
            lines(
                "contract changes",
                "Tools against the baseline.",
                [(f"sum by (severity) (increase(mcpwatch_contract_changes_total{series}[$__rate_interval]))", "{{severity}}")],
                "none",
                width=8,
                bars=True,
            )
        )
        .with_row(dashboards.Row("What it uses"))
        .with_panel(
            lines(
                "CPU",
                "Cores.",
                [(f"sum by (member) (rate(mcpwatch_member_cpu_seconds_total{series}[$__rate_interval]))", "{{member}}")],
                "none",
                width=8,
            )
        )
        .with_panel(
            lines(
                "memory",
                "Resident, of the whole process tree.",
                [(f"mcpwatch_member_resident_memory_bytes{series}", "{{member}}")],
                "bytes",
                width=8,
            )
        )
        .with_panel(
            lines(
                "processes and open files",
                "Growing steps are leaks.",
                [(f"mcpwatch_member_processes{series}", "processes"), (f"mcpwatch_member_open_fds{series}", "open files")],
                "none",
                width=8,
            )
        )
        .with_row(dashboards.Row("Logs"))
        .with_panel(log_panel("what it says and what happened to it", '{app="mcpwatch",member="$member"}'))
    )


def watchdog() -> dashboards.Dashboard:
    """The watchdog itself."""
    series = f"{{{JOB}}}"
    rate = "[$__rate_interval]"
    return (
        base("mcpwatch / itself", "mcpwatch-self", "Is the watchdog itself well?", member=None)
        .with_row(dashboards.Row("Now"))
        .with_panel(
            number("up for", "Age of the watchdog.", f"time() - max(mcpwatch_start_time_seconds{series})", "s", steps((None, BLUE)))
        )
        .with_panel(
            number(
                "configuration",
                "1: the file as it is now is in force.",
                f"min(mcpwatch_config_last_reload_successful{series})",
                "none",
                steps((None, RED), (1, GREEN)),
            )
        )
        .with_panel(
            number(
                "loop lag",
                "Worst of the last minute.",
                f"max(mcpwatch_event_loop_lag_seconds{series})",
                "s",
                steps((None, GREEN), (0.25, YELLOW), (1, RED)),
            )
        )
        .with_panel(
            number(
                "log backlog",
                "Not yet acknowledged by Loki.",
                f"sum(mcpwatch_loki_backlog_bytes{series}) or vector(0)",
                "bytes",
                steps((None, GREEN), (10e6, YELLOW), (100e6, RED)),
            )
        )
        .with_panel(
            number(
                "outbox",
                "Notifications waiting.",
                f"sum(mcpwatch_notifications_pending{series}) or vector(0)",
                "none",
                steps((None, GREEN), (1, YELLOW), (10, RED)),
            )
        )
        .with_panel(number("memory", "Resident.", f"sum(process_resident_memory_bytes{series})", "bytes", steps((None, BLUE))))
        .with_row(dashboards.Row("Time"))
        .with_panel(
            lines(
                "lag",
                "Of the event loop and of probes, worst of a minute.",
                [(f"mcpwatch_event_loop_lag_seconds{series}", "loop"), (f"mcpwatch_schedule_lag_seconds{series}", "schedule")],
                "s",
                width=8,
            )
        )
        .with_panel(lines("CPU", "Cores.", [(f"rate(process_cpu_seconds_total{series}{rate})", "{{instance}}")], "none", width=8))
        .with_panel(
            lines(
                "facts",
                "By name.",
                [
                    (f"sum by (fact) (rate(mcpwatch_facts_total{series}{rate}))", "{{fact}}"),
                    (f"sum(rate(mcpwatch_dropped_facts_total{series}{rate}))", "dropped"),
                ],
                "none",
                width=8,
            )
        )
        .with_row(dashboards.Row("Logs to Loki"))
        .with_panel(
            lines(
                "lines",
                "Sent, dropped, refused.",
                [
                    (f"sum(rate(mcpwatch_loki_sent_lines_total{series}{rate}))", "sent"),
                    (f"sum by (why) (rate(mcpwatch_loki_dropped_lines_total{series}{rate}))", "dropped: {{why}}"),
                    (f"sum(rate(mcpwatch_loki_rejected_lines_total{series}{rate}))", "refused"),
                ],
                "none",
                width=8,
            )
        )
        .with_panel(
            lines(
                "pushes",
                "By answer.",
                [(f"sum by (code) (rate(mcpwatch_loki_push_requests_total{series}{rate}))", "{{code}}")],
                "reqps",
                width=8,
            )
        )
        .with_panel(
            lines(
                "backlog",
                "Bytes on disk.",
                [
                    (f"mcpwatch_loki_backlog_bytes{series}", "backlog"),
                    (f"mcpwatch_loki_dead_letters_bytes{series}", "dead letters"),
                ],
                "bytes",
                width=8,
            )
        )
        .with_row(dashboards.Row("People and clients"))
        .with_panel(
            lines(
                "notifications",
                "By receiver and outcome.",
                [
                    (
                        f"sum by (receiver, outcome) (increase(mcpwatch_notifications_total{series}{rate}))",
                        "{{receiver}} {{outcome}}",
                    )
                ],
                "none",
                width=8,
                bars=True,
            )
        )
        .with_panel(
            lines(
                "alerts",
                "That changed state.",
                [(f"sum by (state) (increase(mcpwatch_alerts_total{series}{rate}))", "{{state}}")],
                "none",
                width=8,
                bars=True,
            )
        )
        .with_panel(
            lines(
                "clients' files",
                "Written, and left alone.",
                [
                    (f"sum by (client) (increase(mcpwatch_client_config_syncs_total{series}{rate}))", "{{client}} written"),
                    (f"sum by (client) (mcpwatch_client_config_drift{series})", "{{client}} differs"),
                ],
                "none",
                width=8,
            )
        )
        .with_row(dashboards.Row("Log"))
        .with_panel(log_panel("what the watchdog says", '{app="mcpwatch",member="mcpwatch"}'))
    )


def build() -> dict[str, str]:
    """File name to JSON text of every dashboard."""
    made = {"fleet": overview(), "member": one_member(), "mcpwatch": watchdog()}
    return {f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(one.build()) + "\n" for name, one in made.items()}


def main() -> None:
    """Write the files."""
    OUT.mkdir(exist_ok=True)
    for name, text in build().items():
        (OUT / name).write_text(text, encoding="utf-8")
        print(f"{OUT / name}")


if __name__ == "__main__":
    main()
