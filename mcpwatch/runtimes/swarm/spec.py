"""What a user writes under `swarm:`: a service of one task. Pure: knows nothing of an engine.

Owns: what of a container's shape a swarm cannot do. Must not know: how services are made (`service`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mcpwatch.runtimes.docker.spec import ContainerSpec, Texts, published

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # what a swarm publishes on, whether one wants it or not


_KEPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(:/?[A-Za-z0-9_.][A-Za-z0-9_./-]*)?")


def _kept(value: str) -> str:
    if not _KEPT.fullmatch(value):
        raise ValueError(f"{value!r} names nothing that a swarm keeps; write NAME or NAME:FILE")
    return value


Kept = Annotated[str, AfterValidator(_kept)]


class SwarmSpec(ContainerSpec):
    """A service of one task, on the node whose engine mcpwatch speaks to (a manager) or, with `placement: any`, on any node."""

    placement: Literal["here", "any"] = Field(
        "here", description="`here`: on the engine mcpwatch speaks to, watched like a container. `any`: the swarm chooses the node."
    )
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
