"""A runtime beside an API server, and the tests' hands on both: they play the controllers and the kubelets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mcpwatch.model.incarnation import RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Fence
from mcpwatch.runtimes.kubernetes.manifests import GENERATION, MEMBER
from mcpwatch.runtimes.kubernetes.runtime import KubernetesRuntime
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec
from tests.fakes.kubernetes import KubernetesServer, kubernetes_server
from tests.runtimes.kubernetes.shapes import Raw, running

BOUND = 60.0
T = TypeVar("T")


@dataclass(kw_only=True)
class Told:
    """A runtime, and what it told; `bound` is the longest wait for an event, in seconds."""

    bound: ClassVar[float] = BOUND
    runtime: KubernetesRuntime
    told: list[RuntimeEvent] = field(default_factory=list["RuntimeEvent"])
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def event(self, kind: type[T], matches: Callable[[T], bool] = lambda _: True) -> T:
        """The first event told of that kind, from now or before."""
        async with asyncio.timeout(self.bound):
            while True:
                found = next((one for one in self.told if isinstance(one, kind) and matches(one)), None)
                if found is not None:
                    return found
                self.heard.clear()
                await self.heard.wait()

    async def listen(self) -> None:
        """Collect what the runtime tells."""
        async for event in self.runtime.watch():
            self.told.append(event)
            self.heard.set()


@dataclass
class Lab(Told):
    """One runtime, its server, and what the runtime told."""

    server: KubernetesServer
    directory: Path
    kubeconfig: str

    def spec(self, name: str = "time", *, start_grace: float = 60.0, fingerprint: str = "f1", **carrier: Any) -> MemberSpec:
        """A member; `carrier` is what is written under `kubernetes:`."""
        written = {"kubeconfig": self.kubeconfig, **(carrier or {"image": "time:1"})}
        made = KubernetesSpec.model_validate(written)
        return MemberSpec(name, "server", "kubernetes", made, fingerprint, start_grace=start_grace)

    def deployment(self, name: str = "mcp-time") -> Raw:
        """A Deployment as it is stored."""
        return self.server.objects[f"/apis/apps/v1/namespaces/mcp/deployments/{name}"]

    def play_pod(self, name: str = "mcp-time-1", *, member: str = "time", generation: int = 1, status: Raw | None = None) -> str:
        """A pod of a member, as the controllers make it; returns its path."""
        path = f"/api/v1/namespaces/mcp/pods/{name}"
        labels = {"mcpwatch.dev/fleet": "0123456789ab", MEMBER: member}
        meta = {
            "name": name,
            "labels": labels,
            "annotations": {GENERATION: str(generation)},
            "creationTimestamp": "2026-11-29T15:00:00Z",
        }
        self.server.put(path, {"metadata": meta, "spec": {"nodeName": "node-1"}, "status": status or running()})
        return path

    async def until(self, true: Callable[[], object]) -> None:
        """Return when the server's state makes this true."""
        async with asyncio.timeout(BOUND):
            while not true():  # noqa: ASYNC110 - the server's threads change it
                await asyncio.sleep(0.005)


@asynccontextmanager
async def lab(directory: Path, *, fence: Fence | None = None, server: KubernetesServer | None = None) -> AsyncGenerator[Lab]:
    """A runtime that ends with the block; with `server`, beside another on the same one."""
    with kubernetes_server() as own:
        chosen = server or own
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        runtime = KubernetesRuntime(directory, "0123456789ab")
        if fence is not None:
            runtime.fence = fence
        made = Lab(chosen, directory, chosen.kubeconfig(directory / "kubeconfig"), runtime=runtime)
        task = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            task.cancel()
            await runtime.close()
