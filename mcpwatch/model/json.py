"""Frozen data to plain JSON values: one rule for views, facts and results, so that every surface says the same words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, cast

from mcpwatch.model.fact import Fact
from mcpwatch.model.time import iso
from mcpwatch.model.view import STATUS_VERSION, FleetView


def plain(value: object) -> Any:
    """`value` as what `json.dumps` takes. Fields that their class hides from `repr` (secrets) are left out."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _shown(kind)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        return {str(key): plain(item) for key, item in pairs.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast("Iterable[object]", value)]
    return value if isinstance(value, (str, int, float)) else str(value)


@cache
def _shown(kind: Any) -> tuple[str, ...]:
    """The fields of a class that are shown."""
    return tuple(item.name for item in fields(kind) if item.repr)


def fact_json(fact: Fact) -> dict[str, Any]:
    """A fact as one JSON object: `fact`, `time` (RFC 3339), `text`, `level`, then its own fields."""
    body = plain(fact)
    return {"fact": fact.name, "time": iso(fact.at), **body}


def status_json(view: FleetView) -> dict[str, Any]:
    """The documented, versioned status document: `version`, `at`, `daemon`, `members`, `routes`, `diagnoses`."""
    body = plain(view)
    for shown, member in zip(body["members"], view.members, strict=True):
        shown |= {"pid": member.usage.pid, "started_at": member.usage.started_at, "cpu": member.usage.cpu, "rss": member.usage.rss}
    for shown, route in zip(body["routes"], view.routes, strict=True):
        shown["diagnosis"] = route.diagnosis.text if route.diagnosis else None
        shown["cause"] = route.diagnosis.cause if route.diagnosis else None
        latest = next((probe for probe in route.probes), None)
        shown["latency"] = {str(t.stage): t.seconds for t in latest.result.timings} if latest else {}
    return {"version": STATUS_VERSION, "healthy": view.healthy, **body}
