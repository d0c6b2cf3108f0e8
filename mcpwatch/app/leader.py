"""Leading a fleet that several watchdogs stand ready for: wait for the lead, act only while it lasts, leave when it is lost.

Owns: what the daemon does about a `leader:` section. Must not know: how a lease is kept (`runtimes.kubernetes.leader`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal, Protocol

from mcpwatch.app.hang import notify
from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError, RuntimeFailed
from mcpwatch.model.fact import Troubled
from mcpwatch.model.incarnation import Incarnation, RuntimeEvent, Started
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.model.view import Usage
from mcpwatch.ports import Alone, Fence, Fenced, Holding, Publish, Reminded, Replacing, Runtime, shares
from mcpwatch.runtimes.kubernetes.spec import LeaderSpec

SUBJECT = "leader"


class Keeper(Fence, Protocol):
    """A fence that is asked for, and given away."""

    def begin(self) -> None:
        """Ask for the lead, and keep it."""
        ...

    def close(self) -> None:
        """Give the lead away. Blocking."""
        ...


class Leadership:
    """This watchdog's part among those of its fleet. Without a `leader:` section it always leads."""

    def __init__(self, publish: Publish, clock: Clock, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called on the loop when the lead was had and is lost: then nothing may be done any more."""
        self.fence: Fence = Alone()
        self.shared = False
        """Whether other watchdogs may take over, so that the end of this one is no end of the fleet."""
        self._publish = publish
        self._clock = clock
        self._on_lost = on_lost
        self._keeper: Keeper | None = None
        self._led = asyncio.Event()

    async def gain(self, plan: Plan, stopping: asyncio.Event) -> bool:
        """Return when we lead; `False` when told to stop before. Raises `McpwatchError` where there is no access to a cluster."""
        spec = plan.section("leader")
        if not isinstance(spec, LeaderSpec):
            return True
        self.shared = True
        self._keeper = self.fence = await asyncio.to_thread(self._make, spec, asyncio.get_running_loop())
        self._keeper.begin()
        notify("READY=1\nSTATUS=stands by")
        waits = [asyncio.create_task(one.wait()) for one in (self._led, stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._led.is_set() and not stopping.is_set()

    def fenced(self, runtime: Runtime) -> Runtime:
        """The same runtime, that acts only while we lead."""
        if not self.shared:
            return runtime
        if isinstance(runtime, Fenced):
            runtime.fence = self.fence
            return runtime
        return FencedRuntime(runtime, self.fence)

    async def close(self) -> None:
        """Give the lead away, so that another takes over at once."""
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.close)

    def _make(self, spec: LeaderSpec, loop: asyncio.AbstractEventLoop) -> Keeper:
        try:
            from mcpwatch.runtimes.kubernetes.api import Cluster
            from mcpwatch.runtimes.kubernetes.leader import LeaseFence
        except ModuleNotFoundError as error:
            raise McpwatchError("leader: this build has no Kubernetes client; install mcpwatch[kubernetes]") from error
        cluster = Cluster(spec.kubeconfig, spec.context)
        namespace, _, name = spec.lease.rpartition("/")
        me = spec.identity or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

        def post(call: Callable[[str], None]) -> Callable[[str], None]:
            def tell(text: str) -> None:
                with contextlib.suppress(RuntimeError):  # the loop has closed
                    loop.call_soon_threadsafe(call, text)

            return tell

        place = namespace or cluster.namespace
        return LeaseFence(cluster, place, name, me, spec.duration, lost=post(self._lost), led=post(self._gained))

    def _gained(self, text: str) -> None:
        self._led.set()
        self._publish(Troubled(at=self._clock.wall(), text=text, level="info", subject=SUBJECT, cleared=True))

    def _lost(self, text: str) -> None:
        """A lead that was lost; or, before the first, why it cannot be had."""
        self._publish(Troubled(at=self._clock.wall(), text=text, level="error", subject=SUBJECT))
        if self._led.is_set():
            self._on_lost()


class FencedRuntime:
    """A runtime that is asked to act only while we lead."""

    def __init__(self, runtime: Runtime, fence: Fence) -> None:
        self._runtime = runtime
        self._fence = fence
        self.name = runtime.name
        self.supervision: Literal["ours", "theirs"] = runtime.supervision

    def remind(self, started: Mapping[str, Started]) -> None:
        """As `ports.Reminded`, where the runtime is one."""
        if isinstance(self._runtime, Reminded):
            self._runtime.remind(started)

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """As `ports.Runtime`."""
        self._check()
        return await self._runtime.owned(specs)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """As `ports.Runtime`."""
        self._check()
        return await self._runtime.start(spec, generation)

    def number(self, living: Incarnation) -> None:
        """As `ports.Runtime`; counting is no act."""
        self._runtime.number(living)

    def supervises(self, spec: MemberSpec) -> Literal["ours", "theirs"]:
        """As `ports.Sharing`; of any other runtime, for all its members."""
        return self._runtime.supervises(spec) if shares(self._runtime) else self.supervision

    async def release(self, spec: MemberSpec) -> None:
        """As `ports.Replacing`; any other runtime ends what runs."""
        self._check()
        if isinstance(self._runtime, Replacing):
            await self._runtime.release(spec)
        else:
            await self._runtime.stop(spec, spec.stop_grace)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """As `ports.Runtime`."""
        self._check()
        await self._runtime.stop(spec, grace)

    def hold(self, member: str, *, down: bool) -> None:
        """As `ports.Holding`, where the runtime is one."""
        if isinstance(self._runtime, Holding):
            self._runtime.hold(member, down=down)

    async def resume(self, spec: MemberSpec) -> None:
        """As `ports.Runtime`."""
        self._check()
        await self._runtime.resume(spec)

    def watch(self) -> AsyncIterator[RuntimeEvent]:
        """As `ports.Runtime`."""
        return self._runtime.watch()

    def usage(self, member: str) -> Usage | None:
        """As `ports.Runtime`."""
        return self._runtime.usage(member)

    async def close(self) -> None:
        """As `ports.Runtime`."""
        await self._runtime.close()

    def _check(self) -> None:
        if not self._fence.holds():
            raise RuntimeFailed("not done, another watchdog leads this fleet")
