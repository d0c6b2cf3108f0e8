"""Objects of the API as a cluster sends them, as small as a test needs them."""

from __future__ import annotations

from typing import Any

Raw = dict[str, Any]


def pod(name: str = "mcp-time-1", *, generation: int = 1, created: str = "2026-11-29T15:00:00Z", **status: Any) -> Raw:
    """A pod; `status` is its status."""
    meta = {
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": created,
        "annotations": {"mcpwatch.dev/generation": str(generation)},
    }
    return {"metadata": meta, "spec": {"nodeName": "node-1"}, "status": {"phase": "Running", **status}}


def running(container: str = "containerd://a", *, ready: bool = True, restarts: int = 0, **more: Any) -> Raw:
    """The status of a pod whose container runs."""
    state = {"running": {"startedAt": "2026-11-29T15:00:05Z"}}
    one = {"name": "server", "containerID": container, "ready": ready, "restartCount": restarts, "state": state, **more}
    word = "True" if ready else "False"
    return {"phase": "Running", "containerStatuses": [one], "conditions": [{"type": "Ready", "status": word}]}


def waiting(reason: str, message: str = "", **more: Any) -> Raw:
    """The status of a pod whose container waits."""
    one = {
        "name": "server",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
        **more,
    }
    return {"phase": "Pending", "containerStatuses": [one], "conditions": [{"type": "Ready", "status": "False"}]}


def terminated(reason: str = "Error", code: int = 1, message: str = "", at: str = "2026-11-29T15:01:00Z") -> Raw:
    """How a container ended."""
    return {"terminated": {"reason": reason, "exitCode": code, "message": message, "finishedAt": at}}


def event(about: str, reason: str, message: str, at: str = "2026-11-29T15:02:00Z") -> Raw:
    """An event about an object, e.g. `Pod/mcp-time-1`."""
    kind, _, name = about.partition("/")
    return {
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "type": "Warning",
    }
