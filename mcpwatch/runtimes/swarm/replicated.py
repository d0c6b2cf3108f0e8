"""Members as services whose tasks the swarm itself keeps: started again after each end, replaced by rolling updates.

mcpwatch tells ends and returns, names what is missing, and asks for an update where a restart or change is wanted (ADR 0128). Must
not know: why a member is started or stopped. Blocking work happens in threads, state changes only in the event loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Incarnation, Moved, Preparing
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.docker.engine import Engine, Tell
from mcpwatch.runtimes.docker.logs import ContainerLogFollower
from mcpwatch.runtimes.record import Record, Records
from mcpwatch.runtimes.swarm.manager import (
    ManagerView,
    Placement,
    Raw,
    SwarmService,
    Update,
    as_written,
    create_service,
    look,
    manager_node,
    our_service,
    update_service,
)
from mcpwatch.runtimes.swarm.replicas import Begun, Over, Step, advance, living, shortage, unfinished
from mcpwatch.runtimes.swarm.services import AGAIN, Refused, SwarmServices, carrier_of, direct_of, killed_for_memory
from mcpwatch.runtimes.swarm.spec import service_name
from mcpwatch.runtimes.swarm.task import Task, failure

START_SHARE = 0.9
"""Of the start grace, how much a start waits: what the swarm says then is told before the grace is over."""
SHORTEST_WAIT = 5.0
REPORTED_SECONDS = 1.5
"""Within how long the managers hear of an end: a task that is to be replaced is looked at for so long, lest it ended by itself."""
WENT_BACK = frozenset({"rollback_started", "rollback_completed", "rollback_paused"})
_SIGKILL = 9


@dataclass(slots=True)
class _Carried:
    """One member. `present` is its task; `quiet`: what happens now is not told, it is being started or stopped."""

    spec: MemberSpec
    engine: Engine
    service: SwarmService | None = None
    generation: int = 0
    present: Task | None = None
    quiet: bool = True
    direct: Target | None = None
    anew: bool = False
    """The next start replaces what runs."""
    released: str = ""
    """The task that it shall replace."""
    given_up: threading.Event = field(default_factory=threading.Event)
    writing: threading.Lock = field(default_factory=threading.Lock)
    followers: tuple[ContainerLogFollower, ...] = ()


class ReplicatedServices(SwarmServices):
    """Carries members whose `carrier` is a `SwarmSpec` with `replicas`. The swarm brings back what ends."""

    placement: Placement = "replicas"

    def __init__(self, directory: Path, instance: str) -> None:
        """`directory` is the state directory, `instance` its mark (12 hex digits). Does nothing yet."""
        super().__init__(directory, instance)
        self._records = Records(directory, "swarm-replicas")
        self._members: dict[str, _Carried] = {}

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Have the service as written and wait until its tasks are replaced, or the first one runs.

        What runs as it is written is replaced only where that was asked (`release`). Raises `RuntimeFailed`: permanently where the
        swarm says what it waits for, because it goes on trying, or that it went back to the version before, which serves.
        """
        member = await self._member(spec)
        member.spec, member.quiet, member.present = spec, True, None
        given_up = member.given_up = threading.Event()
        self._places.add(carrier_of(spec).place)
        try:
            task, sight = await self._blocking(self._launch, member, given_up, generation, self._tell(spec.name))
        except Refused as error:
            self._hinder(spec.name, error.cause, str(error))
            self._events.put_nowait(Preparing(spec.name, str(error)))  # and the looks go on
            raise RuntimeFailed(f"{spec.name}: {error}", permanent=True) from None
        finally:
            given_up.set()
            member.quiet = False
        member.generation, member.anew = generation, False
        self._hinder(spec.name)
        return self._take(member, task, sight)

    def number(self, living: Incarnation) -> None:
        """Keep the number that the watchdog gave to a task which the swarm started by itself, while that is the one."""
        member = self._members.get(living.member)
        task = member.present if member else None
        if member is None or task is None or living.generation is None or living.container != task.container:
            return
        if member.generation != living.generation:
            member.generation = living.generation
            self._records.note(Record(living.member, living.generation, container=task.id))

    async def release(self, spec: MemberSpec) -> None:
        """The next start is a rolling update: the present tasks serve until their successors run."""
        member = await self._member(spec)
        member.given_up.set()
        member.quiet = member.anew = True
        member.released, member.present = member.present.id if member.present else "", None

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """End all tasks and remove the service."""
        member = await self._member(spec)
        member.given_up.set()
        member.quiet, was = True, member.present
        name = service_name(spec.name, carrier_of(spec))
        await self._blocking(self._end_written, member, name, grace)
        member.present, member.service, member.followers, member.anew = None, None, (), False
        self._hinder(spec.name)
        if was is not None:
            self._events.put_nowait(Exited(spec.name, member.generation, detail="stopped"))

    def usage(self, member: str) -> Usage | None:
        """Which task it is, and since when; what it uses is known by that node's engine only."""
        found = self._members.get(member)
        task = found.present if found else None
        return Usage(started_at=WallTime(task.since / 1e9), container=task.container) if task else None

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _member(self, spec: MemberSpec) -> _Carried:
        engine = await self._engine(*carrier_of(spec).place)
        member = self._members.get(spec.name)
        if member is None or member.engine is not engine:
            member = self._members[spec.name] = _Carried(spec, engine)
        return member

    def _adopt(self, spec: MemberSpec, engine: Engine, service: SwarmService, sight: ManagerView) -> list[Incarnation]:
        run = living(sight.every.get(service.id, ()), sight.nodes)
        if not service.replicas:
            return []
        member = self._members[spec.name] = _Carried(spec, engine, service, service.labels.generation)
        if not run:
            return []
        record = self._records.load().get(spec.name)
        task = next((task for task in run if record and task.id == record.container), run[0])
        if record is not None:
            member.generation = max(record.generation, service.labels.generation)
        member.quiet = False
        return [self._take(member, task, sight)]

    def _take(self, member: _Carried, task: Task, sight: ManagerView) -> Incarnation:
        """A task is the present one from now on."""
        assert member.service is not None
        member.present = task
        self._records.note(Record(member.spec.name, member.generation, container=task.id))
        if not member.followers:
            member.followers = self._follow(member.engine, member.spec, member.service.name)
        living = self._living(member.spec, member.generation, member.service, task, sight)
        member.direct = living.direct
        return living

    def _launch(self, member: _Carried, given_up: threading.Event, generation: int, tell: Tell) -> tuple[Task, ManagerView]:
        """Write the service where that is needed, and wait for its tasks. Blocking. Raises `Refused`."""
        spec, engine, carrier = member.spec, member.engine, carrier_of(member.spec)
        manager_node(engine)
        with member.writing:
            if given_up.is_set():
                raise Refused("", "given up")
            found = our_service(engine, self._instance, spec, carrier)
            fresh = found is None
            if found is None:
                member.service = create_service(engine, self._instance, spec, carrier, generation, "")
            elif self._replaced(member, found, tell) or (known := as_written(found, spec, carrier)) is None:
                member.service = update_service(engine, self._instance, spec, carrier, generation, found)
            else:
                member.service = known
            rolling = not fresh and member.service.labels.generation == generation
        return self._wait(member, member.service, given_up, rolling, tell)

    def _replaced(self, member: _Carried, found: Raw, tell: Tell) -> bool:
        """Whether what runs shall be replaced: not what ended since that was asked for, which the swarm brings back by itself."""
        if not member.anew or not member.released:
            return member.anew
        deadline = time.monotonic() + REPORTED_SECONDS
        while True:
            sight = look(member.engine, (str(found["ID"]),))
            tasks = sight.every.get(str(found["ID"]), ())
            if all(task.id != member.released for task in living(tasks, sight.nodes)):
                break
            if time.monotonic() >= deadline:
                return True
            time.sleep(AGAIN)
        why = failure(tasks, sight.nodes)
        tell(f"it ended before its restart, and the swarm brings it back{f': {why}' if why else ''}")
        return False

    def _wait(
        self, member: _Carried, service: SwarmService, given_up: threading.Event, rolling: bool, tell: Tell
    ) -> tuple[Task, ManagerView]:
        """Return when the update is complete, or the first task runs. Blocking. Raises `Refused`."""
        spec, told = member.spec, ""
        deadline = time.monotonic() + max(SHORTEST_WAIT, spec.start_grace * START_SHARE)
        sight = ManagerView({}, {})
        while time.monotonic() < deadline and not given_up.is_set():
            sight = look(member.engine, (service.id,))
            tasks, update = sight.every.get(service.id, ()), sight.updates.get(service.id)
            run = living(tasks, sight.nodes)
            if rolling and update is not None and update.state in WENT_BACK:
                raise Refused(*_went_back(tasks, sight, update))
            if run and (not rolling or (update is not None and update.state == "completed")):
                return run[-1], sight
            _, words = shortage(tasks, sight.nodes, service.replicas, carrier_of(spec).image or "")
            if words and words != told:
                told = words
                tell(words)
            time.sleep(AGAIN)
        tasks = sight.every.get(service.id, ())
        cause, words = shortage(tasks, sight.nodes, service.replicas, carrier_of(spec).image or "")
        raise Refused(cause, words or unfinished(tasks, sight.nodes, rolling=rolling))

    def _end_written(self, member: _Carried, name: str, grace: float) -> None:
        with member.writing:  # what a start that was given up still writes comes first
            self._end(member.engine, name, grace, member.followers)

    def _watched(self) -> dict[Engine, list[str]]:
        services: dict[Engine, list[str]] = {}
        for member in self._members.values():
            if member.service is not None and not member.quiet:
                services.setdefault(member.engine, []).append(member.service.id)
        return services

    async def _seen(self, engine: Engine, asked: list[str], sight: ManagerView) -> None:
        for member in list(self._members.values()):
            service = member.service
            if member.engine is engine and not member.quiet and service is not None and service.id in asked:
                await self._judge(member, service, sight)

    async def _judge(self, member: _Carried, service: SwarmService, sight: ManagerView) -> None:
        """Tell what happened to one member since the last look."""
        tasks, before = sight.every.get(service.id, ()), member.present
        present, steps = advance(before.id if before else "", tasks, sight.nodes, service.replicas)
        oom = False
        if any(isinstance(step, Over) and step.end.signal == _SIGKILL for step in steps):
            oom = await self._blocking(killed_for_memory, member.engine, before)
            if member.quiet or member.present is not before:
                return
        member.present = next((task for task in tasks if task.id == present), None)
        for step in steps:
            self._tell_step(member, step, sight, oom)
        self._tell_place(member, service, sight)
        self._hinder(member.spec.name, *_wrong(member, service, sight))

    def _tell_place(self, member: _Carried, service: SwarmService, sight: ManagerView) -> None:
        """Tell where it is reached now, when that is another node."""
        found = direct_of(member.spec, service, member.present, sight) if member.present else None
        if found is not None and found != member.direct:
            member.direct = found
            self._events.put_nowait(Moved(member.spec.name, member.generation, found))

    def _tell_step(self, member: _Carried, step: Step, sight: ManagerView, oom: bool) -> None:
        name = member.spec.name
        match step:
            case Over(end):
                self._events.put_nowait(Exited(name, member.generation, end.code, end.signal, oom=oom, detail=end.detail))
            case Begun(task):
                member.generation += 1
                self._take(member, task, sight)
                self._events.put_nowait(Appeared(name, container=task.container))
                member.direct = None  # who hears of the return does not know the place

    def _followers(self) -> list[ContainerLogFollower]:
        return [follower for member in self._members.values() for follower in member.followers]


def _wrong(member: _Carried, service: SwarmService, sight: ManagerView) -> tuple[str, str]:
    """What the swarm says is not as wanted: a cause and a line, both empty when nothing is."""
    tasks, update = sight.every.get(service.id, ()), sight.updates.get(service.id)
    cause, words = shortage(tasks, sight.nodes, service.replicas, carrier_of(member.spec).image or "")
    if not cause and update is not None and update.state in WENT_BACK:
        return _went_back(tasks, sight, update)
    return cause, words


def _went_back(tasks: Sequence[Task], sight: ManagerView, update: Update) -> tuple[str, str]:
    return "rolled_back", f"the swarm went back to the version before: {failure(tasks, sight.nodes) or update.words}"
