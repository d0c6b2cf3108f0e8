"""A task and a node as a swarm tells of them, and what an end means. Pure: reads the manager's JSON.

Owns: which states are ends, and the words for them. Must not know: how a manager is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcpwatch.runtimes.docker.container import nanoseconds
from mcpwatch.runtimes.docker.refusal import line

OVER = frozenset({"failed", "rejected", "shutdown", "complete", "orphaned", "remove"})
"""States that a task never leaves."""
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class SwarmNode:
    """One node of the swarm. `address` is where the others reach it."""

    id: str
    name: str
    address: str = ""
    down: bool = False
    drained: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `since` is when its state last changed (nanoseconds, the node's clock); `desired` what the swarm wants of it."""

    id: str
    service: str
    node: str
    state: str
    desired: str
    words: str = ""
    container: str = ""
    code: int | None = None
    since: int = 0
    created: int = 0

    @property
    def over(self) -> bool:
        """Whether its node told that it ended."""
        return self.state in OVER


@dataclass(frozen=True, slots=True)
class End:
    """How a task ended: exit code or signal where the swarm tells one, and the cause in words; its name where it is the node."""

    detail: str
    code: int | None = None
    signal: int | None = None
    cause: str = ""


def read_node(raw: Mapping[str, Any]) -> SwarmNode:
    """A node from the manager's JSON."""
    status: Mapping[str, Any] = raw.get("Status") or {}
    spec: Mapping[str, Any] = raw.get("Spec") or {}
    identity = str(raw.get("ID") or "")
    described: Mapping[str, Any] = raw.get("Description") or {}
    name = str(described.get("Hostname") or identity)
    address = str(status.get("Addr") or "")
    return SwarmNode(identity, name, address, status.get("State") == "down", spec.get("Availability") == "drain")


def read_task(raw: Mapping[str, Any]) -> Task:
    """A task from the manager's JSON."""
    status: Mapping[str, Any] = raw.get("Status") or {}
    carried: Mapping[str, Any] = status.get("ContainerStatus") or {}
    code = carried.get("ExitCode")
    return Task(
        id=str(raw.get("ID") or ""),
        service=str(raw.get("ServiceID") or ""),
        node=str(raw.get("NodeID") or ""),
        state=str(status.get("State") or ""),
        desired=str(raw.get("DesiredState") or ""),
        words=line(status.get("Err") or status.get("Message") or ""),
        container=str(carried.get("ContainerID") or ""),
        code=code if isinstance(code, int) else None,
        since=nanoseconds(str(status.get("Timestamp") or "")),
        created=nanoseconds(str(raw.get("CreatedAt") or "")),
    )


def latest(tasks: Sequence[Task]) -> Task | None:
    """The newest task of a service; the older ones are its history."""
    return max(tasks, key=lambda task: task.created, default=None)


def ended(task: Task | None, nodes: Mapping[str, SwarmNode]) -> End | None:
    """How a task that was running ended, or `None` while it runs as far as the swarm knows."""
    if task is None:
        return End("its service was removed by somebody else")
    node = nodes.get(task.node)
    where = node_name(node, task.node)
    if node is not None and node.down and not task.over:
        return End(f"node {where} is down; what ran there cannot be seen", cause="node_not_ready")
    if task.over:
        drained = node is not None and node.drained and task.desired != "running"
        if drained:
            return End(f"node {where} was drained", cause="node_not_ready")
        code = task.code
        signal = code - _SIGNALLED if code is not None and _SIGNALLED < code < _SIGNALLED + 65 else None
        return End(f"on node {where}{_said(task)}", None if signal else code, signal)
    if node is None and task.node:
        return End(f"node {where} left the swarm", cause="node_not_ready")
    return None


def refusal(task: Task | None, nodes: Mapping[str, SwarmNode], image: str) -> tuple[str, str]:
    """Why a new task does not run: the cause's name, empty where there is none for it, and one line that says what to do."""
    if task is None:
        return "", "the swarm made no task of it; look at its managers: docker node ls"
    where = node_name(nodes.get(task.node), task.node)
    low = task.words.lower()
    if "no such image" in low:
        return (
            "image_pull",
            f"node {where} has no image {image} and cannot pull it; load it on every node, or push it to a registry",
        )
    if "no suitable node" in low:
        return "unschedulable", f"{task.words}; change constraints or limits, free a port, or add a node"
    if not task.node:
        return "unschedulable", f"no node was chosen: {task.words or 'no reason given'}"
    return "", f"on node {where}: {task.words or task.state}"


def failure(tasks: Sequence[Task], nodes: Mapping[str, SwarmNode]) -> str:
    """How the newest task that failed did so, in one line; empty when none failed."""
    failed = latest([task for task in tasks if task.state in {"failed", "rejected"}])
    if failed is None:
        return ""
    code = f", exit code {failed.code}" if failed.code else ""
    return f"its task on node {node_name(nodes.get(failed.node), failed.node)} failed{code}{_said(failed)}"


def node_name(node: SwarmNode | None, identity: str) -> str:
    """What people call a node: its host name, with its address, because several may share a name."""
    if node is None:
        return identity[:12] or "unknown"
    return f"{node.name} ({node.address})" if node.address else node.name


def _said(task: Task) -> str:
    words = task.words.removeprefix("task: ")
    plain = not words or words in {"started", "finished", "shutdown"} or words.startswith("non-zero exit")
    return "" if plain else f": {words}"
