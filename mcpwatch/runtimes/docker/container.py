"""A container as the engine tells of it, and its statistics as `Usage`. Pure: reads the engine's JSON.

Owns: what mcpwatch needs to know of a container. Must not know: how the engine is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from mcpwatch.model.view import Usage
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
    made_on: str = ""
    """The network that it was made to be on; empty where it was to be on none of its own, or that is not told."""
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
    host: dict[str, Any] = raw.get("HostConfig") or {}
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
        made_on=_made_on(str(host.get("NetworkMode") or "")),
        ports=tuple(published),
        foreign=f"compose project {project}" if project else "",
        service=labels.get("com.docker.swarm.service.name", ""),
    )


_NO_NETWORK = frozenset({"none", "host", "container", "ns", "slirp4netns", "pasta"})
"""Modes that name no network of the engine. The last three are podman's, which may tell options behind a colon."""


def _made_on(mode: str) -> str:
    """The network that a mode names."""
    name = mode.partition(":")[0]
    return "" if name in _NO_NETWORK else "bridge" if name == "default" else name


def nanoseconds(stamp: str) -> int:
    """`2026-11-21T04:10:00.123456789Z` as nanoseconds since the epoch; 0 when it is no time, or the engine's zero."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(0, seconds * 1_000_000_000 + int((rest + "000000000")[:9] or 0))


_NANO = 1e9


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One look: `at` in nanoseconds of the engine's clock, `cpu` in seconds since the start, `rss` in bytes."""

    at: int
    cpu: float
    rss: int
    processes: int


def sample(raw: Mapping[str, object]) -> EngineSample:
    """The engine's answer to `stats`, read. What it does not tell is 0."""
    memory = _part(raw, "memory_stats")
    detail = _part(memory, "stats")
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    used = int(memory.get("usage") or 0) - int(cache or 0)
    cpu = int(_part(_part(raw, "cpu_stats"), "cpu_usage").get("total_usage") or 0) / _NANO
    return EngineSample(nanoseconds(str(raw.get("read", ""))), cpu, max(0, used), int(_part(raw, "pids_stats").get("current") or 0))


def usage_between(before: EngineSample | None, now: EngineSample) -> Usage:
    """`now` as usage; the CPU percentage is that since `before`."""
    elapsed = (now.at - before.at) / _NANO if before else 0.0
    cpu = 100 * (now.cpu - before.cpu) / elapsed if before and elapsed > 0 else 0.0
    return Usage(cpu=max(0.0, cpu), cpu_seconds=now.cpu, rss=now.rss, processes=now.processes)


def _part(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value: object = raw.get(key)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
