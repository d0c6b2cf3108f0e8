"""A runtime on the real control plane, and the tests' hands on both. The fixture `plane` is in conftest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mcpwatch.model.incarnation import Hindered
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Fence
from mcpwatch.runtimes.kubernetes.runtime import KubernetesRuntime
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec
from tests.runtimes.kubernetes.cluster import Cluster, Raw
from tests.runtimes.kubernetes.lab import Told

MARKS = [
    pytest.mark.slow,
    pytest.mark.needs("kubernetes"),
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.timeout(300),
]
"""Of every test on the control plane."""
BOUND = 120.0


@dataclass
class Bench(Told):
    """A namespace of its own, a runtime, and what it told."""

    bound: ClassVar[float] = BOUND
    plane: Cluster
    namespace: str
    kubeconfig: str

    def spec(self, name: str = "time", *, start_grace: float = 100.0, fingerprint: str = "f1", **carrier: Any) -> MemberSpec:
        """A member with image `x`, unless something else is written."""
        origin: Raw = {} if "deployment" in carrier else {"image": "x", "namespace": self.namespace}
        made = KubernetesSpec.model_validate({"kubeconfig": self.kubeconfig, "logs": False, **origin, **carrier})
        return MemberSpec(name, "server", "kubernetes", made, fingerprint, start_grace=start_grace)

    async def start(self, spec: MemberSpec, generation: int = 1) -> str:
        """Start it; returns the name of its pod."""
        async with asyncio.timeout(BOUND):
            return (await self.runtime.start(spec, generation)).container or ""

    def path(self, kind: str, name: str) -> str:
        """Where an object of this namespace is."""
        group = "/apis/apps/v1" if kind in {"deployments", "statefulsets"} else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}/{name}"

    def get(self, kind: str, name: str) -> Raw:
        """An object of this namespace."""
        return self.plane.call("GET", self.path(kind, name))

    def play(self, pod: str, state: Raw, *, ready: bool = False, **more: Any) -> None:
        """What the kubelet would say of the pod's container."""
        one = {"name": "server", "image": "x", "imageID": "", "ready": ready, "restartCount": 0, "state": state, **more}
        word = "True" if ready else "False"
        conditions = [{"type": kind, "status": word} for kind in ("Ready", "ContainersReady")]
        self.plane.status(self.path("pods", pod), {"containerStatuses": [one], "conditions": conditions})

    async def cause(self, name: str) -> str:
        """The words with which a cause of that name is told."""
        return (await self.event(Hindered, lambda found: found.cause == name)).text


@asynccontextmanager
async def bench(
    plane: Cluster, directory: Path, namespace: str, *, labels: Raw | None = None, fence: Fence | None = None, kubeconfig: str = ""
) -> AsyncGenerator[Bench]:
    if labels is not None:
        await asyncio.to_thread(plane.namespace, namespace, labels)
    runtime = KubernetesRuntime(directory, "0123456789ab")
    if fence is not None:
        runtime.fence = fence
    made = Bench(plane, namespace, kubeconfig or str(plane.kubeconfig), runtime=runtime)
    task = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        task.cancel()
        await runtime.close()
