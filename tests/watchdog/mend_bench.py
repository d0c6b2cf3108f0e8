"""The repair loop over a fleet that a test changes by hand, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from mcpwatch.model.fact import Fact
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.ladder import Step
from mcpwatch.watchdog.mend import Mender
from mcpwatch.watchdog.senses import Context, Senses
from mcpwatch.watchdog.snapshot import FleetSnapshot, Observation
from tests.virtual import VirtualClock, VirtualLoop, ended, run
from tests.watchdog.scenes import FETCH, OK, PROXY, TIME

Do = Callable[["Bench"], object]


class Bench:
    """A fleet that a test changes by hand, and hands that note what they are asked. Observations are as old as `age` says."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock) -> None:
        self.members = {one.name: one for one in (FETCH, TIME, PROXY)}
        self.traits: dict[str, object] = {}
        self.stale: set[str] = set()
        self.facts: list[Fact] = []
        self.asked: list[tuple[float, str]] = []
        self.settlings = 0
        self.on_carry: Do = lambda _: None
        self.on_prove: Do = lambda _: None
        self.carrying = 0.0
        self.looking = 0.0
        """Seconds that each look at the fleet takes."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.loop, self.clock = loop, clock
        self.open: Callable[[], Callable[[], Awaitable[None]] | None] = lambda: None
        """What of the machine is still to be told after a look."""
        senses = Senses(open=lambda: self.open())  # noqa: PLW0108 - a test gives another
        self.mender = Mender(Context(clock, self.facts.append, self.spawn, senses), self.look_now, self)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def look_now(self) -> FleetSnapshot:
        self.loop.spend(self.looking)
        now = self.clock.now()

        def fresh(name: str, seen: Observation | None) -> Observation | None:
            return seen if seen is None or name in self.stale else replace(seen, began_at=Instant(now - 0.2), at=Instant(now - 0.1))

        members = tuple(
            replace(one, direct=fresh(one.name, one.direct), through=fresh(one.name, one.through)) for one in self.members.values()
        )
        return replace(FleetSnapshot(now, members, "proxy"), **self.traits)  # pyright: ignore[reportArgumentType]

    # What it has the loop do, as `mend.Hands`.

    async def carry(self, step: Step, finding: Finding, routes: tuple[str, ...]) -> None:
        self.note(f"{step.rung} {step.subject} for {finding.cause} on {','.join(routes)}")
        await asyncio.sleep(self.carrying)
        self.on_carry(self)

    def settled(self) -> None:
        self.settlings += 1

    async def look(self, member: str, *, deep: bool = False, brief: bool = False) -> None:
        self.note(f"look {member}{' by calls' if deep else ''}{' briefly' if brief else ''}")
        await asyncio.sleep(0.01)

    async def prove(self, finding: Finding) -> None:
        self.on_prove(self)
        await asyncio.sleep(0.01)

    # What a test does and reads.

    def note(self, what: str) -> None:
        self.asked.append((round(self.loop.time(), 2), what))

    def change(self, name: str, **changes: object) -> None:
        """Give a member these; one that hangs does so through the proxy too, and one that is well again is it there too."""
        for seen, other in ((HUNG, GOOD), (GOOD, HUNG)):
            if changes.get("direct") is seen and self.members[name].through is other:
                changes.setdefault("through", seen)
        self.members[name] = replace(self.members[name], **changes)  # pyright: ignore[reportArgumentType]

    def done(self, what: str) -> list[float]:
        """When that was asked for."""
        return [at for at, asked in self.asked if asked.startswith(what)]

    def of(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


def failing(symptom: Symptom, stage: Stage = Stage.TOOLS_LIST, since: float = 0.0) -> Observation:
    result = ProbeResult(Outcome.FAILURE, symptom, stage, "said so")
    return Observation(Verdict.UNHEALTHY, result, 3, since=Instant(since), succeeded=True)


GOOD = replace(OK, since=Instant(0.0))
HUNG = failing(Symptom.TIMEOUT)


def staged(play: Callable[[Bench], Awaitable[None]]) -> Bench:
    """Play it with a fleet that is well, at 1 s on the clock; what is still under way at the end is cancelled."""
    benches: list[Bench] = []

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        await asyncio.sleep(1.0)
        bench = Bench(loop, clock)
        benches.append(bench)
        for name in bench.members:
            bench.change(name, started_at=Instant(0.0), direct=GOOD)
        for name in ("fetch", "time"):
            bench.change(name, through=GOOD)
        try:
            await play(bench)
        finally:
            bench.mender.close()
            await ended(bench.tasks)

    run(story)
    return benches[0]
