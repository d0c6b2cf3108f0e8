"""The containers that a runtime follows: heard of by events, compared with what the engine says, measured, told of.

Owns which run of which container is which generation, from its start to its end. Knows neither how one is started nor how it is
ended. State changes only in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited, Gone, Hindered, Incarnation, Moved, Paused, RuntimeEvent, Startable
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.container import Container, EngineSample, sample, usage_between
from mcpwatch.runtimes.docker.engine import Engine
from mcpwatch.runtimes.docker.events import Away, Back, Began, ContainerEnded, Events, Frozen, Heard, Rewired, by_memory
from mcpwatch.runtimes.docker.launch import placed, reach
from mcpwatch.runtimes.docker.logs import ContainerLogFollower, LogFile, read_out
from mcpwatch.runtimes.docker.refusal import EngineAway
from mcpwatch.runtimes.docker.spec import ContainerSpec, DockerSpec
from mcpwatch.runtimes.record import Record, Records

RECONCILE_SECONDS = 15.0
"""How often the engine is asked whether what it told by events is still so, and what containers use."""
LAST_WORDS = 0.5
"""Seconds for which the end of a container may wait for its last lines: a start that failed is told with them."""
_SIGNALLED = 128


@dataclass(slots=True)
class FollowedContainer:
    """One run of one container that is one generation of a member."""

    member: str
    generation: int
    host: ConnectedEngine
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
class ConnectedEngine:
    """One engine and our ear on it."""

    engine: Engine
    events: Events
    away: bool = False


class FollowedContainers:
    """The engines that are listened to, and the containers of members on them."""

    name = ""

    supervision: Literal["ours", "theirs"] = "ours"

    spec: ClassVar[type[ContainerSpec]]

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        self._logs = directory / "logs"
        self._instance = instance
        self._records = Records(directory, self.name)
        self._hosts: dict[tuple[str | None, str | None], ConnectedEngine] = {}
        self._live: dict[str, FollowedContainer] = {}
        self.let_go: dict[str, int] = {}
        """By member, which run of a container that is not ours the next start must replace."""
        self._theirs: dict[tuple[str, str], str] = {}
        """By engine and name of a container that is not ours, the member that it is."""
        self._begun: set[str] = set()
        """Members whose start is under way."""
        self._homes: dict[str, tuple[str, tuple[str, ...]]] = {}
        """By member, a container that is not ours and the networks that it was seen on: a run that begins off them is off them."""
        self._missing: dict[str, tuple[str, ...]] = {}
        """By member, the networks that its container was told to have left; another container of it may be on them again."""
        self._connecting = asyncio.Lock()
        self._due = 0.0
        self._endings: set[asyncio.Task[None]] = set()
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()  # at most one end per start: as bounded as the fleet

    def foreign(self, spec: MemberSpec) -> bool:  # noqa: ARG002
        """Whether the member is a container that is not ours: watched, and only let go of."""
        return False

    async def _host(self, host: str | None, context: str | None) -> ConnectedEngine:
        """The connected engine of that name, with our ear on it. Raises `RuntimeFailed`."""
        async with self._connecting:
            known = self._hosts.get((host, context))
            if known is None:
                engine, loop = Engine(host, context), asyncio.get_running_loop()

                def post(heard: Heard) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop has closed
                        loop.call_soon_threadsafe(self._heard, engine, heard)

                known = ConnectedEngine(engine, Events(engine, post))
                await asyncio.to_thread(known.events.open)
                self._hosts[host, context] = known
        if known.away:
            raise EngineAway(f"{known.engine.where} does not answer; its containers are left as they are")
        return known

    def _take(self, live: FollowedContainer, container: Container, spec: MemberSpec) -> Incarnation:
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
            live.networks = self._at_home(spec.name, container) if live.foreign else spec.carrier.networks
        self._rewired(live, container)
        return Incarnation(spec.name, live.generation, fingerprint, container.pid, container.id, started_at, direct)

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
            case Began(name):
                if (member := self._theirs.get((engine.where, name))) is not None and member not in (*self._live, *self._begun):
                    self._events.put_nowait(Startable(member))
            case Back():
                host.away = False
                self._events.put_nowait(Gone(self.name, f"{host.engine.where} answers again", back=True))
                self._due = 0.0  # what ended meanwhile

    def _at_home(self, member: str, now: Container) -> tuple[str, ...]:
        """The networks that a container which is not ours should be on: where it was seen, or made to be if it is on none."""
        known, before = self._homes.get(member, ("", ()))
        seen = tuple(dict.fromkeys((*(before if known == now.id else ()), *now.networks)))
        self._homes[member] = now.id, seen
        return seen or ((now.made_on,) if now.made_on else ())

    def _rewired(self, live: FollowedContainer, now: Container) -> None:
        """Tell when a container left a network that it should be on, when it is back, and at which address it answers now."""
        if live.foreign and live.networks:
            live.networks = self._at_home(live.member, now)  # what it was made on may be written in another way than it is told
        missing = tuple(network for network in live.networks if network not in now.networks)
        if missing != self._missing.get(live.member, ()):
            self._missing[live.member] = missing
            text = f"its container is not on the network {' and '.join(missing)} any more" if missing else ""
            text += "; mcpwatch did not make it, and does not put it on it again" if missing and live.foreign else ""
            cause = "network_left" if live.foreign else "network_disconnected"
            self._events.put_nowait(Hindered(live.member, cause if missing else "", text))
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
            end = exited(live.member, live.generation, ended.code, oom=ended.oom)
            task = asyncio.get_running_loop().create_task(self._after_its_words(live, end), name=f"end of {live.member}")
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def _after_its_words(self, live: FollowedContainer, end: Exited) -> None:
        """Tell an end once the engine's log was read, or soon."""
        await asyncio.to_thread(read_out, live.followers, LAST_WORDS)
        self._finish(live, end)

    def _finish(self, live: FollowedContainer, exited: Exited) -> None:
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
                self._finish(live, exited(live.member, live.generation, now.exit_code, oom=by_memory(now.exit_code, now.oom)))

    async def _measure(self, live: FollowedContainer, now: Container) -> None:
        raw: Mapping[str, object] = await asyncio.to_thread(live.host.engine.stats, live.container)
        latest = sample(raw)
        live.usage = replace(usage_between(live.last, latest), pid=now.pid, started_at=live.usage.started_at, container=now.id)
        live.last = latest


def exited(member: str, generation: int, code: int | None, *, oom: bool, detail: str = "") -> Exited:
    """The end of a container, as runtimes tell it."""
    detail = "killed by the kernel: the container reached its memory limit" if oom else detail
    return Exited(member, generation, code, signal_of(code), oom=oom, detail=detail)


def signal_of(code: int | None) -> int | None:
    """The signal that a code of 128 and more stands for."""
    return code - _SIGNALLED if code is not None and _SIGNALLED < code < _SIGNALLED + 65 else None
