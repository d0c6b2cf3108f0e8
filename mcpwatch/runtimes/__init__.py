"""The runtimes there are, in one explicit tuple. A new one is a file, a test and a line here."""

from pathlib import Path

from mcpwatch.ports import Runtime
from mcpwatch.registry import Kind
from mcpwatch.runtimes.docker.spec import DockerSpec
from mcpwatch.runtimes.external import ExternalRuntime, ExternalSpec
from mcpwatch.runtimes.hosted import HostedRuntime, HostedSpec
from mcpwatch.runtimes.process import ProcessRuntime
from mcpwatch.runtimes.spawn import ProcessSpec


def _docker(directory: Path, instance: str) -> Runtime:
    """The docker runtime, whose library is imported only where a member is a container."""
    from mcpwatch.runtimes.docker.runtime import DockerRuntime

    return DockerRuntime(directory, instance)


RUNTIMES: tuple[Kind[Runtime], ...] = (
    Kind("process", ProcessSpec, ProcessRuntime, "a command on this machine"),
    Kind("docker", DockerSpec, _docker, "a container"),
    Kind("hosted", HostedSpec, HostedRuntime, "a stdio server inside the gateway"),
    Kind("external", ExternalSpec, ExternalRuntime, "run by others, only watched"),
)
"""`make(directory, instance)` of each: the state directory and its mark (12 hex digits)."""
