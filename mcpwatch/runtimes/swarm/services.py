"""What is common to members whose node the swarm chooses, whoever starts ended tasks again: managers, looks, logs, ends.

Everything is known from the managers: task states, and the log of each service; what only a task's own engine knows (its memory,
an OOM kill) is known where that is the engine we speak to. Must not know: what an end leads to. Blocking work happens in threads.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Gone, Hindered, Incarnation, Preparing, RuntimeEvent
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.launch import reach
from mcpwatch.runtimes.docker.logs import ContainerLogFollower, LogFile
from mcpwatch.runtimes.docker.refusal import EngineAway
from mcpwatch.runtimes.docker.spec import published
from mcpwatch.runtimes.swarm.manager import (
    ManagerView,
    Placement,
    ServiceLog,
    SwarmService,
    empty_service,
    look,
    our_services,
    remove_service,
)
from mcpwatch.runtimes.swarm.places import Place, Places
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name
from mcpwatch.runtimes.swarm.task import Task, ended, node_name

LOOK_SECONDS = 2.0
"""How often the managers are asked for the states of tasks, while there are any: a swarm has no events for them."""
DRAIN_SECONDS = 5.0
"""Longest wait for the last lines of an ended task."""
AGAIN = 0.2
"""Seconds between two looks at what is under way."""
THREADS = 16
"""Starts, stops and looks under way at once; more wait."""
T = TypeVar("T")


class SwarmServices(ABC):
    """Managers by place, and what every member on them needs. Touches no engine before the first of them."""

    placement: Placement

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self._logs = directory / "logs"
        self._instance = instance
        self._places = Places(directory)
        self._engines: dict[Place, Engine] = {}
        self._away = self._closed = False
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="swarm")
        self._hindered: frozenset[str] = frozenset()
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt the services that run and are wanted; remove those that are ours and are not, wherever one was ever placed."""
        wanted = {spec.name: spec for spec in specs}
        needed = {carrier_of(spec).place for spec in specs}
        adopted: list[Incarnation] = []
        for place in sorted(needed | self._places.load(), key=str):
            try:
                engine = await self._engine(*place)
                services = await asyncio.to_thread(our_services, engine, self._instance)
                sight = await asyncio.to_thread(look, engine, [service.id for service in services])
            except RuntimeFailed as error:
                if place in needed:
                    self._lost(str(error))
                continue
            for service in (service for service in services if service.placement == self.placement):
                spec = wanted.get(service.labels.member)
                if spec is None or service.name != service_name(spec.name, carrier_of(spec)) or carrier_of(spec).place != place:
                    await asyncio.to_thread(remove_service, engine, service.name)
                    continue
                adopted += self._adopt(spec, engine, service, sight)
        return tuple(adopted)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """What happens to every member, once; and the managers going and coming back."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS if self._watched() and not self._closed else None):
                    event = await self._events.get()
            except TimeoutError:
                await self._look()
                continue
            yield event

    async def close(self) -> None:
        """Let go of every engine; no service is touched."""
        self._closed = True
        for follower in self._followers():
            follower.close()
        for engine in self._engines.values():
            await asyncio.to_thread(engine.close)
        self._engines.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- what the two kinds differ in -----------------------------------------------------------------------------------

    @abstractmethod
    def _adopt(self, spec: MemberSpec, engine: Engine, service: SwarmService, sight: ManagerView) -> list[Incarnation]: ...

    @abstractmethod
    def _watched(self) -> dict[Engine, list[str]]:
        """The services that are looked at, by id."""

    @abstractmethod
    async def _seen(self, engine: Engine, asked: list[str], sight: ManagerView) -> None:
        """One look at the services of one engine."""

    @abstractmethod
    def _followers(self) -> list[ContainerLogFollower]: ...

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _engine(self, host: str | None, context: str | None) -> Engine:
        known = self._engines.get((host, context))
        if known is None:
            known = Engine(host, context)
            await asyncio.to_thread(known.connect)
            self._engines[host, context] = known
        return known

    async def _blocking(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a call of an engine in a thread of our own pool: a task that waits for a node keeps no other runtime waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def _tell(self, member: str) -> Tell:
        """Tells a step of a start, from any thread."""
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, Preparing(member, text))

        return tell

    def _follow(self, engine: Engine, spec: MemberSpec, service: str) -> tuple[ContainerLogFollower, ...]:
        """Copy the output of a service from now on, from the saved positions."""
        source, directory = ServiceLog(engine, lasting=self.placement == "replicas"), self._logs / spec.name
        return tuple(ContainerLogFollower(source, service, LogFile(directory, stream), stream) for stream in ("stdout", "stderr"))

    def _living(self, spec: MemberSpec, generation: int, service: SwarmService, task: Task, sight: ManagerView) -> Incarnation:
        """A running task as the watchdog knows it, with the node told."""
        node = sight.nodes.get(task.node)
        self._events.put_nowait(Preparing(spec.name, f"runs on node {node_name(node, task.node)}"))
        started = WallTime(task.since / 1e9)
        fingerprint = service.labels.fingerprint
        return Incarnation(spec.name, generation, fingerprint, None, task.container, started, direct_of(spec, service, task, sight))

    def _end(self, engine: Engine, name: str, grace: float, followers: tuple[ContainerLogFollower, ...]) -> int | None:
        """End the tasks, drain their log, remove the service; returns the exit code where the swarm told it. Blocking."""
        service = empty_service(engine, name)
        if service is None:
            return None
        deadline, last = time.monotonic() + grace + DRAIN_SECONDS, None
        while time.monotonic() < deadline:
            sight = look(engine, (service,))
            last = sight.tasks.get(service) or last
            if all(ended(task, sight.nodes) is not None for task in sight.every.get(service, ())):
                break  # on a node that is down it cannot be seen; the swarm ends it when that node comes back
            time.sleep(AGAIN)
        remove_service(engine, name)
        for follower in followers:
            follower.drain(DRAIN_SECONDS)
        return last.code if last and last.over else None

    async def _look(self) -> None:
        """One look at all services; what happened is told, and managers that do not answer."""
        services, seen = self._watched(), 0
        for engine, wanted in services.items():
            if self._closed:
                return
            try:
                sight = await self._blocking(_see, engine, wanted)
            except RuntimeFailed as error:
                self._lost(str(error))
                continue
            seen += 1
            await self._seen(engine, wanted, sight)
        if self._away and services and seen == len(services):
            self._away = False
            self._events.put_nowait(Gone("swarm", back=True))

    def _lost(self, detail: str) -> None:
        """Managers do not answer: told once."""
        if not self._away:
            self._events.put_nowait(Gone("swarm", detail))
        self._away = True

    def _hinder(self, member: str, cause: str = "", text: str = "") -> None:
        """Tell what keeps a member from running, by name; without a cause, that nothing known does any more."""
        if cause or member in self._hindered:
            self._events.put_nowait(Hindered(member, cause, text if cause else ""))
        self._hindered = self._hindered | {member} if cause else self._hindered - {member}


class Refused(Exception):
    """The swarm does not run a new task: `cause` names why, or is empty."""

    def __init__(self, cause: str, words: str) -> None:
        super().__init__(words)
        self.cause = cause


def direct_of(spec: MemberSpec, service: SwarmService, task: Task, sight: ManagerView) -> Target | None:
    """Where a task is reached: at its node, where a port is published."""
    if not spec.direct:
        return None
    node = sight.nodes.get(task.node)
    outside = [(inside, node.address, number) for _, number, inside in map(published, carrier_of(spec).ports) if node and number]
    seen = Container(task.container, service.name, "", running=True, labels=service.labels, ports=tuple(outside))
    return reach(spec.direct, seen)


def killed_for_memory(engine: Engine, task: Task | None) -> bool:
    """Whether the kernel killed it for its memory, as far as the engine that we speak to ran it. Blocking."""
    try:
        found = engine.find(task.container) if task and task.container else None
    except RuntimeFailed:
        return False
    return found is not None and found.oom


def carrier_of(spec: MemberSpec) -> SwarmSpec:
    """What is written for it under `swarm:`. Raises `RuntimeFailed`."""
    if not isinstance(spec.carrier, SwarmSpec):
        raise RuntimeFailed(f"{spec.name}: not a service of a swarm ({type(spec.carrier).__name__})", permanent=True)
    return spec.carrier


def _see(engine: Engine, services: Sequence[str]) -> ManagerView:
    """One look, over a new connection where the old one is broken. Blocking."""
    try:
        return look(engine, services)
    except EngineAway:
        engine.connect()
        return look(engine, services)
