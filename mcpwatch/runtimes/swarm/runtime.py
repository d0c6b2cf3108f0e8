"""The swarm runtime: one service of one task per member, restart condition `none`, on the node that mcpwatch speaks to.

Only the engine that runs a task knows its log, its end and its memory; that is why a task is placed there (ADR 0050). Must not
know: why a member is started or stopped.
"""

from __future__ import annotations

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.container_runtime import ContainerRuntime
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.swarm.launch import ServiceLaunch, remove_service
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name


class SwarmRuntime(ContainerRuntime):
    """Carries members whose `carrier` is a `SwarmSpec`."""

    name = "swarm"
    spec = SwarmSpec

    def launch(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> ServiceLaunch:
        """Always a new service: a task that ended is history to a swarm."""
        return ServiceLaunch(engine, self._instance, spec, _carrier(spec), generation, tell)

    def belongs(self, container: Container, spec: MemberSpec | None) -> bool:
        """By the service whose task it carries."""
        return bool(container.service) and (spec is None or container.service == service_name(spec.name, _carrier(spec)))

    def end(self, engine: Engine, container: Container, grace: float) -> Container | None:
        """SIGTERM, grace, SIGKILL to the container, then the service goes: the other way round the swarm would choose the grace."""
        engine.stop(container.id, grace)
        after = engine.find(container.id)
        remove_service(engine, container.service)
        return after

    def clear(self, engine: Engine, container: Container) -> None:
        """Remove the ended task's container, which the swarm would keep for a while."""
        engine.remove(container.id)


def _carrier(spec: MemberSpec) -> SwarmSpec:
    if not isinstance(spec.carrier, SwarmSpec):
        raise RuntimeFailed(f"{spec.name}: not a service of a swarm ({type(spec.carrier).__name__})", permanent=True)
    return spec.carrier
