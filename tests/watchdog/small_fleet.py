"""A whole fleet in virtual time over runtimes and a prober that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import Fact
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, RouteSpec
from mcpwatch.model.view import Usage
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.senses import Senses
from tests.virtual import VirtualClock, VirtualLoop, ended, run
from tests.watchdog.step_runtime import StepRuntime
from tests.watchdog.world_prober import DAEMON, Memory, VirtualSchedule

CHECK = CheckSpec("mcp", interval=30.0, vantages=("direct",))
GOOD = ProbeResult(Outcome.SUCCESS)


def member(name: str, **more: Any) -> MemberSpec:
    """A process with one check and an address of its own."""
    plain = MemberSpec(name, "server", "process", object(), direct=Target(f"http://h/{name}"), checks=(CHECK,))
    return replace(plain, **more)


def route(name: str, owner: str = "") -> RouteSpec:
    """A route of the same name as its member, unless that has another."""
    url = f"http://p/{name}"
    return RouteSpec(name, owner or name, url, Target(url), checks=(CheckSpec("mcp", vantages=("route",)),))


PROXY = member("proxy", kind="proxy")
FRONT = ProxySpec("gateway", "proxy", "127.0.0.1:1", "http://127.0.0.1")


class Carrier(StepRuntime):
    """A runtime in which some members live already, and that knows what they use."""

    def __init__(self, name: str) -> None:
        super().__init__("ours" if name == "process" else "theirs", name)
        self.living: list[Incarnation] = []
        self.asked: list[str] = []
        self.used: dict[str, Usage] = {}
        self.owned_fails = ""
        self.ended: list[str] = []
        self.graces: list[tuple[str, float]] = []

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        self.asked = [spec.name for spec in specs]
        if self.owned_fails:
            raise RuntimeFailed(self.owned_fails)
        return tuple(self.living)

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        self.graces.append((spec.name, grace))
        await super().stop(spec, grace)
        self.ended.append(spec.name)

    def usage(self, member: str) -> Usage | None:
        return self.used.get(member)


class SmallFleet:
    """The fleet, its runtimes by name, and what was asked and told."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock, memory: Memory) -> None:
        self.loop, self.clock, self.memory = loop, clock, memory
        self.runtimes: dict[str, Carrier] = {}
        self.facts: list[Fact] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.names: list[str] = []
        self.broken: list[BaseException] = []
        self.answers: dict[str, ProbeResult] = {}
        """What each address answers, where it is not well."""
        self.called: dict[str, ProbeResult] = {}
        """What a canary is answered there, where that is not well."""
        self.takes: dict[str, float] = {}
        """Seconds that an address takes to answer."""
        self.probed: list[tuple[str, Vantage]] = []
        self.checks: list[CheckSpec] = []
        self.nudged: list[str] = []
        self.nudge_fails: RuntimeFailed | None = None
        self.listening: tuple[int, ...] = ()
        self.frozen: set[int] = set()
        """Main processes below which processes are stopped."""
        self.below: set[int] = set()
        """Main processes below which another runs."""
        self.lasting = 1
        """The number of that; 0: it is another one each time."""
        self.children: dict[tuple[int, str], int] = {}
        """The process that serves a route inside the proxy with that main process."""
        self.said: dict[str, tuple[str, ...]] = {}
        """The lines that a member wrote to its stderr."""
        senses = Senses(
            words=lambda name: self.said.get(name, ()),
            schedule=VirtualSchedule,
            nudge=self.nudge,
            listening=lambda pid: self.listening if pid > 100 else (1,),
            stopped=lambda pids: pids & self.frozen,
            runs=lambda pid, _container: pid in self.below,
            below=lambda pid, _container: (
                frozenset({self.lasting or int(clock.now() * 10.0)}) if pid in self.below else frozenset()
            ),
            child=lambda proxy, route, _known: self.children.get((proxy, route), 0),
        )
        self.fleet = Fleet(self.runtime, self, clock, self.facts.append, self.guard, memory, senses=senses, daemon=DAEMON)  # type: ignore[arg-type]

    def runtime(self, name: str) -> Carrier:
        """The runtime of a name, made when first asked for."""
        return self.runtimes.setdefault(name, Carrier(name))

    def guard(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run a task until the end of the story."""
        self.names.append(name)
        task = self.loop.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.done)

    def done(self, task: asyncio.Task[Any]) -> None:
        """A task is over: remember one that broke."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken.append(error)

    async def nudge(self, routes: Sequence[str]) -> None:
        """As the gateway's: try these again."""
        self.nudged += routes
        if self.nudge_fails is not None:
            raise self.nudge_fails

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """As `ports.ProbeRunner.probe`, in ten milliseconds where nothing else was said."""
        self.probed.append((target.url, vantage))
        self.checks.append(check)
        await asyncio.sleep(self.takes.get(target.url, 0.01))
        answers = self.answers | self.called if check.canary is not None else self.answers
        return answers.get(target.url, GOOD)

    def forget(self, target: Target) -> None:
        """Nothing is learned here."""

    async def close(self) -> None:
        """As `ports.ProbeRunner.close`; ends what still runs."""
        self.fleet.close()
        ends = await ended(self.tasks)
        self.broken += [end for end in ends if isinstance(end, Exception)]
        assert self.broken == []

    def phases(self) -> dict[str, Phase]:
        """Every member's phase."""
        return {name: actor.state.phase for name, actor in self.fleet.actors.items()}

    def generations(self) -> dict[str, int]:
        """Every member's generation."""
        return {name: actor.state.generation for name, actor in self.fleet.actors.items()}

    def texts(self, kind: type[Fact]) -> list[str]:
        """What was told of a kind."""
        return [fact.text for fact in self.facts if isinstance(fact, kind)]


def plan(*members: MemberSpec, routes: Sequence[RouteSpec] = ()) -> Plan:
    """A plan of these; with a proxy when one is among them."""
    return Plan(members, FRONT if any(one.kind == "proxy" for one in members) else None, tuple(routes))


def fleet_story(play: Callable[[SmallFleet], Awaitable[None]], **kept: str) -> None:
    """Play with a fleet that has not begun; `kept` is what it remembers of members."""

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        memory = Memory()
        for key, value in kept.items():
            memory.remember("fleet", key.replace("__", ":"), value)
        small = SmallFleet(loop, clock, memory)
        try:
            await play(small)
        finally:
            await small.close()

    run(story)
