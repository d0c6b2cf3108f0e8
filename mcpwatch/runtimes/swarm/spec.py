"""What a user writes under `swarm:`: a service of one task. Pure: knows nothing of an engine.

Owns: what of a container's shape a swarm cannot do. Must not know: how services are made (`service`).
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mcpwatch.runtimes.docker.spec import ContainerSpec, published

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # what a swarm publishes on, whether one wants it or not


class SwarmSpec(ContainerSpec):
    """A service of one task, on the node whose engine mcpwatch speaks to (a manager)."""

    constraints: tuple[str, ...] = Field((), description="Further placement constraints, e.g. `node.labels.disk==ssd`.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.image is None:
            raise ValueError("write image; a swarm builds nothing")
        for port in self.ports:
            host, outside, _ = published(port)
            if host != _EVERYWHERE or outside is None:
                raise ValueError(f"{port!r}: a swarm publishes on every address; say so: 0.0.0.0:9072:8080")
        if {"host", "none"} & set(self.networks):
            raise ValueError("a swarm's service joins overlay networks; remove 'host' and 'none'")
        return self


def service_name(member: str, spec: SwarmSpec) -> str:
    """The name of the member's service."""
    return spec.name or f"mcp-{member}"
