"""The reference of alerts, from the specs of the room and of every receiver kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from mcpwatch.alerts.api import PATHS
from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification, Reason, Severity
from mcpwatch.alerts.condition import CONDITIONS
from mcpwatch.alerts.message import document
from mcpwatch.alerts.notifiers import NOTIFIERS
from mcpwatch.alerts.notifiers.webhook import WORDS
from mcpwatch.alerts.silence import LABELS
from mcpwatch.alerts.spec import AlertRouteSpec, AlertsSpec, EscalateSpec, FlappingSpec, MaintenanceSpec, SilenceSpec
from mcpwatch.model.time import WallTime
from mcpwatch.registry import KindSpec
from mcpwatch.units import spell_seconds

PAGE = "docs/reference/alerts.md"
_AT = WallTime(1_795_238_400.0)

_SAMPLE = Notification(
    id="5f2d9c0a7b1e4c33",
    receiver="ops",
    reason=Reason.FIRST,
    state=AlertState.FIRING,
    group="route/cause=member_down",
    at=_AT,
    items=(
        AlertSnapshot(
            id="down:fetch",
            alert="down",
            subject="fetch",
            severity=Severity.CRITICAL,
            state=AlertState.FIRING,
            since=WallTime(_AT - 75),
            member="fetch",
            fired_at=WallTime(_AT - 15),
            why="exited with code 1",
            cause="member_down",
            cause_text="fetch: the member is down: exited with code 1",
            evidence=("direct: refused: 127.0.0.1:9072 refuses connections: nothing listens there",),
            exit="exited with code 1",
            tail=("KeyError: 'FETCH_TOKEN'",),
            tried=("restart: did not help (2.5 s)",),
            speaks_for=("route_down:fetch",),
        ),
    ),
)
"""One notification as a receiver gets it."""

_HEAD = """\
# Alerts reference

<!-- Made by `make docs` from mcpwatch/alerts. Do not edit. -->

How to use them: [Be told when something is wrong](../how-to/alerts.md).
"""


def pages() -> Mapping[str, str]:
    """The page, by path from the root of the repository."""
    return {PAGE: "\n".join(_lines()).rstrip("\n") + "\n"}


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from ("## Conditions", "", "| alert | severity | true when |", "|---|---|---|")
    yield from (f"| `{name}` | {severity} | {words} |" for name, severity, words in CONDITIONS)
    yield from ("", f"Labels for `match`, `group_by` and silences: {_listed(LABELS)}. `name` is the member or the route.")
    yield from (
        f"States: {_listed(AlertState)}. Severities: {_listed(Severity)}. Reasons of a notification: {_listed(Reason)}.",
        "",
    )
    for path, spec in (
        ("alerts", AlertsSpec),
        ("alerts.route", AlertRouteSpec),
        ("alerts.escalate[], alerts.route.escalate[]", EscalateSpec),
        ("alerts.silences[]", SilenceSpec),
        ("alerts.maintenance[]", MaintenanceSpec),
        ("alerts.flapping", FlappingSpec),
    ):
        yield from (f"## `{path}`", "", _summary(spec), "", *_table(spec), "")
    yield from ("## Receivers", "", "Each has a name under `alerts.receivers`, a `kind`, and the keys of its kind.", "")
    for kind in NOTIFIERS:
        yield from (f"### {kind.name}", "", f"{kind.summary}.", "", *_table(kind.spec), "")
    yield from ("## The notification document", "", "What `webhook` posts and `exec` reads on its standard input:", "", "```json")
    yield _example()
    yield from ("```", "", f"Words that a webhook's `template` may name: {_listed(WORDS)}.", "")
    yield from ("## Paths on the control socket", "", "| method | path | body | answer |", "|---|---|---|---|")
    yield from (f"| {method} | `{path}` | {body} | {answer} |" for method, path, body, answer in PATHS)


def _example() -> str:
    import json

    return json.dumps(document(_SAMPLE), indent=2, ensure_ascii=False)


def _listed(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _summary(spec: type[KindSpec]) -> str:
    return " ".join((spec.__doc__ or "").split())


def _table(spec: type[KindSpec]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    shown = spec.model_json_schema(by_alias=True)
    told = {info.alias or name: info.description for name, info in spec.model_fields.items()}
    defs = cast("dict[str, Any]", shown.get("$defs", {}))
    own = cast("dict[str, Any]", defs[str(shown["$ref"]).rpartition("/")[2]] if "$ref" in shown else shown)
    for name, value in cast("dict[str, dict[str, Any]]", own["properties"]).items():
        default = "**required**" if name in own.get("required", ()) else _default(value)
        words = (told.get(name) or "Which kind of receiver.").replace("|", "\\|")
        yield f"| `{name}` | {_type(value)} | {default} | {words} |"


def _default(value: Mapping[str, Any]) -> str:
    found = value.get("default")
    if found is None or found in ("", [], {}) or isinstance(found, dict):
        return ""
    if _type(value) == "duration":
        return f"`{spell_seconds(float(found))}`"
    return f"`{str(found).lower() if isinstance(found, bool) else found}`"


def _type(value: Mapping[str, Any]) -> str:
    if "30s" in value.get("examples", ()):
        return "duration"
    if "$ref" in value:
        name = str(value["$ref"]).rpartition("/")[2]
        return "info, warning, critical" if name == "Severity" else "mapping, see below"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"] if one.get("type") != "null"))
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("format") == "password":
        return "secret"
    if value.get("format") == "date-time":
        return "time"
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    words = {"string": "text", "integer": "number", "number": "number", "boolean": "true, false", "object": "mapping"}
    return words.get(str(value.get("type")), "any value")
