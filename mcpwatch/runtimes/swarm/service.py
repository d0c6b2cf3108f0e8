"""A `SwarmSpec` as the engine wants it. Pure: data in, data out.

Owns: restart condition, placement, limits, mounts, ports and networks of a service. Must not know: how they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcpwatch.runtimes.docker.options import Labels, healthcheck, mount
from mcpwatch.runtimes.docker.spec import published
from mcpwatch.runtimes.swarm.spec import SwarmSpec

_CORE = 1_000_000_000  # the engine counts billionths of a core


def task_template(spec: SwarmSpec, *, node: str, labels: Labels, environment: Mapping[str, str]) -> dict[str, Any]:
    """The one task: restart condition `none`, on `node`, with our labels on its container, by which it is found again."""
    check = healthcheck(spec.healthcheck) or {}
    container: dict[str, Any] = {
        "Image": spec.image,
        "Labels": {**spec.labels, **labels.written()},
        "Command": list(spec.entrypoint),
        "Args": list(spec.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
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
    limits = {"NanoCPUs": round(spec.cpus * _CORE) if spec.cpus else None, "MemoryBytes": spec.memory, "Pids": spec.pids}
    return {
        "ContainerSpec": _filled(container),
        "Resources": {"Limits": _filled(limits)},
        "RestartPolicy": {"Condition": "none"},
        "Placement": {"Constraints": [f"node.id=={node}", *spec.constraints]},
        "LogDriver": {
            "Name": "json-file",
            "Options": {"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_file)},
        },
        "Networks": [{"Target": network} for network in spec.networks],
    }


def endpoint(spec: SwarmSpec) -> dict[str, Any]:
    """Published ports, on the node itself: the routing mesh would send a probe to another node's task."""
    return {"Ports": [_port(port) for port in spec.ports]}


def _port(port: str) -> dict[str, Any]:
    _, outside, inside = published(port)
    number, _, protocol = inside.partition("/")
    return {"Protocol": protocol, "TargetPort": int(number), "PublishedPort": outside, "PublishMode": "host"}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
