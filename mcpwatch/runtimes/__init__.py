"""The runtimes there are, in one explicit tuple. A new one is a file, a test and a line here."""

from pathlib import Path

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.ports import Runtime
from mcpwatch.registry import Kind
from mcpwatch.runtimes.docker.spec import DockerSpec
from mcpwatch.runtimes.external import ExternalMemberSpec, ExternalRuntime
from mcpwatch.runtimes.hosted import HostedRuntime, HostedSpec
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec
from mcpwatch.runtimes.process import ProcessRuntime
from mcpwatch.runtimes.spawn import ProcessSpec
from mcpwatch.runtimes.swarm.spec import SwarmSpec


def _docker(directory: Path, instance: str) -> Runtime:
    """The docker runtime, whose library is imported only where a member is a container."""
    from mcpwatch.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(directory, instance)


def _swarm(directory: Path, instance: str) -> Runtime:
    """The swarm runtime, whose library is imported only where a member is a service."""
    from mcpwatch.runtimes.swarm.runtime import SwarmRuntime

    return SwarmRuntime(directory, instance)


def _kubernetes(directory: Path, instance: str) -> Runtime:
    """The kubernetes runtime, whose library is an extra of its own. Raises `RuntimeFailed` where that is not installed."""
    try:
        from mcpwatch.runtimes.kubernetes.runtime import KubernetesRuntime
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "kubernetes":
            raise RuntimeFailed("this build has no Kubernetes client; install it: pip install 'mcpwatch[kubernetes]'") from error
        raise
    return KubernetesRuntime(directory, instance)


RUNTIMES: tuple[Kind[Runtime], ...] = (
    Kind("process", ProcessSpec, ProcessRuntime, "a command on this machine"),
    Kind("docker", DockerSpec, _docker, "a container"),
    Kind("swarm", SwarmSpec, _swarm, "a service of one task in a Docker swarm"),
    Kind("kubernetes", KubernetesSpec, _kubernetes, "a workload in a Kubernetes cluster"),
    Kind("hosted", HostedSpec, HostedRuntime, "a stdio server inside the gateway"),
    Kind("external", ExternalMemberSpec, ExternalRuntime, "run by others, only watched"),
)
"""`make(directory, instance)` of each: the state directory and its mark (12 hex digits)."""
