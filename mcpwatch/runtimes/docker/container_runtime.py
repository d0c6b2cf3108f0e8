"""Members as containers that outlive the watchdog and are found again by their labels: what every runtime of an engine shares.

Owns: the lives of containers — which run of which container is which generation; adopted, followed, measured, told of. How one is
made and ended is the runtime's own (`docker.runtime`, `swarm.runtime`). Must not know: why a member is started or stopped, and
nothing of the SDK (that is `engine`). Blocking work happens in threads, state changes only in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.ports import Exited, Gone, Hindered, Incarnation, Moved, Paused, Preparing, RuntimeEvent
from mcpwatch.runtimes.docker.container import Container
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.events import Away, Back, ContainerEnded, Events, Frozen, Heard, Rewired, by_memory
from mcpwatch.runtimes.docker.launch import placed, reach
from mcpwatch.runtimes.docker.logs import ContainerLogFollower, LogFile
from mcpwatch.runtimes.docker.meter import EngineSample, sample, usage_between
from mcpwatch.runtimes.docker.refusal import EngineAway
from mcpwatch.runtimes.docker.spec import ContainerSpec, DockerSpec
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.stopped import in_cgroup, resume_tree

RECONCILE_SECONDS = 15.0
"""How often the engine is asked whether what it told by events is still so, and what containers use."""
DRAIN_SECONDS = 5.0
"""Longest wait for the last lines of an ended container."""
_SIGNALLED = 128


@dataclass(slots=True)
class _Live:
    """One run of one container that is one generation of a member."""

    member: str
    generation: int
    host: _Host
    container: str
    foreign: bool = False
    started: int = 0
    starting: bool = False
    early: list[ContainerEnded] = field(default_factory=list["ContainerEnded"])
    followers: tuple[ContainerLogFollower, ...] = ()
    last: EngineSample | None = None
    usage: Usage = Usage()
    networks: tuple[str, ...] = ()
    """Networks that it should be on."""
    asked: Target | None = None
    direct: Target | None = None
    """Where it should answer, as written and as found."""


@dataclass(slots=True)
class _Host:
    """One engine and our ear on it."""

    engine: Engine
    events: Events
    away: bool = False


class Launching(Protocol):
    """One start of one member. Blocking, for a thread."""

    def prepare(self) -> str:
        """Have a container that can be started, and return its id or name. Raises `RuntimeFailed`."""
        ...

    def run(self, container: str) -> Container:
        """Start what was prepared, and return the container that runs. Raises `RuntimeFailed`."""
        ...


class ContainerRuntime(ABC):
    """Carries members whose `carrier` is a `spec`. Touches no engine before the first such member is asked for."""

    name = ""
    supervision: Literal["ours", "theirs"] = "ours"
    spec: ClassVar[type[ContainerSpec]]

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

    def foreign(self, spec: MemberSpec) -> bool:  # noqa: ARG002
        """Whether the member is a container that is not ours: watched, and only let go of."""
        return False

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self._logs = directory / "logs"
        self._instance = instance
        self._records = Records(directory, self.name)
        self._hosts: dict[tuple[str | None, str | None], _Host] = {}
        self._live: dict[str, _Live] = {}
        self.let_go: dict[str, int] = {}
        """By member, which run of a container that is not ours the next start must replace."""
        self._missing: dict[str, tuple[str, ...]] = {}
        """By member, the networks that its container was told to have left; another container of it may be on them again."""
        self._connecting = asyncio.Lock()
        self._due = 0.0
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # at most one end per start: as bounded as the fleet

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
        container = await asyncio.to_thread(launch.prepare)
        live = _Live(spec.name, generation, host, container, foreign=self.foreign(spec), starting=True)
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

    def number(self, living: Incarnation) -> None:  # noqa: B027
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
            self._finish(live, Exited(spec.name, live.generation, code, _signal(code), detail="stopped"))

    async def resume(self, spec: MemberSpec) -> None:
        """Unpause its container, have it on its networks, and send SIGCONT to whoever in it is stopped, where it can be seen."""
        live = self._live.get(spec.name)
        if live is None:
            return
        await asyncio.to_thread(live.host.engine.unpause, live.container)
        for network in () if live.foreign else self._missing.get(spec.name, ()):
            await asyncio.to_thread(live.host.engine.join, live.container, network)
        pid = live.usage.pid
        if pid is not None and in_cgroup(pid, live.container):
            resume_tree(ProcessTable(detect()), pid)

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

    async def _host(self, host: str | None, context: str | None) -> _Host:
        """The connected engine of that name, with our ear on it. Raises `RuntimeFailed`."""
        async with self._connecting:
            known = self._hosts.get((host, context))
            if known is None:
                engine, loop = Engine(host, context), asyncio.get_running_loop()

                def post(heard: Heard) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop has closed
                        loop.call_soon_threadsafe(self._heard, engine, heard)

                known = _Host(engine, Events(engine, post))
                await asyncio.to_thread(known.events.open)
                self._hosts[host, context] = known
        if known.away:
            raise EngineAway(f"{known.engine.where} does not answer; its containers are left as they are")
        return known

    def _adopt(self, spec: MemberSpec, host: _Host, container: Container) -> list[Incarnation]:
        labels = container.labels
        assert labels is not None
        record = self._records.load().get(spec.name)
        generation = record.generation if record and record.container == container.id else labels.generation
        if not container.running:
            self._events.put_nowait(
                _exited(
                    spec.name,
                    generation,
                    container.exit_code,
                    oom=by_memory(container.exit_code, container.oom),
                    detail="ended unwatched",
                )
            )
            return []
        live = _Live(spec.name, generation, host, container.id, started=container.started)
        self._live[spec.name] = live
        return [self._take(live, container, spec)]

    def _take(self, live: _Live, container: Container, spec: MemberSpec) -> Incarnation:
        """Follow a running container's output and tell of it."""
        directory = self._logs / spec.name
        streams: tuple[Literal["stdout", "stderr"], ...] = ("stdout",) if container.tty else ("stdout", "stderr")
        live.followers = tuple(
            ContainerLogFollower(live.host.engine, container.id, LogFile(directory, stream), stream) for stream in streams
        )
        started_at = WallTime(container.started / 1e9)
        live.usage = Usage(pid=container.pid, started_at=started_at, container=container.id)
        if not live.foreign:
            self._records.note(Record(spec.name, live.generation, container=container.id))
        fingerprint = container.labels.fingerprint if container.labels and not live.foreign else spec.fingerprint
        direct = live.direct = reach(spec.direct, container) if spec.direct else None
        live.asked = spec.direct
        if isinstance(spec.carrier, DockerSpec):
            live.networks = container.networks if live.foreign else spec.carrier.networks
        self._rewired(live, container)
        return Incarnation(spec.name, live.generation, fingerprint, container.pid, container.id, started_at, direct)

    def find(self, engine: Engine, spec: MemberSpec) -> Container | None:
        """The container of a member that nobody follows, if there is one. Blocking."""
        mine = (container for container in engine.mine(self._instance) if self.belongs(container, spec))
        return next(mine, None)

    def _find(self, engine: Engine, spec: MemberSpec, live: _Live | None) -> Container | None:
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

    def _heard(self, engine: Engine, heard: Heard) -> None:
        host = next((host for host in self._hosts.values() if host.engine is engine), None)
        if host is None:
            return
        match heard:
            case ContainerEnded():
                self._ended(heard)
            case Away(detail):
                host.away = True
                self._events.put_nowait(Gone(self.name, detail))
            case Frozen(container, back):
                for live in self._live.values():
                    if live.container == container:
                        self._events.put_nowait(Paused(live.member, back))
            case Rewired(now):
                for live in self._live.values():
                    if live.container == now.id and not live.starting:
                        self._rewired(live, now)
            case Back():
                host.away = False
                self._events.put_nowait(Gone(self.name, f"{host.engine.where} answers again", back=True))
                self._due = 0.0  # what ended meanwhile

    def _rewired(self, live: _Live, now: Container) -> None:
        """Tell when a container left a network that it should be on, when it is back, and at which address it answers now."""
        missing = tuple(network for network in live.networks if network not in now.networks)
        if missing != self._missing.get(live.member, ()):
            self._missing[live.member] = missing
            text = f"its container is not on the network {' and '.join(missing)} any more" if missing else ""
            self._events.put_nowait(Hindered(live.member, "network_disconnected" if missing else "", text))
        direct = placed(live.asked, now) if live.asked is not None and live.direct is not None else None
        if direct is not None and direct != live.direct:
            live.direct = direct
            self._events.put_nowait(Moved(live.member, live.generation, direct))

    def _ended(self, ended: ContainerEnded) -> None:
        live = next((live for live in self._live.values() if live.container == ended.container), None)
        if live is None or live.starting:
            for starting in (one for one in self._live.values() if one.starting):
                starting.early.append(ended)
        elif ended.at >= live.started:
            self._finish(live, _exited(live.member, live.generation, ended.code, oom=ended.oom))

    def _finish(self, live: _Live, exited: Exited) -> None:
        """Tell an end, once."""
        if self._live.get(live.member) is live:
            del self._live[live.member]
            self._events.put_nowait(exited)

    async def _reconcile(self) -> None:
        """Compare what we believe runs with what the engine says, and measure it on the way."""
        for live in tuple(self._live.values()):
            if live.starting or live.host.away:
                continue
            try:
                now = await asyncio.to_thread(live.host.engine.find, live.container)
                if now is not None and now.running and now.started == live.started:
                    if now.paused:  # before anybody listened
                        self._events.put_nowait(Paused(live.member))
                    self._rewired(live, now)
                    await self._measure(live, now)
                    continue
            except RuntimeFailed:
                continue
            if now is None:
                self._finish(live, Exited(live.member, live.generation, detail="the container is gone: somebody removed it"))
            elif now.running:
                self._finish(live, Exited(live.member, live.generation, detail="somebody restarted the container"))
            else:
                self._finish(live, _exited(live.member, live.generation, now.exit_code, oom=by_memory(now.exit_code, now.oom)))

    async def _measure(self, live: _Live, now: Container) -> None:
        raw: Mapping[str, object] = await asyncio.to_thread(live.host.engine.stats, live.container)
        latest = sample(raw)
        live.usage = replace(usage_between(live.last, latest), pid=now.pid, started_at=live.usage.started_at, container=now.id)
        live.last = latest


def _exited(member: str, generation: int, code: int | None, *, oom: bool, detail: str = "") -> Exited:
    detail = "killed by the kernel: the container reached its memory limit" if oom else detail
    return Exited(member, generation, code, _signal(code), oom=oom, detail=detail)


def _signal(code: int | None) -> int | None:
    return code - _SIGNALLED if code is not None and _SIGNALLED < code < _SIGNALLED + 65 else None
