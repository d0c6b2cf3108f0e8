"""What the larger operations answer, field by field, for the OpenAPI document; made from the data that they show."""

from __future__ import annotations

from mcpwatch.model.probe import ProbeResult
from mcpwatch.model.view import FleetView, MemberView, RouteView
from mcpwatch.web.api.shapes import Schema, schema_of
from mcpwatch.web.objectives.hour import Outage
from mcpwatch.web.objectives.report import Report

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE: Schema = {"type": ["number", "null"]}
_COUNT: Schema = {"type": "integer"}


def _named(title: str, description: str, **properties: Schema) -> Schema:
    return {
        "title": title, "type": "object", "description": description, "properties": properties, "required": list(properties),
    }  # fmt: skip


def _several(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _status() -> Schema:
    member = schema_of(MemberView, pid={"type": ["integer", "null"]}, started_at=_MAYBE, cpu=_NUMBER, rss=_COUNT)
    latency: Schema = {"type": "object", "additionalProperties": _NUMBER, "description": "Seconds by stage of the latest probe."}
    route = schema_of(RouteView, diagnosis=_MAYBE_TEXT, cause=_MAYBE_TEXT, latency=latency)
    status = schema_of(FleetView, members=_several(member), routes=_several(route), version=_COUNT, healthy={"type": "boolean"})
    return {**status, "title": "Status"}


def _availability() -> Schema:
    slot: Schema = {"type": "array", "prefixItems": [_MAYBE, _NUMBER], "minItems": 2, "maxItems": 2}
    windows: dict[str, Schema] = dict.fromkeys(("24h", "7d", "30d"), _MAYBE)
    last: Schema = {"anyOf": [schema_of(Outage), {"type": "null"}]}
    route = _named(
        "Availability",
        "Percent of good time, null where nothing was watched; `bar`: share of good time and seconds announced, an hour a slot; "
        "`p50`, `p95`: seconds, of the latest probes; `last`: the outage that ended last.",
        **windows, bar=_several(slot), p50=_MAYBE, p95=_MAYBE, down_since=_MAYBE, last=last,
    )  # fmt: skip
    routes: Schema = {"type": "object", "additionalProperties": route}
    return {"type": "object", "properties": {"slot_seconds": _COUNT, "routes": routes}, "required": ["slot_seconds", "routes"]}


def answer_shapes() -> dict[tuple[str, str], Schema]:
    """Schemas by method and path; the other operations have the one of the catalog."""
    fact = _named("Fact", "Something that happened; each kind has further fields.",
                  fact=_TEXT, time=_TEXT, at=_NUMBER, text=_TEXT, level={"enum": ["info", "warning", "error"]})  # fmt: skip
    line = _named("LogLine", "A line that a member wrote, secrets masked.",
                  time=_TEXT, stream={"enum": ["stdout", "stderr"]}, text=_TEXT)  # fmt: skip
    hour = _named("HourOfRoute", "One hour of a route: percent good, milliseconds to connect; `unknown` where nothing was seen.",
                  at=_COUNT, words=_TEXT, good={"type": ["number", "string"]}, p95={"type": ["number", "string"]})  # fmt: skip
    events: Schema = {"events": _several(fact), "next": {"type": ["integer", "null"]}}
    logs: Schema = {"lines": _several(line), "id": _TEXT}
    report = schema_of(Report, version=_COUNT, met={"type": "boolean"})
    probe = schema_of(ProbeResult, name=_TEXT, check=_TEXT, vantage={"enum": ["direct", "route"]})
    return {
        ("GET", "/status"): _status(),
        ("GET", "/events"): {"type": "object", "properties": events, "required": list(events)},
        ("GET", "/logs/{name}"): {"type": "object", "properties": logs, "required": list(logs)},
        ("GET", "/availability"): _availability(),
        ("GET", "/availability/{name}"): {"type": "object", "properties": {"hours": _several(hour)}, "required": ["hours"]},
        ("GET", "/objectives"): report,
        ("POST", "/probe"): _several({**probe, "title": "CheckedNow"}),
        ("POST", "/members/{name}/{verb}"): {**schema_of(MemberView), "title": "MemberNow"},
    }
