"""A `DockerSpec` as the engine wants it. Pure: data in, data out; needs no engine and no library.

Owns: labels, limits, mounts, ports and networks of a container. Must not know: how they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcpwatch.runtimes.docker.spec import DockerSpec, HealthcheckSpec, published

LABEL_INSTANCE = "mcpwatch.instance"
LABEL_MEMBER = "mcpwatch.member"
LABEL_GENERATION = "mcpwatch.generation"
LABEL_FINGERPRINT = "mcpwatch.fingerprint"

_CORE = 1_000_000_000  # the engine counts billionths of a core and of a second
_ALONE = {"host", "none", "bridge"}


@dataclass(frozen=True, slots=True)
class Labels:
    """Whose container it is. `generation` is the one it was created for; it outlives restarts of the same container."""

    instance: str
    member: str
    generation: int
    fingerprint: str

    def written(self) -> dict[str, str]:
        """As labels of a container."""
        return {
            LABEL_INSTANCE: self.instance,
            LABEL_MEMBER: self.member,
            LABEL_GENERATION: str(self.generation),
            LABEL_FINGERPRINT: self.fingerprint,
        }


def read_labels(labels: Mapping[str, str]) -> Labels | None:
    """What the labels of a container say, or `None` when it is none of mcpwatch's."""
    try:
        return Labels(
            labels[LABEL_INSTANCE], labels[LABEL_MEMBER], int(labels.get(LABEL_GENERATION, "0")), labels.get(LABEL_FINGERPRINT, "")
        )
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """Everything to create a container: arguments of the SDK's `create`, and networks to join beside the first."""

    arguments: dict[str, Any] = field(repr=False)
    more_networks: tuple[str, ...] = ()


def create_options(spec: DockerSpec, *, image: str, name: str, labels: Labels, environment: Mapping[str, str]) -> CreateOptions:
    """How the container of `spec` is created. `environment` is complete; nothing is read from anywhere."""
    own = [network for network in spec.networks if network not in _ALONE]
    alone = next((network for network in spec.networks if network in _ALONE), None)
    arguments: dict[str, Any] = {
        "image": image,
        "name": name,
        "command": list(spec.command) or None,
        "entrypoint": list(spec.entrypoint) or None,
        "environment": dict(environment),
        "labels": {**spec.labels, **labels.written()},
        "ports": _ports(spec),
        "mounts": [mount(volume) for volume in spec.volumes],
        "tmpfs": dict.fromkeys(spec.tmpfs, ""),
        "mem_limit": spec.memory,
        "memswap_limit": spec.memory,
        "nano_cpus": round(spec.cpus * _CORE) if spec.cpus else None,
        "pids_limit": spec.pids,
        "healthcheck": healthcheck(spec.healthcheck),
        "log_config": {"Type": "json-file", "Config": {"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_file)}},
        "user": spec.user,
        "read_only": spec.read_only,
        "cap_add": list(spec.cap_add) or None,
        "cap_drop": list(spec.cap_drop) or None,
        "security_opt": ["no-new-privileges"] if spec.no_new_privileges else None,
        "extra_hosts": dict(spec.extra_hosts) or None,
        "init": spec.init,
        "working_dir": spec.workdir,
        "hostname": spec.hostname,
        "restart_policy": {"Name": "no"},
        "network": alone if alone in {"host", "none"} else own[0] if own else None,
    }
    return CreateOptions(
        {key: value for key, value in arguments.items() if value is not None},
        more_networks=tuple(own[1:]) + (("bridge",) if own and alone == "bridge" else ()),
    )


def _ports(spec: DockerSpec) -> dict[str, list[tuple[str, int | None]]] | None:
    ports: dict[str, list[tuple[str, int | None]]] = {}
    for text in spec.ports:
        host, port, inside = published(text)
        ports.setdefault(inside, []).append((host, port))
    return ports or None


def mount(volume: str) -> dict[str, Any]:
    """A mount in the engine's words: a path must exist on the engine's host, a name is a volume made when missing."""
    source, target, *mode = volume.split(":")
    path = source.startswith((".", "~", "/"))
    return {
        "Type": "bind" if path else "volume",
        "Source": str(Path(source).expanduser().absolute()) if path else source,
        "Target": target,
        "ReadOnly": mode == ["ro"],
    }


def healthcheck(check: HealthcheckSpec | None) -> dict[str, Any] | None:
    """The engine's own health check as the SDK takes it."""
    if check is None:
        return None
    test = list(check.test)
    return {
        "test": test if test and test[0] in {"CMD", "CMD-SHELL", "NONE"} else ["CMD", *test],
        "interval": round(check.interval * _CORE),
        "timeout": round(check.timeout * _CORE),
        "retries": check.retries,
        "start_period": round(check.start_period * _CORE),
    }
