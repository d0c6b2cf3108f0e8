"""How one service comes to run its one task: the last one removed, image and networks provided, created, awaited. Blocking.

Owns: the order of calls and whose service is whose. Must not know: what happens to its container afterwards.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.launch import env_files
from mcpwatch.runtimes.docker.options import Labels, read_labels
from mcpwatch.runtimes.docker.refusal import line
from mcpwatch.runtimes.swarm.service import endpoint, task_template
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name

PLACED_SECONDS = 60.0
"""Longest wait until the swarm runs the task."""
LOOK_SECONDS = 0.1
_OVER = {"failed", "rejected", "shutdown", "complete", "orphaned", "remove"}


@dataclass(frozen=True, slots=True)
class ServiceLaunch:
    """One start of one member."""

    engine: Engine
    instance: str
    spec: MemberSpec
    carrier: SwarmSpec
    generation: int
    tell: Tell

    def prepare(self) -> str:
        """Create the service, in place of the last one; returns its name. Raises `RuntimeFailed`."""
        name, node = service_name(self.spec.name, self.carrier), node_of(self.engine)
        found = find_service(self.engine, name)
        if found is not None:
            labels = read_labels(found["Spec"].get("Labels") or {})
            if labels is None or labels.instance != self.instance or labels.member != self.spec.name:
                raise RuntimeFailed(
                    f"{self.spec.name}: service {name!r} is not ours; choose another with swarm.name", permanent=True
                )
            remove_service(self.engine, name)
        self.engine.ensure_image(self.carrier.image or "", self.carrier.pull, self.tell)
        for network in self.carrier.networks:
            self.engine.ensure_network(network, self.instance, "overlay")
        labels = Labels(self.instance, self.spec.name, self.generation, self.spec.fingerprint)
        environment = {**env_files(self.spec.name, self.carrier.env_file), **self.carrier.environment}
        template = task_template(self.carrier, node=node, labels=labels, environment=environment)
        with self.engine.calling(f"create service {name}") as api:
            api.create_service(
                template,
                name=name,
                labels=labels.written(),
                mode={"Replicated": {"Replicas": 1}},
                endpoint_spec=endpoint(self.carrier),
            )
        return name

    def run(self, container: str) -> Container:
        """Wait until the task of the service `container` runs. Raises `RuntimeFailed` when it cannot; then nothing is left."""
        deadline, said = time.monotonic() + PLACED_SECONDS, "it was never placed"
        while time.monotonic() < deadline:
            task = self._task(container)
            status: dict[str, Any] = task.get("Status") or {}
            said = str(status.get("Err") or status.get("Message") or said)
            carried: dict[str, Any] = status.get("ContainerStatus") or {}
            identity = str(carried.get("ContainerID") or "")
            found = self.engine.find(identity) if identity and status.get("State") in {"running", *_OVER} else None
            if found is not None and found.started:
                return found
            if status.get("State") in _OVER:
                break
            time.sleep(LOOK_SECONDS)
        remove_service(self.engine, container)
        raise RuntimeFailed(f"{self.spec.name}: the swarm does not run service {container!r}: {line(said)}")

    def _task(self, name: str) -> dict[str, Any]:
        with self.engine.calling(f"look at service {name}") as api:
            found = cast("list[dict[str, Any]]", api.tasks(filters={"service": name}))
        return found[0] if found else {}


def node_of(engine: Engine) -> str:
    """The node that this engine is. Raises `RuntimeFailed` when it is no manager of a swarm."""
    with engine.calling("ask for its swarm") as api:
        swarm: dict[str, Any] = api.info().get("Swarm") or {}
    if swarm.get("LocalNodeState") != "active" or not swarm.get("ControlAvailable"):
        raise RuntimeFailed(f"{engine.where} is no manager of a swarm; make it one with docker swarm init, or use docker: instead")
    return str(swarm["NodeID"])


def find_service(engine: Engine, name: str) -> dict[str, Any] | None:
    """The service of exactly that name, or `None`."""
    with engine.calling(f"look for service {name}") as api:
        found = cast("list[dict[str, Any]]", api.services(filters={"name": name}))
    return next((one for one in found if one["Spec"]["Name"] == name), None)


def remove_service(engine: Engine, name: str) -> None:
    """Remove a service; the swarm ends its task. A missing one is no error."""
    found = find_service(engine, name)
    if found is None:
        return
    try:
        with engine.calling(f"remove service {name}") as api:
            api.remove_service(found["ID"])
    except RuntimeFailed:
        if find_service(engine, name) is not None:
            raise
