"""What a user writes under `leader:`: several watchdogs stand ready for one fleet, and the one that holds a Lease leads. Pure."""

from __future__ import annotations

from pydantic import Field, field_validator

from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.kubernetes.spec import Place
from mcpwatch.units import Span

SHORTEST = 3.0
"""Seconds: a shorter lease would be lost to a slow answer."""


class LeaderSpec(KindSpec):
    """A Lease of Kubernetes decides which of several watchdogs acts. The others stand by, and take over without a restart."""

    lease: Place = Field(description="`namespace/name` of the Lease. Without a namespace: that of the pod, or of the context.")
    duration: Span = Field(15.0, description="How long a leader that says nothing more is waited for. At least 3s.")
    identity: str | None = Field(None, description="Our name in the Lease. Default: the host's name and a random part.")
    context: str | None = Field(
        None, description="Context of the kubeconfig. Default: in a pod its own cluster, else the current one."
    )
    kubeconfig: str | None = Field(None, description="The kubeconfig file. Default: `KUBECONFIG`, else `~/.kube/config`.")

    @field_validator("duration")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if value < SHORTEST:
            raise ValueError(f"is shorter than {SHORTEST:g}s: a slow answer of the cluster would cost the lead")
        return value


SECTION = ("leader", LeaderSpec)
