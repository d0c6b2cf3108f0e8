"""What a user writes under `swarm:`: a service of one task. Pure: knows nothing of an engine.

Owns: what of a container's shape a swarm cannot do. Must not know: how services are made (`service`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.docker.spec import ContainerSpec, Texts, published
from mcpwatch.units import Span, matching

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # what a swarm publishes on, whether one wants it or not


_KEPT = r"[A-Za-z0-9][A-Za-z0-9_.-]*(:/?[A-Za-z0-9_.][A-Za-z0-9_./-]*)?"
Kept = Annotated[str, matching(_KEPT, "names nothing that a swarm keeps; write NAME or NAME:FILE")]


class TaskProbeSpec(KindSpec):
    """How the engine asks each task whether it serves, by MCP: its health check. A task counts as running when it was proved.

    `python3`: a short program that the image's own python3 runs. `mcpwatch`: `mcpwatch check`, in images that have it. `none`: not
    at all.
    """

    kind: Literal["none", "python3", "mcpwatch"] = Field("none", description="What of the image speaks MCP to the task.")
    interval: Span = Field(10.0, description="Pause between two probes; the first one comes after it.")
    timeout: Span = Field(10.0, description="Longest probe.")
    failure_threshold: int = Field(3, ge=1, description="Failures in a row after which the swarm replaces the task.")


class SwarmSpec(ContainerSpec):
    """A service of one task or several: on the node whose engine mcpwatch speaks to or, with `placement: any`, on any node."""

    placement: Literal["here", "any"] = Field(
        "here", description="`here`: on the engine mcpwatch speaks to, watched like a container. `any`: the swarm chooses the node."
    )
    replicas: int | None = Field(
        None,
        ge=1,
        description="Tasks at once, with `placement: any`. Where it is written, also as 1, the swarm starts ended tasks again, and "
        "restarts and changes are rolling updates.",
    )
    probe: TaskProbeSpec = Field(TaskProbeSpec.unwritten(), description="How the engine asks each task by MCP.")
    preferences: Texts = Field((), description="Node labels to spread over, e.g. `node.labels.zone`.")
    secrets: tuple[Kept, ...] = Field((), description="Secrets of the swarm, each a file /run/secrets/NAME, or `NAME:FILE`.")
    configs: tuple[Kept, ...] = Field((), description="Configs of the swarm, each a file /NAME, or `NAME:/path`.")

    constraints: tuple[str, ...] = Field((), description="Further placement constraints, e.g. `node.labels.disk==ssd`.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.image is None:
            raise ValueError("write image; a swarm builds nothing")
        for port in self.ports:
            host, outside, _ = published(port)
            if host != _EVERYWHERE or outside is None:
                raise ValueError(f"{port!r}: a swarm publishes on every address; say so: 0.0.0.0:9072:8080")
        if self.replicas is not None and self.placement != "any":
            raise ValueError("replicas need placement: any")
        if self.probe.kind != "none" and self.healthcheck is not None:
            raise ValueError("write probe or healthcheck; an engine has one health check for a task")
        if {"host", "none"} & set(self.networks):
            raise ValueError("a swarm's service joins overlay networks; remove 'host' and 'none'")
        return self

    @property
    def place(self) -> tuple[str | None, str | None]:
        """Host and context of the manager's engine."""
        return self.host, self.context


def service_name(member: str, spec: SwarmSpec) -> str:
    """The name of the member's service."""
    return spec.name or f"mcp-{member}"
