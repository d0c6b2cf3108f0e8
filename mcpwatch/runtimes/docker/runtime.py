"""The docker runtime: one container per member, created, kept, replaced and ended here, or somebody else's and only restarted.

Containers get restart policy `no`: one supervisor per container. Must not know: why a member is started or stopped.
"""

from __future__ import annotations

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.container_runtime import ContainerRuntime
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.launch import ContainerLaunch
from mcpwatch.runtimes.docker.spec import DockerSpec, container_name


class DockerRuntime(ContainerRuntime):
    """Carries members whose `carrier` is a `DockerSpec`."""

    name = "docker"
    spec = DockerSpec

    def launch(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> ContainerLaunch:
        """A container that ended is started again if it still fits, else made anew; one that runs is taken over."""
        carrier = _carrier(spec)
        if carrier.container is not None:
            self._theirs[engine.where, carrier.container] = spec.name
        return ContainerLaunch(engine, self._instance, spec, carrier, generation, self.let_go.pop(spec.name, 0), tell)

    def belongs(self, container: Container, spec: MemberSpec | None) -> bool:
        """By its name; what carries a task of a swarm is no container of ours."""
        return not container.service and (spec is None or container.name == container_name(spec.name, _carrier(spec)))

    def find(self, engine: Engine, spec: MemberSpec) -> Container | None:
        """By its name."""
        return engine.find(container_name(spec.name, _carrier(spec)))

    def end(self, engine: Engine, container: Container, grace: float) -> Container | None:
        """SIGTERM, grace, SIGKILL."""
        engine.stop(container.id, grace)
        return engine.find(container.id)

    def clear(self, engine: Engine, container: Container) -> None:
        """Remove it."""
        engine.remove(container.id)

    def foreign(self, spec: MemberSpec) -> bool:
        """Whether somebody else made it."""
        return _carrier(spec).container is not None


def _carrier(spec: MemberSpec) -> DockerSpec:
    if not isinstance(spec.carrier, DockerSpec):
        raise RuntimeFailed(f"{spec.name}: not a container ({type(spec.carrier).__name__})", permanent=True)
    return spec.carrier
