"""Members as containers that outlive the watchdog and are found again by their labels: what every runtime of an engine shares.

Owns: the lives of containers — which run of which container is which generation; adopted, followed, measured, told of. How one is
made and ended is the runtime's own (`docker.runtime`, `swarm.runtime`). Must not know: why a member is started or stopped, and
nothing of the SDK (that is `engine`). Blocking work happens in threads, state changes only in the event loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Gone, Incarnation, Preparing, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.events import by_memory
from mcpwatch.runtimes.docker.followed import (
    RECONCILE_SECONDS,
    ConnectedEngine,
    FollowedContainer,
    FollowedContainers,
    exited,
    signal_of,
)
from mcpwatch.runtimes.docker.logs import ContainerLogFollower
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.stopped import in_cgroup, resume_tree

DRAIN_SECONDS = 5.0
"""Longest wait for the last lines of an ended container."""


class Launching(Protocol):
    """One start of one member. Blocking, for a thread."""

    def prepare(self) -> str:
        """Have a container that can be started, and return its id or name. Raises `RuntimeFailed`."""
        ...

    def run(self, container: str) -> Container:
        """Start what was prepared, and return the container that runs. Raises `RuntimeFailed`."""
        ...


class ContainerRuntime(FollowedContainers, ABC):
    """Carries members whose `carrier` is a `spec`. Touches no engine before the first such member is asked for."""

    # -- what each runtime does in its own way ------------------------------------------------------------------------

    @abstractmethod
    def launch(self, engine: Engine, spec: MemberSpec, generation: int, tell: Tell) -> Launching:
        """One start of a member."""

    @abstractmethod
    def belongs(self, container: Container, spec: MemberSpec | None) -> bool:
        """Whether a container with our labels is of this runtime and, where a spec is given, is the one of that member."""

    @abstractmethod
    def end(self, engine: Engine, container: Container, grace: float) -> Container | None:
        """Stop a container within the grace; the container as it ended, if it can still be seen. Blocking."""

    @abstractmethod
    def clear(self, engine: Engine, container: Container) -> None:
        """Remove what is left of a container that ended. Blocking."""

    # -- ports.Runtime ------------------------------------------------------------------------------------------------

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """Adopt what runs and is wanted; end what is ours and is not. What ended while nobody watched is told by `watch`."""
        wanted = {spec.name: spec for spec in specs if isinstance(spec.carrier, self.spec)}
        places = {self._place(spec) for spec in wanted.values()}
        if self._records.any():
            places.add((None, None))  # members that ran here before may be in nobody's plan any more
        adopted: list[Incarnation] = []
        for place in sorted(places, key=str):
            try:
                host = await self._host(*place)
                mine = await asyncio.to_thread(host.engine.mine, self._instance)
            except RuntimeFailed as error:
                self._events.put_nowait(Gone(self.name, str(error)))
                continue
            for container in (container for container in mine if self.belongs(container, None)):
                spec = wanted.get(container.labels.member) if container.labels else None
                if spec is not None and self.belongs(container, spec):
                    adopted += self._adopt(spec, host, container)
                else:
                    await asyncio.to_thread(self._discard, host.engine, container)
        for member in self._records.load().keys() - wanted.keys():
            self._records.drop(member)
        return tuple(adopted)

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Start the member's container: the one that ended if it still fits, else a new one. One that runs is taken over."""
        host = await self._host(*self._place(spec))
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, Preparing(spec.name, text))

        launch = self.launch(host.engine, spec, generation, tell)
        self._begun.add(spec.name)
        try:
            container = await asyncio.to_thread(launch.prepare)
        finally:
            self._begun.discard(spec.name)
        live = FollowedContainer(spec.name, generation, host, container, foreign=self.foreign(spec), starting=True)
        self._live[spec.name] = live
        try:
            running = await asyncio.to_thread(launch.run, container)
        except BaseException:
            self._live.pop(spec.name, None)
            raise
        live.starting, live.started, live.container = False, running.started, running.id
        incarnation = self._take(live, running, spec)
        for ended in live.early:
            if ended.container == live.container:
                self._ended(ended)
        return incarnation

    def number(self, living: Incarnation) -> None:
        """Nothing appears by itself here: every start is asked for, with its number."""

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """Stop and remove the container. One that is not ours keeps running: it is only restarted by the next `start`."""
        live = self._live.get(spec.name)
        if self.foreign(spec):
            if live is not None:
                self.let_go[live.member] = live.started
                self._finish(live, Exited(spec.name, live.generation, detail="let go; the container is not ours to stop"))
            return
        host = await self._host(*self._place(spec))
        found = await asyncio.to_thread(self._find, host.engine, spec, live)
        after = found
        if found is not None and found.labels is not None and found.labels.instance == self._instance:
            after = await asyncio.to_thread(self._end, host.engine, found, live.followers if live else (), grace)
        if live is not None and self._live.get(spec.name) is live:
            code = after.exit_code if after else None
            self._finish(live, Exited(spec.name, live.generation, code, signal_of(code), detail="stopped"))

    async def resume(self, spec: MemberSpec) -> None:
        """Unpause its container, have it on its networks, and send SIGCONT to whoever in it is stopped, where it can be seen."""
        live = self._live.get(spec.name)
        if live is None:
            return
        await asyncio.to_thread(live.host.engine.unpause, live.container)
        for network in () if live.foreign else self._missing.get(spec.name, ()):
            await asyncio.to_thread(live.host.engine.ensure_network, network, self._instance)  # as at a start: it may be removed
            await asyncio.to_thread(live.host.engine.join, live.container, network)
        pid = live.usage.pid
        if pid is not None and in_cgroup(pid, live.container):
            await asyncio.to_thread(resume_tree, ProcessTable(detect()), pid)

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end of every incarnation, once; and the engine going and coming back."""
        loop = asyncio.get_running_loop()
        while True:
            if self._events.empty() and loop.time() >= self._due:
                await self._reconcile()
                self._due = loop.time() + RECONCILE_SECONDS
            try:
                async with asyncio.timeout(max(0.0, self._due - loop.time())):
                    event = await self._events.get()
            except TimeoutError:
                continue
            yield event

    def usage(self, member: str) -> Usage | None:
        """What its container used at the last look."""
        live = self._live.get(member)
        return live.usage if live else None

    async def close(self) -> None:
        """Let go of every engine; no container is touched."""
        for live in self._live.values():
            for follower in live.followers:
                follower.close()
        for host in self._hosts.values():
            host.events.close()
            await asyncio.to_thread(host.engine.close)
        self._hosts.clear()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _adopt(self, spec: MemberSpec, host: ConnectedEngine, container: Container) -> list[Incarnation]:
        labels = container.labels
        assert labels is not None
        record = self._records.load().get(spec.name)
        generation = record.generation if record and record.container == container.id else labels.generation
        if not container.running:
            self._events.put_nowait(
                exited(
                    spec.name,
                    generation,
                    container.exit_code,
                    oom=by_memory(container.exit_code, container.oom),
                    detail="ended unwatched",
                )
            )
            return []
        live = FollowedContainer(spec.name, generation, host, container.id, started=container.started)
        self._live[spec.name] = live
        return [self._take(live, container, spec)]

    def find(self, engine: Engine, spec: MemberSpec) -> Container | None:
        """The container of a member that nobody follows, if there is one. Blocking."""
        mine = (container for container in engine.mine(self._instance) if self.belongs(container, spec))
        return next(mine, None)

    def _find(self, engine: Engine, spec: MemberSpec, live: FollowedContainer | None) -> Container | None:
        return engine.find(live.container) if live else self.find(engine, spec)

    def _discard(self, engine: Engine, container: Container) -> None:
        self.end(engine, container, 1)
        self.clear(engine, container)

    def _end(
        self, engine: Engine, container: Container, followers: tuple[ContainerLogFollower, ...], grace: float
    ) -> Container | None:
        after = self.end(engine, container, grace)
        for follower in followers:
            follower.drain(DRAIN_SECONDS)
        self.clear(engine, container)
        return after

    def _place(self, spec: MemberSpec) -> tuple[str | None, str | None]:
        """Which engine carries a member."""
        if not isinstance(spec.carrier, self.spec):
            raise RuntimeFailed(f"{spec.name}: not carried by {self.name} ({type(spec.carrier).__name__})", permanent=True)
        return spec.carrier.host, spec.carrier.context
