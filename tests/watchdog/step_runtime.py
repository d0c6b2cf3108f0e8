"""A runtime that does as it is told, and actors over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import Fact
from mcpwatch.model.incarnation import Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Usage
from mcpwatch.watchdog.actor import ActorListener, MemberActor
from mcpwatch.watchdog.senses import Context
from tests.virtual import VirtualClock, VirtualLoop, ended, run


class StepRuntime:
    """`ports.Runtime` whose starts and stops take as long as they are told to."""

    def __init__(self, supervision: Literal["ours", "theirs"] = "ours", name: str = "step") -> None:
        self.name = name
        self.supervision: Literal["ours", "theirs"] = supervision
        self.start_takes, self.stop_takes = 0.0, 0.0
        self.fails = ""
        self.permanent = False
        self.started: list[int] = []
        self.stopped: list[float] = []
        self.numbered: list[Incarnation] = []
        self.resumed = 0
        self.resume_fails = ""
        self.stop_fails = ""
        self.container: str | None = None
        self.pid = 100
        """The number of the first process; each start adds one. 0: there is none."""
        self.on_stop: Callable[[], None] = lambda: None
        self.events: list[RuntimeEvent | RuntimeFailed] = []
        """What is seen: each is told once, and one that failed ends the watch."""

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        del specs
        return ()

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        await asyncio.sleep(self.start_takes)
        if self.fails:
            raise RuntimeFailed(self.fails, permanent=self.permanent)
        self.started.append(generation)
        pid = self.pid + generation if self.pid else None
        return Incarnation(spec.name, generation, spec.fingerprint, pid, self.container, started_at=WallTime(0.0))

    def number(self, living: Incarnation) -> None:
        self.numbered.append(living)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        del spec
        await asyncio.sleep(self.stop_takes)
        if self.stop_fails:
            raise RuntimeFailed(self.stop_fails)
        self.stopped.append(grace)
        self.on_stop()

    async def resume(self, spec: MemberSpec) -> None:
        del spec
        if self.resume_fails:
            raise RuntimeFailed(self.resume_fails)
        self.resumed += 1

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        while self.events:
            event = self.events.pop(0)
            if isinstance(event, RuntimeFailed):
                raise event
            yield event
        await asyncio.Event().wait()

    def usage(self, member: str) -> Usage | None:
        del member
        return None

    async def close(self) -> None:
        return


class ReplacingRuntime(StepRuntime):
    """One that can give up a member without stopping it first, as an engine that replaces containers does."""

    def __init__(self) -> None:
        super().__init__()
        self.released: list[str] = []

    async def release(self, spec: MemberSpec) -> None:
        self.released.append(spec.name)


class Crew:
    """Actors of some members over one runtime each, with every task they spawned and every fact they told."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock, specs: Sequence[MemberSpec]) -> None:
        self.clock, self.loop = clock, loop
        self.facts: list[Fact] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = Context(clock, self.facts.append, self.spawn)
        self.runtimes = {spec.name: StepRuntime("ours" if spec.runtime == "process" else "theirs", spec.runtime) for spec in specs}
        ears = ActorListener(lambda _: None, lambda _: None, lambda _: False, lambda _: "")
        self.actors = {spec.name: MemberActor(spec, self.runtimes[spec.name], self.context, ears) for spec in specs}

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task until the end of the story."""
        self.tasks.append(self.loop.create_task(work, name=name))

    def put(self, name: str, **state: Any) -> None:
        """A member is in this state now, and whoever waits for it hears of it at its next change."""
        self.actors[name].state = replace(self.actors[name].state, **state)

    async def close(self) -> None:
        """End what still runs."""
        for actor in self.actors.values():
            actor.close()
        await ended(self.tasks)


def crewed(specs: Sequence[MemberSpec], play: Callable[[Crew], Awaitable[None]]) -> None:
    """Play with a crew in virtual time."""

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        crew = Crew(loop, clock, specs)
        try:
            await play(crew)
        finally:
            await crew.close()

    run(story)
