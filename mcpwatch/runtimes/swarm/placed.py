"""Members as services whose node the swarm chooses and that mcpwatch alone restarts: one task, condition `none`, on any node.

The swarm places each generation anew. Must not know: why a member is started or stopped. Blocking work happens in threads.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Incarnation
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.logs import ContainerLogFollower
from mcpwatch.runtimes.swarm.manager import (
    ManagerView,
    Placement,
    SwarmService,
    create_service,
    look,
    manager_node,
    remove_service,
    running_service,
)
from mcpwatch.runtimes.swarm.services import AGAIN, DRAIN_SECONDS, Refused, SwarmServices, carrier_of, killed_for_memory
from mcpwatch.runtimes.swarm.spec import service_name
from mcpwatch.runtimes.swarm.task import End, Task, ended, refusal

PLACED_SECONDS = 60.0
"""Longest wait until the swarm runs a new task."""
_SIGKILL = 9


@dataclass(slots=True)
class _Live:
    """One task that is one generation of a member."""

    spec: MemberSpec
    generation: int
    engine: Engine
    service: SwarmService
    task: Task
    followers: tuple[ContainerLogFollower, ...] = ()


class PlacedServices(SwarmServices):
    """Carries members whose `carrier` is a `SwarmSpec` with `placement: any` and no `replicas`."""

    placement: Placement = "any"

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        super().__init__(directory, instance)
        self._live: dict[str, _Live] = {}

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Create the service anew and wait until its task runs somewhere. Raises `RuntimeFailed`; then nothing is left."""
        engine = await self._engine(*carrier_of(spec).place)
        self._places.add(carrier_of(spec).place)
        try:
            service, task, sight = await self._blocking(self._place, engine, spec, generation, self._tell(spec.name))
        except Refused as error:
            self._hinder(spec.name, error.cause, str(error))
            raise RuntimeFailed(f"{spec.name}: {error}") from None
        self._hinder(spec.name)
        return self._take(_Live(spec, generation, engine, service, task), sight)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """End the task within the grace that the service was made with, and remove the service."""
        engine = await self._engine(*carrier_of(spec).place)
        live = self._live.pop(spec.name, None)  # first: an end that is wanted is told here, not by the next look
        name = live.service.name if live else service_name(spec.name, carrier_of(spec))
        try:
            code = await self._blocking(self._end, engine, name, grace, live.followers if live else ())
        except RuntimeFailed:
            if live is not None:
                self._live[spec.name] = live
            raise
        if live is not None:
            self._events.put_nowait(Exited(spec.name, live.generation, code, detail="stopped"))

    def usage(self, member: str) -> Usage | None:
        """Where it runs; what it uses is known by that node's engine only."""
        live = self._live.get(member)
        return Usage(started_at=WallTime(live.task.since / 1e9), container=live.task.container) if live else None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _adopt(self, spec: MemberSpec, engine: Engine, service: SwarmService, sight: ManagerView) -> list[Incarnation]:
        task, generation = sight.tasks.get(service.id), service.labels.generation
        end = ended(task, sight.nodes)
        if task is None or end is not None:
            words = end.detail if end else "it has no task"
            code, signal = (end.code, end.signal) if end else (None, None)
            self._events.put_nowait(Exited(spec.name, generation, code, signal, detail=f"ended unwatched, {words}"))
            return []
        return [self._take(_Live(spec, generation, engine, service, task), sight)]

    def _take(self, live: _Live, sight: ManagerView) -> Incarnation:
        """Follow a running task's output and tell of it."""
        self._live[live.spec.name] = live
        live.followers = self._follow(live.engine, live.spec, live.service.name)
        return self._living(live.spec, live.generation, live.service, live.task, sight)

    def _place(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> tuple[SwarmService, Task, ManagerView]:
        """Create the service and wait for its task, or take over the one that runs: after a stop there is none. Blocking."""
        manager_node(engine)
        if running := running_service(engine, self._instance, spec, carrier_of(spec)):
            return running
        service = create_service(engine, self._instance, spec, carrier_of(spec), generation, "")
        deadline, told = time.monotonic() + PLACED_SECONDS, ""
        task: Task | None = None
        sight = ManagerView({}, {})
        while time.monotonic() < deadline and not (task and task.over):
            sight = look(engine, (service.id,))
            task = sight.tasks.get(service.id)
            if task is not None and task.state == "running":
                return service, task, sight
            if task is not None and task.words != told and not task.node:
                told = task.words
                tell(f"waits for a node: {told}")
            time.sleep(AGAIN)
        remove_service(engine, service.name)
        raise Refused(*refusal(task, sight.nodes, carrier_of(spec).image or ""))

    def _watched(self) -> dict[Engine, list[str]]:
        services: dict[Engine, list[str]] = {}
        for live in self._live.values():
            services.setdefault(live.engine, []).append(live.service.id)
        return services

    async def _seen(self, engine: Engine, asked: list[str], sight: ManagerView) -> None:
        loop = asyncio.get_running_loop()
        for live in [live for live in self._live.values() if live.engine is engine and live.service.id in asked]:
            task = sight.tasks.get(live.service.id)
            end = ended(task, sight.nodes)
            if end is not None:
                self._live.pop(live.spec.name)
                loop.run_in_executor(self._threads, self._ended, loop, live, end, task)

    def _ended(self, loop: asyncio.AbstractEventLoop, live: _Live, end: End, task: Task | None) -> None:
        """Learn what is still to be learned of an end, then tell of it. Blocking."""
        oom = end.signal == _SIGKILL and killed_for_memory(live.engine, task)
        loop.call_soon_threadsafe(self._tell_end, live, end, oom)
        for follower in live.followers:
            follower.drain(DRAIN_SECONDS)

    def _tell_end(self, live: _Live, end: End, oom: bool) -> None:
        limit, name = carrier_of(live.spec).memory, live.spec.name
        told = f"; was it for its memory limit of {limit >> 20} MiB? only that node's kernel log tells" if limit else ""
        detail = end.detail + (told if end.signal == _SIGKILL and not oom else "")
        self._hinder(name, end.cause, detail)
        self._events.put_nowait(Exited(name, live.generation, end.code, end.signal, oom=oom, detail=detail))

    def _followers(self) -> list[ContainerLogFollower]:
        return [follower for live in self._live.values() for follower in live.followers]
