"""A `SwarmSpec` as the engine wants it. Pure: data in, data out.

Owns: restart condition, placement, limits, mounts, ports and networks of a service. Must not know: how they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcpwatch.runtimes.docker.options import Labels, healthcheck, mount
from mcpwatch.runtimes.docker.spec import published
from mcpwatch.runtimes.swarm import task_probe
from mcpwatch.runtimes.swarm.spec import SwarmSpec

SCRIPT = Path(task_probe.__file__).read_text(encoding="utf-8")
"""What the image's python3 runs as a probe."""
START_SHARE = 0.8
"""Of the start grace, after how much a task that never answered is given up: an update that fails is rolled back within it."""
_RESTARTED = {"Condition": "any", "Delay": 5_000_000_000}
"""Ended tasks are started again by the swarm, after a pause (nanoseconds)."""
_CORE = 1_000_000_000  # the engine counts billionths of a core and of a second


@dataclass(frozen=True, slots=True)
class SwarmFile:
    """A secret or config of the swarm: its id, its name, and the file it becomes."""

    id: str
    name: str
    file: str


def kept_name(reference: str) -> str:
    """The name in `NAME` or `NAME:FILE`."""
    return reference.partition(":")[0]


def kept_file(reference: str, root: str = "") -> str:
    """The file of `NAME:FILE`; for `NAME` alone, the name under `root`."""
    name, _, file = reference.partition(":")
    return file or root + name


def task_template(
    spec: SwarmSpec,
    *,
    node: str,
    labels: Labels | None,
    environment: Mapping[str, str],
    grace: float = 10.0,
    secrets: Sequence[SwarmFile] = (),
    configs: Sequence[SwarmFile] = (),
    check: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A task: on `node` (empty: any), with our labels on its container, by which it is found again.

    `labels` is `None` for a task that is found by its service; `grace` is seconds between SIGTERM and SIGKILL. Who starts an ended
    task again is one alone: the swarm where `spec.replicas` is written, else mcpwatch (condition `none`). `check` is a health
    check instead of that in the spec (`probe`).
    """
    container = _container(spec) | {
        "Labels": {**spec.labels, **(labels.written() if labels else {})},
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "StopGracePeriod": round(grace * _CORE),
        "Secrets": [{"SecretID": one.id, "SecretName": one.name, "File": _file(one, 0o400)} for one in secrets],
        "Configs": [{"ConfigID": one.id, "ConfigName": one.name, "File": _file(one, 0o444)} for one in configs],
    }
    if check is not None:
        container["Healthcheck"] = check
    return {"ContainerSpec": _filled(container), **_placed(spec, node)}


def _placed(spec: SwarmSpec, node: str) -> dict[str, Any]:
    """What a task is beside its container: where it runs, within which limits, and who starts it again."""
    limits = {"NanoCPUs": round(spec.cpus * _CORE) if spec.cpus else None, "MemoryBytes": spec.memory, "Pids": spec.pids}
    spread = [{"Spread": {"SpreadDescriptor": one}} for one in spec.preferences]
    return {
        "Resources": {"Limits": _filled(limits)},
        "RestartPolicy": {"Condition": "none"} if spec.replicas is None else _RESTARTED,
        "Placement": _filled({"Constraints": [*([f"node.id=={node}"] if node else []), *spec.constraints], "Preferences": spread}),
        "LogDriver": {
            "Name": "json-file",
            "Options": {"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_file)},
        },
        "Networks": [{"Target": network} for network in spec.networks],
    }


def probe(carrier: SwarmSpec, url: str, start_grace: float) -> dict[str, Any] | None:
    """The health check that speaks MCP to a task from inside it, where `url` leads to; `None` where none is wanted.

    A published port of `url` is the one inside that it leads to.
    """
    spec, parts = carrier.probe, urlsplit(url)
    if spec.kind == "none":
        return None
    inside = {outside: port.partition("/")[0] for _, outside, port in map(published, carrier.ports)}
    at = f"http://127.0.0.1:{inside.get(parts.port, parts.port or 80)}{parts.path or '/'}"
    seconds = max(1, round(spec.timeout) - 1)
    said = {
        "python3": ["python3", "-c", SCRIPT, at, str(seconds)],
        "mcpwatch": ["mcpwatch", "check", "--url", at, "--timeout", f"{seconds}s"],
    }
    return {
        "Test": ["CMD", *said[spec.kind]],
        "Interval": round(spec.interval * _CORE),
        "Timeout": round(spec.timeout * _CORE),
        "Retries": spec.failure_threshold,
        "StartPeriod": round(max(0.0, start_grace * START_SHARE - spec.failure_threshold * spec.interval) * _CORE),
    }


def updating() -> dict[str, Any]:
    """How the swarm replaces tasks: one after the other, each successor first; what fails is rolled back."""
    return {"Parallelism": 1, "Order": "start-first", "FailureAction": "rollback", "Monitor": 5 * _CORE, "MaxFailureRatio": 0.0}


def rolling_back() -> dict[str, Any]:
    """How it goes back to the version before, whose tasks mostly still run."""
    return {"Parallelism": 1, "Order": "start-first", "FailureAction": "pause", "Monitor": 5 * _CORE, "MaxFailureRatio": 0.0}


def endpoint(spec: SwarmSpec) -> dict[str, Any]:
    """Published ports, on the node itself: the routing mesh would send a probe to another node's task."""
    return {"Ports": [_port(port) for port in spec.ports]}


def _container(spec: SwarmSpec) -> dict[str, Any]:
    """What the container of the task is by its spec alone."""
    check = healthcheck(spec.healthcheck) or {}
    return {
        "Image": spec.image,
        "Command": list(spec.entrypoint),
        "Args": list(spec.command),
        "Dir": spec.workdir,
        "User": spec.user,
        "Hostname": spec.hostname,
        "ReadOnly": spec.read_only,
        "Init": spec.init,
        "Mounts": [mount(volume) for volume in spec.volumes],
        "Hosts": [f"{address} {name}" for name, address in spec.extra_hosts.items()],
        "Healthcheck": {"".join(word.title() for word in key.split("_")): value for key, value in check.items()},
        "CapabilityAdd": list(spec.cap_add),
        "CapabilityDrop": list(spec.cap_drop),
    }


def _file(kept: SwarmFile, mode: int) -> dict[str, Any]:
    return {"Name": kept.file, "UID": "0", "GID": "0", "Mode": mode}


def _port(port: str) -> dict[str, Any]:
    _, outside, inside = published(port)
    number, _, protocol = inside.partition("/")
    return {"Protocol": protocol, "TargetPort": int(number), "PublishedPort": outside, "PublishMode": "host"}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
