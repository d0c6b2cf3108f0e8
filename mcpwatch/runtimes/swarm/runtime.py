"""The swarm runtime: one service per member, by its placement and by who starts ended tasks again.

`here`: one task on the node that mcpwatch speaks to, whose engine knows log, end and memory. `any`: one task where the
swarm chooses (`placed`). `any` with `replicas`: tasks that the swarm keeps (`replicated`). Must not know: why a member is started
or stopped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.container_runtime import ContainerRuntime
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.swarm.launch import ServiceLaunch
from mcpwatch.runtimes.swarm.manager import remove_service
from mcpwatch.runtimes.swarm.own_task import OwnTask
from mcpwatch.runtimes.swarm.placed import PlacedServices
from mcpwatch.runtimes.swarm.replicated import ReplicatedServices
from mcpwatch.runtimes.swarm.services import carrier_of
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name


class SwarmRuntime:
    """Carries members whose `carrier` is a `SwarmSpec`, by the runtime of their placement."""

    name = "swarm"
    supervision: Literal["ours", "theirs"] = "ours"

    def __init__(self, directory: Path, instance: str, environment: Mapping[str, str] = os.environ) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Touches no engine yet."""
        self._own = OwnTask(environment)
        self._here = HereServices(directory, instance)
        self._placed = PlacedServices(directory, instance)
        self._replicated = ReplicatedServices(directory, instance)

    def supervises(self, spec: MemberSpec) -> Literal["ours", "theirs"]:
        """The swarm brings back the tasks of a member with `replicas`, and no others."""
        return "theirs" if self._of(spec) is self._replicated else "ours"

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """What runs and is wanted, wherever; what is ours and is not wanted is ended."""
        found: list[Incarnation] = []
        for runtime in (self._here, self._placed, self._replicated):
            found += await runtime.owned(tuple(spec for spec in specs if self._of(spec) is runtime))
        return tuple(found)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Start the member's service. Raises `RuntimeFailed`."""
        await self._own.check()
        return await self._of(spec).start(spec, generation)

    def number(self, living: Incarnation) -> None:
        """The number of a task that the swarm started by itself; every other start is asked for, with its number."""
        self._replicated.number(living)

    async def release(self, spec: MemberSpec) -> None:
        """The next start replaces what runs: by a rolling update where there are replicas, else it ends first."""
        await self._own.check()
        if self._of(spec) is self._replicated:
            await self._replicated.release(spec)
        else:
            await self._of(spec).stop(spec, spec.stop_grace)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """End the member's tasks and remove its service. Raises `RuntimeFailed`."""
        await self._own.check()
        await self._of(spec).stop(spec, grace)

    async def resume(self, spec: MemberSpec) -> None:
        """Let a paused task run again, where its engine can be asked."""
        await self._own.check()
        if self._of(spec) is self._here:
            await self._here.resume(spec)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end of every task, once; and engines going and coming back."""
        events: asyncio.Queue[RuntimeEvent | RuntimeFailed] = asyncio.Queue()

        async def listen(runtime: HereServices | PlacedServices | ReplicatedServices) -> None:
            try:
                async for event in runtime.watch():
                    events.put_nowait(event)
            except RuntimeFailed as error:
                events.put_nowait(error)
            except Exception as error:  # noqa: BLE001 - told, and watched again: the others go on
                events.put_nowait(RuntimeFailed(f"{type(error).__name__}: {error}"))

        listening = [asyncio.create_task(listen(runtime)) for runtime in (self._here, self._placed, self._replicated)]
        try:
            while True:
                event = await events.get()
                if isinstance(event, RuntimeFailed):
                    raise event
                yield event
        finally:
            for task in listening:
                task.cancel()

    def usage(self, member: str) -> Usage | None:
        """What it used at the last look, as far as that can be known."""
        return self._here.usage(member) or self._placed.usage(member) or self._replicated.usage(member)

    async def close(self) -> None:
        """Let go of every engine; no service is touched."""
        await self._here.close()
        await self._placed.close()
        await self._replicated.close()
        await asyncio.to_thread(self._own.close)

    def _of(self, spec: MemberSpec) -> HereServices | PlacedServices | ReplicatedServices:
        carrier = spec.carrier
        if not isinstance(carrier, SwarmSpec) or carrier.placement == "here":
            return self._here
        return self._placed if carrier.replicas is None else self._replicated


class HereServices(ContainerRuntime):
    """Carries members whose `carrier` is a `SwarmSpec` with `placement: here`, watched like containers."""

    name = "swarm"
    spec = SwarmSpec

    def launch(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> ServiceLaunch:
        """Always a new service: a task that ended is history to a swarm."""
        return ServiceLaunch(engine, self._instance, spec, carrier_of(spec), generation, tell)

    def belongs(self, container: Container, spec: MemberSpec | None) -> bool:
        """By the service whose task it carries."""
        return bool(container.service) and (spec is None or container.service == service_name(spec.name, carrier_of(spec)))

    def end(self, engine: Engine, container: Container, grace: float) -> Container | None:
        """SIGTERM, grace, SIGKILL to the container, then the service goes: the other way round the swarm would choose the grace."""
        engine.stop(container.id, grace)
        after = engine.find(container.id)
        remove_service(engine, container.service)
        return after

    def clear(self, engine: Engine, container: Container) -> None:
        """Remove the ended task's container, which the swarm would keep for a while."""
        engine.remove(container.id)
