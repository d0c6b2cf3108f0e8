"""Members as services whose node the swarm chooses: a service of one task, restart condition `none`, on any node.

Everything is known from the manager: task states (ends, codes, nodes that went down or were drained), and the log of the service.
mcpwatch alone restarts (one owner); the swarm places each generation anew. What only a task's own engine knows (its memory, an OOM
kill) is not known here. Must not know: why a member is started or stopped. Blocking work happens in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.ports import Exited, Gone, Hindered, Incarnation, Preparing, RuntimeEvent
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.launch import reach
from mcpwatch.runtimes.docker.logs import Follower, LogFile
from mcpwatch.runtimes.docker.refusal import EngineAway
from mcpwatch.runtimes.docker.spec import published
from mcpwatch.runtimes.swarm.manager import (
    Service,
    ServiceLog,
    Sight,
    create_service,
    empty_service,
    look,
    manager_node,
    our_services,
    remove_service,
)
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name
from mcpwatch.runtimes.swarm.task import Task, ended, node_name, refusal

LOOK_SECONDS = 2.0
"""How often the managers are asked for the states of tasks, while there are any: a swarm has no events for them."""
PLACED_SECONDS = 60.0
"""Longest wait until the swarm runs a new task."""
DRAIN_SECONDS = 5.0
"""Longest wait for the last lines of an ended task."""
_AGAIN = 0.2
THREADS = 16
"""Starts, stops and looks under way at once; more wait."""
T = TypeVar("T")


@dataclass(slots=True)
class _Live:
    """One task that is one generation of a member."""

    spec: MemberSpec
    generation: int
    engine: Engine
    service: Service
    task: Task
    followers: tuple[Follower, ...] = ()


class PlacedServices:
    """Carries members whose `carrier` is a `SwarmSpec` with `placement: any`. Touches no engine before the first of them."""

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self._logs = directory / "logs"
        self._instance = instance
        self._engines: dict[tuple[str | None, str | None], Engine] = {}
        self._live: dict[str, _Live] = {}
        self._away = False
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="swarm")
        self._hindered: frozenset[str] = frozenset()
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt the services that run and are wanted; remove those that are ours and are not."""
        wanted = {spec.name: spec for spec in specs}
        adopted: list[Incarnation] = []
        for place in sorted({_carrier(spec).place for spec in specs}, key=str):
            try:
                engine = await self._engine(*place)
                services = await asyncio.to_thread(our_services, engine, self._instance)
                sight = await asyncio.to_thread(look, engine, [service.id for service in services])
            except RuntimeFailed as error:
                self._lost(str(error))
                continue
            for service in (service for service in services if service.anywhere):
                spec = wanted.get(service.labels.member)
                if spec is None or service.name != service_name(spec.name, _carrier(spec)):
                    await asyncio.to_thread(remove_service, engine, service.name)
                    continue
                adopted += self._adopt(spec, engine, service, sight)
        return tuple(adopted)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Create the service anew and wait until its task runs somewhere. Raises `RuntimeFailed`; then nothing is left."""
        engine, loop = await self._engine(*_carrier(spec).place), asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, Preparing(spec.name, text))

        try:
            service, task, sight = await self._blocking(self._place, engine, spec, generation, tell)
        except _Refused as error:
            self._hinder(spec.name, error.cause, str(error))
            raise RuntimeFailed(f"{spec.name}: {error}") from None
        self._hinder(spec.name)
        return self._take(_Live(spec, generation, engine, service, task), sight)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """End the task within the grace that the service was made with, and remove the service."""
        engine = await self._engine(*_carrier(spec).place)
        live = self._live.pop(spec.name, None)  # first: an end that is wanted is told here, not by the next look
        name = live.service.name if live else service_name(spec.name, _carrier(spec))
        try:
            code = await self._blocking(self._end, engine, name, grace, live.followers if live else ())
        except RuntimeFailed:
            if live is not None:
                self._live[spec.name] = live
            raise
        if live is not None:
            self._events.put_nowait(Exited(spec.name, live.generation, code, detail="stopped"))

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end of every task, once; and the managers going and coming back."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS if self._live else None):
                    event = await self._events.get()
            except TimeoutError:
                await self._look()
                continue
            yield event

    def usage(self, member: str) -> Usage | None:
        """Where it runs; what it uses is known by that node's engine only."""
        live = self._live.get(member)
        return Usage(started_at=WallTime(live.task.since / 1e9), container=live.task.container) if live else None

    async def close(self) -> None:
        """Let go of every engine; no service is touched."""
        for live in self._live.values():
            for follower in live.followers:
                follower.close()
        for engine in self._engines.values():
            await asyncio.to_thread(engine.close)
        self._engines.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _engine(self, host: str | None, context: str | None) -> Engine:
        known = self._engines.get((host, context))
        if known is None:
            known = Engine(host, context)
            await asyncio.to_thread(known.connect)
            self._engines[host, context] = known
        return known

    def _adopt(self, spec: MemberSpec, engine: Engine, service: Service, sight: Sight) -> list[Incarnation]:
        task, generation = sight.tasks.get(service.id), service.labels.generation
        end = ended(task, sight.nodes)
        if task is None or end is not None:
            words = end.detail if end else "it has no task"
            code, signal = (end.code, end.signal) if end else (None, None)
            self._events.put_nowait(Exited(spec.name, generation, code, signal, detail=f"ended unwatched, {words}"))
            return []
        return [self._take(_Live(spec, generation, engine, service, task), sight)]

    def _take(self, live: _Live, sight: Sight) -> Incarnation:
        """Follow a running task's output and tell of it."""
        spec, task, name = live.spec, live.task, live.service.name
        self._live[spec.name] = live
        source, directory = ServiceLog(live.engine), self._logs / spec.name
        live.followers = tuple(Follower(source, name, LogFile(directory, stream), stream) for stream in ("stdout", "stderr"))
        node = sight.nodes.get(task.node)
        outside = [(inside, node.address, number) for _, number, inside in map(published, _carrier(spec).ports) if node and number]
        seen = Container(task.container, name, "", running=True, labels=live.service.labels, ports=tuple(outside))
        direct = reach(spec.direct, seen) if spec.direct else None
        self._events.put_nowait(Preparing(spec.name, f"runs on node {node_name(node, task.node)}"))
        started = WallTime(task.since / 1e9)
        fingerprint = live.service.labels.fingerprint
        return Incarnation(spec.name, live.generation, fingerprint, None, task.container, started, direct)

    def _place(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> tuple[Service, Task, Sight]:
        """Create the service and wait for its task. Blocking."""
        manager_node(engine)
        service = create_service(engine, self._instance, spec, _carrier(spec), generation, "")
        deadline, told = time.monotonic() + PLACED_SECONDS, ""
        task: Task | None = None
        sight = Sight({}, {})
        while time.monotonic() < deadline and not (task and task.over):
            sight = look(engine, (service.id,))
            task = sight.tasks.get(service.id)
            if task is not None and task.state == "running":
                return service, task, sight
            if task is not None and task.words != told and not task.node:
                told = task.words
                tell(f"waits for a node: {told}")
            time.sleep(_AGAIN)
        remove_service(engine, service.name)
        raise _Refused(*refusal(task, sight.nodes, _carrier(spec).image or ""))

    def _end(self, engine: Engine, name: str, grace: float, followers: tuple[Follower, ...]) -> int | None:
        """End the task, drain its log, remove the service; returns its exit code where the swarm told it. Blocking."""
        service = empty_service(engine, name)
        if service is None:
            return None
        deadline, task = time.monotonic() + grace + DRAIN_SECONDS, None
        while time.monotonic() < deadline:
            sight = look(engine, (service,))
            task = sight.tasks.get(service) or task
            if ended(sight.tasks.get(service), sight.nodes) is not None:
                break  # on a node that is down it cannot be seen; the swarm ends it when that node comes back
            time.sleep(_AGAIN)
        remove_service(engine, name)
        for follower in followers:
            follower.drain(DRAIN_SECONDS)
        return task.code if task and task.over else None

    async def _look(self) -> None:
        """One look at all tasks; ends are told, and managers that do not answer."""
        services: dict[Engine, list[str]] = {}
        for live in self._live.values():
            services.setdefault(live.engine, []).append(live.service.id)
        if not services:
            return
        sights: dict[Engine, Sight] = {}
        for engine, wanted in services.items():
            try:
                sights[engine] = await self._blocking(_see, engine, wanted)
            except RuntimeFailed as error:
                self._lost(str(error))
        if self._away and len(sights) == len(services):
            self._away = False
            self._events.put_nowait(Gone("swarm", back=True))
        for live in list(self._live.values()):
            sight = sights.get(live.engine)
            if sight is not None and self._live.get(live.spec.name) is live:
                self._judge(live, sight)

    def _lost(self, detail: str) -> None:
        """Managers do not answer: told once."""
        if not self._away:
            self._events.put_nowait(Gone("swarm", detail))
        self._away = True

    async def _blocking(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a call of an engine in a thread of our own pool: a task that waits for a node keeps no other runtime waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def _judge(self, live: _Live, sight: Sight) -> None:
        end = ended(sight.tasks.get(live.service.id), sight.nodes)
        if end is None:
            return
        self._live.pop(live.spec.name)
        for follower in live.followers:
            asyncio.get_running_loop().run_in_executor(self._threads, follower.drain, DRAIN_SECONDS)
        self._hinder(live.spec.name, end.cause, end.detail)
        self._events.put_nowait(Exited(live.spec.name, live.generation, end.code, end.signal, detail=end.detail))

    def _hinder(self, member: str, cause: str = "", text: str = "") -> None:
        """Tell what keeps a member from running, by name; without a cause, that nothing known does any more."""
        if cause or member in self._hindered:
            self._events.put_nowait(Hindered(member, cause, text if cause else ""))
        self._hindered = self._hindered | {member} if cause else self._hindered - {member}


class _Refused(Exception):
    """The swarm does not run a new task: `cause` names why, or is empty."""

    def __init__(self, cause: str, words: str) -> None:
        super().__init__(words)
        self.cause = cause


def _see(engine: Engine, services: Sequence[str]) -> Sight:
    """One look, over a new connection where the old one is broken. Blocking."""
    try:
        return look(engine, services)
    except EngineAway:
        engine.connect()
        return look(engine, services)


def _carrier(spec: MemberSpec) -> SwarmSpec:
    if not isinstance(spec.carrier, SwarmSpec):
        raise RuntimeFailed(f"{spec.name}: not a service of a swarm ({type(spec.carrier).__name__})", permanent=True)
    return spec.carrier
