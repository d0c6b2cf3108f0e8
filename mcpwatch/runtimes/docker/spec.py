"""What a user writes under `docker:`, in compose's own words. Pure: knows nothing of an engine.

Owns: the shape of a container and what of it is refused. Must not know: how containers are made (`options`, `engine`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mcpwatch.registry import KindSpec
from mcpwatch.units import Duration, Size, Span, matching, number_as_text

_HOST = r"\[[0-9a-fA-F:]+\]|\d+(?:\.\d+){3}"
_PORT = re.compile(rf"(?:(?P<host>{_HOST}):)?(?:(?P<published>\d*):)?(?P<port>\d+)(?:/(?P<protocol>tcp|udp))?")


def _argv(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _pairs(value: object) -> object:
    """Compose takes `NAME=value` lists where a mapping is meant; so do we."""
    if isinstance(value, (list, tuple)):
        lines = [str(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        bad = next((line for line in lines if "=" not in line), None)
        if bad is not None:
            raise ValueError(f"{bad!r} is not NAME=value")
        return dict(line.split("=", 1) for line in lines)
    return value


def _hosts(value: object) -> object:
    """`name:address` as compose writes it, or `name=address`, or a mapping."""
    if isinstance(value, (list, tuple)):
        lines = [str(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return _pairs([line if "=" in line else line.replace(":", "=", 1) for line in lines])
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _volume(value: str) -> str:
    parts = value.split(":")
    if (
        len(parts) not in {2, 3}
        or not parts[0]
        or not parts[1].startswith("/")
        or (len(parts) == 3 and parts[2] not in {"ro", "rw"})
    ):
        raise ValueError(f"{value!r} is not a volume; write name:/path or /host/path:/path:ro")
    return value


Text = Annotated[str, BeforeValidator(number_as_text)]
Argv = Annotated[tuple[Text, ...], BeforeValidator(_argv)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Pairs = Annotated[dict[str, Text], BeforeValidator(_pairs)]
ContainerName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "is no container name; use letters, digits, '_', '.' and '-'")
]
Port = Annotated[
    str, BeforeValidator(number_as_text), matching(_PORT, "is not a port; write 8080, 9072:8080 or 127.0.0.1:9072:8080")
]
Volume = Annotated[str, AfterValidator(_volume)]


class BuildSpec(KindSpec):
    """An image built from a directory."""

    context: str = Field(description="The directory to build from.")
    dockerfile: str = Field("Dockerfile", description="Path of the Dockerfile inside the context.")
    target: str | None = Field(None, description="The stage to build.")
    args: Pairs = Field({}, description="Build arguments.")
    network: Text | None = Field(None, description="Network of the build's own commands, e.g. `host`. Default: the engine's.")


class HealthcheckSpec(KindSpec):
    """The engine's own health check of the container. mcpwatch's checks do not need it."""

    test: Argv = Field(description="The command; a string is split like a shell would, and run without one.")
    interval: Span = Field(30.0, description="Pause between two runs.")
    timeout: Span = Field(30.0, description="Longest run.")
    retries: int = Field(3, ge=1, description="Failures in a row that make it unhealthy.")
    start_period: Duration = Field(0.0, description="Failures in this time after the start do not count.")


class RotationSpec(KindSpec):
    """Rotation of the engine's copy of the container's log. mcpwatch keeps its own."""

    max_size: Size = Field(10 * 1024**2, description="Size at which a file is rotated.")
    max_file: int = Field(3, ge=1, description="Files kept.")


class ContainerSpec(KindSpec):
    """What every container has, whoever carries it."""

    image: str | None = Field(None, description="The image, e.g. `crystaldba/postgres-mcp:0.3.0`.")
    name: ContainerName | None = Field(None, description="Name on the engine. Default: `mcp-` and the member's name.")
    pull: Literal["missing", "always", "never"] = Field("missing", description="When the image is pulled.")
    command: Argv = Field((), description="Arguments, instead of those of the image.")
    entrypoint: Argv = Field((), description="Program, instead of that of the image.")
    environment: Pairs = Field({}, repr=False, description="Environment variables.")
    env_file: Texts = Field((), description="Files of `NAME=value` lines added to `environment`, which wins.")
    networks: Texts = Field((), description="Networks, created when missing; `host` and `none` stand alone.")
    ports: tuple[Port, ...] = Field((), description="Published ports. Without an address they are published on 127.0.0.1.")
    volumes: tuple[Volume, ...] = Field((), description="`name:/path` or `/host/path:/path`, with `:ro` for read-only.")
    memory: Size | None = Field(None, description="Memory limit. Swap is not given on top.")
    cpus: float | None = Field(None, gt=0, description="CPU limit, in cores.")
    pids: int | None = Field(None, gt=0, description="Limit of processes and threads.")
    healthcheck: HealthcheckSpec | None = Field(None, description="The engine's own health check.")
    log: RotationSpec = Field(RotationSpec.unwritten(), description="Rotation of the engine's log files.")
    user: Text | None = Field(None, description="User, e.g. `1000:1000`.")
    read_only: bool = Field(False, description="Read-only root file system.")
    cap_drop: Texts = Field((), description="Capabilities to drop, e.g. `ALL`.")
    cap_add: Texts = Field((), description="Capabilities to add.")
    extra_hosts: Annotated[dict[str, Text], BeforeValidator(_hosts)] = Field(
        {}, description="Names added to /etc/hosts, e.g. `host.docker.internal: host-gateway`."
    )
    init: bool = Field(True, description="Run a tiny init as PID 1 that reaps zombies and passes signals on.")
    workdir: str | None = Field(None, description="Working directory.")
    hostname: str | None = Field(None, description="Host name inside.")
    labels: Pairs = Field({}, description="Labels of your own.")
    host: str | None = Field(
        None, description="The engine: `unix://…`, `tcp://…`, `ssh://…`. Default: `DOCKER_HOST`, else the current context."
    )
    context: str | None = Field(None, description="The Docker context that names the engine.")

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.host and self.context:
            raise ValueError("write host or context, not both")
        return self

    def placed(self, place: Callable[[str], str]) -> Self:
        """Mounted paths, from the directory of the file that names them."""
        volumes = tuple(
            ":".join((place(source), *rest)) if source.startswith((".", "~")) else volume
            for volume, (source, *rest) in ((volume, volume.split(":")) for volume in self.volumes)
        )
        return self.model_copy(update={"volumes": volumes})


class DockerSpec(ContainerSpec):
    """A container that mcpwatch creates and owns or, with `container`, one that somebody else created and mcpwatch watches."""

    build: Annotated[BuildSpec | None, BeforeValidator(lambda v: {"context": v} if isinstance(v, str) else v)] = Field(
        None, description="Build the image from this directory instead of naming one."
    )
    container: ContainerName | None = Field(
        None, description="Name of a container that is not ours (compose made it): watched and restarted, never created or removed."
    )
    tmpfs: Texts = Field((), description="Directories in memory, writable even when `read_only` is set.")
    no_new_privileges: bool = Field(False, description="Forbid gaining privileges (setuid programs).")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = [name for name in ("image", "build", "container") if getattr(self, name) is not None]
        if len(origins) != 1:
            raise ValueError(f"write exactly one of image, build, container{'; found ' + ' and '.join(origins) if origins else ''}")
        if self.image is not None and not self.image.strip():
            raise ValueError("image is empty; write its name, or set the variable that it is taken from")
        if self.container is not None:
            extra = sorted(self.model_fields_set - {"container", "host", "context"})
            if extra:
                raise ValueError(f"container is not ours, so {', '.join(extra)} cannot be set here; change it where it is made")
        alone = {"host", "none"} & set(self.networks)
        if alone and len(self.networks) > 1:
            raise ValueError(f"network {alone.pop()!r} stands alone; remove the others")
        if "host" in self.networks and self.ports:
            raise ValueError("ports cannot be published from network 'host'; the container listens on the host itself")
        return self

    def placed(self, place: Callable[[str], str]) -> Self:
        """Build context and mounted paths, from the directory of the file that names them."""
        build = self.build.model_copy(update={"context": place(self.build.context)}) if self.build else None
        return super().placed(place).model_copy(update={"build": build})


def container_name(member: str, spec: DockerSpec) -> str:
    """The name of the member's container on its engine."""
    return spec.container or spec.name or f"mcp-{member}"


def published(port: str) -> tuple[str, int | None, str]:
    """`127.0.0.1:9072:8080/tcp` as (address, published port or `None` for any, `8080/tcp`)."""
    match = _PORT.fullmatch(port)
    assert match is not None
    host = (match["host"] or "127.0.0.1").strip("[]")
    return host, int(match["published"]) if match["published"] else None, f"{match['port']}/{match['protocol'] or 'tcp'}"
