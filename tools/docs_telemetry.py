"""`docs/reference/metrics.md` and the rules that `deploy/observability` ships, made of the tables of families and rules."""

from __future__ import annotations

from collections.abc import Mapping

from mcpwatch.telemetry.conditions import AlertRule, RecordingRule
from mcpwatch.telemetry.families import BUCKETS, FAMILIES
from mcpwatch.telemetry.rules import WINDOWS, groups, render
from mcpwatch.telemetry.spec import LokiSpec, TelemetrySpec

_EVERYTHING = TelemetrySpec(loki=LokiSpec(url="http://loki"))

HEAD = """# Metrics

<!-- Made of mcpwatch/telemetry/families.py by `make docs`. Do not edit. -->

Served at `http://<telemetry.metrics.listen>/metrics`. Times are seconds, sizes bytes, moments Unix time. An empty label is left
out: a series with `vantage="direct"` has no `route`. Every series that can be known in advance is there with 0 from the start;
all series of a member go when the member goes. Labels hold names from your configuration and words from closed lists: never a
URL, a token, a tool name, an argument or a session id.

| label | values |
|---|---|
| `member`, `route`, `check`, `client`, `receiver` | the names in your configuration |
| `vantage` | `direct` (the member itself), `route` (through the proxy) |
| `phase`, `verdict`, `outcome` | see the [glossary](../explanation/glossary.md) |
| `symptom`, `error_type` | see [symptoms](symptoms.md) |
| `cause` of a diagnosis | `member_down`, `member_hung`, `stale_session`, `not_mounted`, `proxy_down` … |
| `cause` of an end | `clean` (exit code 0), `error`, `signal`, `oom`, `planned` (we asked for it), `unknown` |

"""


def pages() -> Mapping[str, str]:
    """Path to text."""
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS)
    lines = [HEAD, "| metric | kind | labels | meaning |\n|---|---|---|---|\n"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n")
    lines.append(f"\nHistograms have the buckets {bounds}. `process_*` and `python_*` are about the watchdog's own process.\n")
    lines.append(_rules())
    return {
        "docs/reference/metrics.md": "".join(lines),
        "deploy/observability/rules.yml": render(groups(_EVERYTHING)),
    }


def _rules() -> str:
    found = [rule for group in groups(_EVERYTHING) for rule in group.rules]
    recorded = "".join(f"- `{rule.record}`\n" for rule in found if isinstance(rule, RecordingRule))
    alerts = "".join(
        f"| [{rule.alert}](../how-to/monitoring.md#{rule.alert.lower()}) | {rule.severity} | {rule.wait} |\n"
        for rule in found
        if isinstance(rule, AlertRule)
    )
    return (
        f"\n## Rules\n\n`mcpwatch rules export` records, over {', '.join(WINDOWS)} and 30 days:\n\n{recorded}"
        f"\nand alerts:\n\n| alert | severity | for |\n|---|---|---|\n{alerts}"
    )
