"""Objects of the API: where they are on a server, and what they are, JSON of which any part may be missing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Object = dict[str, Any]


def part(raw: Mapping[str, Any], *keys: str) -> Object:
    """The object below these keys; an empty one where there is none."""
    found = cast("object", raw)
    for key in keys:
        found = cast("Object", found).get(key) if isinstance(found, dict) else None
    return cast("Object", found) if isinstance(found, dict) else {}


def parts(raw: Mapping[str, Any], key: str) -> list[Object]:
    """The objects of a list; none where there is no list."""
    found = raw.get(key)
    return [cast("Object", one) for one in cast("list[object]", found) if isinstance(one, dict)] if isinstance(found, list) else []


def word(raw: Mapping[str, Any], *keys: str) -> str:
    """The text below these keys; empty where there is none."""
    *way, last = keys
    found = part(raw, *way).get(last)
    return "" if found is None else str(found)


def number(value: object) -> int:
    """A whole number as a number or as text; 0 for anything else."""
    try:
        return int(cast("Any", value) or 0)
    except (TypeError, ValueError):
        return 0


def name_of(raw: Mapping[str, Any]) -> str:
    """The object's name."""
    return word(raw, "metadata", "name")


def label_of(raw: Mapping[str, Any], key: str) -> str:
    """One of its labels; empty where it has none of that name."""
    return part(raw, "metadata", "labels").get(key) or ""


def note_of(raw: Mapping[str, Any], key: str) -> str:
    """One of its annotations; empty where it has none of that name."""
    return part(raw, "metadata", "annotations").get(key) or ""


GROUPS = {
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Service": ("/api/v1", "services"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Secret": ("/api/v1", "secrets"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
}
"""Kind to the API group's path and the name of its collection."""


def collection(kind: str, namespace: str) -> str:
    """All objects of a kind in a namespace."""
    group, plural = GROUPS[kind]
    return f"{group}/namespaces/{namespace}/{plural}"


def path_of(kind: str, namespace: str, name: str) -> str:
    """One object."""
    return f"{collection(kind, namespace)}/{name}"


def selector(labels: dict[str, str]) -> str:
    """Labels as a selector, in a fixed order."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
