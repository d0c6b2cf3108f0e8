"""Where objects are on an API server. Pure."""

from __future__ import annotations

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
