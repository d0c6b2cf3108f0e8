"""A container as the engine tells of it. Pure: reads the engine's JSON.

Owns: what mcpwatch needs to know of a container. Must not know: how the engine is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcpwatch.runtimes.docker.options import Labels, read_labels


@dataclass(frozen=True, slots=True)
class Container:
    """One container as the engine tells: `started` is nanoseconds since the epoch, `exit_code` that of its last run."""

    id: str
    name: str
    image: str
    running: bool
    labels: Labels | None
    pid: int | None = None
    started: int = 0
    exit_code: int | None = None
    oom: bool = False
    paused: bool = False
    error: str = ""
    tty: bool = False
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()
    """Published: (`8080/tcp`, address on the host, port on the host)."""
    foreign: str = ""
    """Who made it, when it is not mcpwatch: a compose project, or nothing known."""
    service: str = ""
    """The service of a swarm that it carries a task of."""


def read_container(raw: Any) -> Container:
    """A container from the engine's answer to inspect."""
    state: dict[str, Any] = raw.get("State") or {}
    config: dict[str, Any] = raw.get("Config") or {}
    network: dict[str, Any] = raw.get("NetworkSettings") or {}
    labels: dict[str, str] = config.get("Labels") or {}
    ports: dict[str, list[dict[str, Any]] | None] = network.get("Ports") or {}
    networks: dict[str, dict[str, Any]] = network.get("Networks") or {}
    published = [
        (inside, str(binding.get("HostIp") or "0.0.0.0"), int(binding["HostPort"]))  # noqa: S104  # as the engine tells
        for inside, bindings in ports.items()
        for binding in bindings or ()
    ]
    running = bool(state.get("Running"))
    project = labels.get("com.docker.compose.project")
    return Container(
        id=str(raw["Id"]),
        name=str(raw.get("Name", "")).lstrip("/"),
        image=str(config.get("Image", "")),
        running=running,
        labels=read_labels(labels),
        pid=int(state.get("Pid") or 0) or None,
        started=nanoseconds(str(state.get("StartedAt", ""))),
        exit_code=None if running else int(state.get("ExitCode") or 0),
        oom=bool(state.get("OOMKilled")),
        paused=bool(state.get("Paused")),
        error=str(state.get("Error") or ""),
        tty=bool(config.get("Tty")),
        addresses=tuple(str(item["IPAddress"]) for item in networks.values() if item.get("IPAddress")),
        networks=tuple(networks),
        ports=tuple(published),
        foreign=f"compose project {project}" if project else "",
        service=labels.get("com.docker.swarm.service.name", ""),
    )


def nanoseconds(stamp: str) -> int:
    """`2026-11-21T04:10:00.123456789Z` as nanoseconds since the epoch; 0 when it is no time, or the engine's zero."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(0, seconds * 1_000_000_000 + int((rest + "000000000")[:9] or 0))
