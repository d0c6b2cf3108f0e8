"""How one container comes to run: found, kept or replaced, its image and networks provided, created, started. Blocking.

Owns: the order of calls and whose container is whose. Must not know: what happens to it afterwards.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.options import Labels, create_options
from mcpwatch.runtimes.docker.spec import DockerSpec, container_name

_RESERVED_NETWORKS = {"host", "none", "bridge"}


@dataclass(frozen=True, slots=True)
class ContainerLaunch:
    """One start of one member. `let_go` is when the run began that this one must replace (nanoseconds), or 0."""

    engine: Engine
    instance: str
    spec: MemberSpec
    carrier: DockerSpec
    generation: int
    let_go: int = 0
    tell: Tell = lambda _: None

    def prepare(self) -> str:
        """Have a container that can be started, and return its id. Raises `RuntimeFailed`."""
        name = container_name(self.spec.name, self.carrier)
        found = self.engine.find(name)
        if self.carrier.container is not None:
            if found is None:
                raise RuntimeFailed(
                    f"{self.spec.name}: {self.engine.where} has no container {name!r}; start it, or correct the name"
                )
            return found.id
        if found is not None:
            labels = found.labels
            if labels is None or labels.instance != self.instance or labels.member != self.spec.name:
                raise RuntimeFailed(f"{self.spec.name}: {_taken(name, found)}", permanent=True)
            if labels.fingerprint == self.spec.fingerprint and not found.error:
                return found.id
            self.engine.stop(found.id, self.spec.stop_grace)
            self.engine.remove(found.id)
        return self._create(name)

    def run(self, container: str) -> Container:
        """Start it, or take it over when it runs already. Raises `RuntimeFailed`; a container that was never started is removed."""
        found = self.engine.find(container)
        if found is not None and found.running and found.started == self.let_go:
            self.engine.restart(container, self.spec.stop_grace)
        elif found is not None and not found.running:
            try:
                self.engine.start(container)
            except RuntimeFailed as error:
                if self.carrier.container is None:
                    self.engine.remove(container)
                raise RuntimeFailed(f"{self.spec.name}: {error}", permanent=error.permanent) from None
        found = self.engine.find(container)
        if found is None:
            raise RuntimeFailed(f"{self.spec.name}: its container vanished while it was started")
        return found

    def _create(self, name: str) -> str:
        carrier = self.carrier
        environment = {**env_files(self.spec.name, carrier.env_file), **carrier.environment}
        if carrier.build is not None:
            image = f"mcpwatch/{self.spec.name.lower()}:{self.spec.fingerprint[:12] or 'latest'}"
            self.engine.build(carrier.build, image, self.tell)
        else:
            image = carrier.image or ""
            self.engine.ensure_image(image, carrier.pull, self.tell)
        for network in carrier.networks:
            if network not in _RESERVED_NETWORKS:
                self.engine.ensure_network(network, self.instance)
        labels = Labels(self.instance, self.spec.name, self.generation, self.spec.fingerprint)
        return self.engine.create(create_options(carrier, image=image, name=name, labels=labels, environment=environment))


def _taken(name: str, found: Container) -> str:
    who = f"mcpwatch {found.labels.instance} (member {found.labels.member})" if found.labels else found.foreign or "somebody else"
    return (
        f"container name {name!r} is taken by one that {who} created from {found.image}; "
        f"choose another with docker.name, or only watch it with docker: {{container: {name}}}"
    )


def env_files(member: str, paths: tuple[str, ...]) -> dict[str, str]:
    """The variables of env files, later ones winning. Raises `RuntimeFailed` for one that cannot be read."""
    values: dict[str, str] = {}
    for path in paths:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RuntimeFailed(f"{member}: cannot read env_file {path}: {error}", permanent=True) from None
        for row in text.splitlines():
            line = row.strip().removeprefix("export ")
            if line and not line.startswith("#") and "=" in line:
                key, value = line.split("=", 1)
                values[key.strip()] = value.strip().strip("\"'")
    return values


def reach(direct: Target, container: Container) -> Target | None:
    """Where `direct` really answers from here, when its host is the container's own name: a published port, else its address.

    The container is still asked by the name the proxy uses, so that its Host guard sees what it expects, and it may send
    clients to that name. `None`: as written.
    """
    parts = urlsplit(direct.url)
    host, port = parts.hostname or "", parts.port
    own = host.removeprefix("tasks.")  # as a swarm calls the tasks of a service
    names = (container.name, container.name.removeprefix("mcp-"), container.id[:12])
    if port is None or own not in {name.lower() for name in names} or _resolves(host):  # a host has no capital letters
        return None
    return placed(direct, container)


def placed(direct: Target, container: Container) -> Target | None:
    """The same for one whose name means nothing here, without asking that again: a name server may take its time."""
    parts = urlsplit(direct.url)
    port = parts.port
    where = next((f"{_local(address)}:{number}" for inside, address, number in container.ports if inside == f"{port}/tcp"), None)
    if where is None and container.addresses:
        where = f"{container.addresses[0]}:{port}"
    if where is None:
        return None
    headers = (*direct.headers, ("Host", parts.netloc))
    return replace(direct, url=parts._replace(netloc=where).geturl(), headers=headers, public_url=direct.public_url or direct.url)


def _local(address: str) -> str:
    """An address to connect to, for one that was bound to."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "[::1]"
    return address if parsed.version == 4 else f"[{address}]"


def _resolves(host: str) -> bool:
    """Whether we are on the container's network ourselves, so that its name means something here."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
