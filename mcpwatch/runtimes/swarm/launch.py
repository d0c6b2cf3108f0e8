"""How one service comes to run its one task on the engine that mcpwatch speaks to: created there, awaited. Blocking.

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
from mcpwatch.runtimes.swarm.manager import create_service, manager_node, remove_service, running_service
from mcpwatch.runtimes.swarm.spec import SwarmSpec
from mcpwatch.runtimes.swarm.task import Task, read_task

PLACED_SECONDS = 60.0
"""Longest wait until the swarm runs the task."""
LOOK_SECONDS = 0.1


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
        """Create the service, in place of the last one, or keep the one that runs; returns its name. Raises `RuntimeFailed`."""
        node = manager_node(self.engine)
        if running := running_service(self.engine, self.instance, self.spec, self.carrier):
            service, task, _ = running
            if task.node == node and self.engine.runs(task.container):  # the manager hears of an end later than its engine
                return service.name
        self.engine.ensure_image(self.carrier.image or "", self.carrier.pull, self.tell)
        return create_service(self.engine, self.instance, self.spec, self.carrier, self.generation, node).name

    def run(self, container: str) -> Container:
        """Wait until the task of the service `container` runs. Raises `RuntimeFailed` when it cannot; then nothing is left."""
        deadline, said = time.monotonic() + PLACED_SECONDS, "it was never placed"
        while time.monotonic() < deadline:
            task = self._task(container)
            said = task.words or said
            found = self.engine.find(task.container) if task.container and (task.state == "running" or task.over) else None
            if found is not None and found.started:
                return found
            if task.over:
                break
            time.sleep(LOOK_SECONDS)
        remove_service(self.engine, container)
        raise RuntimeFailed(f"{self.spec.name}: the swarm does not run service {container!r}: {said}")

    def _task(self, name: str) -> Task:
        with self.engine.calling(f"look at service {name}") as api:
            found = cast("list[dict[str, Any]]", api.tasks(filters={"service": name}))
        return read_task(found[0] if found else {})
