"""A `SwarmSpec` as the engine wants it. Pure: data in, data out.

Owns: restart condition, placement, limits, mounts, ports and networks of a service. Must not know: how they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcpwatch.runtimes.docker.options import Labels, healthcheck, mount
from mcpwatch.runtimes.docker.spec import published
from mcpwatch.runtimes.swarm.spec import SwarmSpec

_CORE = 1_000_000_000  # the engine counts billionths of a core and of a second


@dataclass(frozen=True, slots=True)
class Kept:
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
    secrets: Sequence[Kept] = (),
    configs: Sequence[Kept] = (),
) -> dict[str, Any]:
    """The one task: restart condition `none`, on `node` (empty: any), with our labels on its container, by which it is found again.

    `labels` is `None` for a task that is found by its service; `grace` is seconds between SIGTERM and SIGKILL.
    """
    container = _container(spec) | {
        "Labels": {**spec.labels, **(labels.written() if labels else {})},
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "StopGracePeriod": round(grace * _CORE),
        "Secrets": [{"SecretID": one.id, "SecretName": one.name, "File": _file(one, 0o400)} for one in secrets],
        "Configs": [{"ConfigID": one.id, "ConfigName": one.name, "File": _file(one, 0o444)} for one in configs],
    }
    limits = {"NanoCPUs": round(spec.cpus * _CORE) if spec.cpus else None, "MemoryBytes": spec.memory, "Pids": spec.pids}
    return {
        "ContainerSpec": _filled(container),
        "Resources": {"Limits": _filled(limits)},
        "RestartPolicy": {"Condition": "none"},
        "Placement": _filled(
            {
                "Constraints": [*([f"node.id=={node}"] if node else []), *spec.constraints],
                "Preferences": [{"Spread": {"SpreadDescriptor": one}} for one in spec.preferences],
            }
        ),
        "LogDriver": {
            "Name": "json-file",
            "Options": {"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_file)},
        },
        "Networks": [{"Target": network} for network in spec.networks],
    }


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


def _file(kept: Kept, mode: int) -> dict[str, Any]:
    return {"Name": kept.file, "UID": "0", "GID": "0", "Mode": mode}


def _port(port: str) -> dict[str, Any]:
    _, outside, inside = published(port)
    number, _, protocol = inside.partition("/")
    return {"Protocol": protocol, "TargetPort": int(number), "PublishedPort": outside, "PublishMode": "host"}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
