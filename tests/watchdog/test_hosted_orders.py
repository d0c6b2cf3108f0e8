"""A hosted member in every order of events: what the gateway streams comes late, what it is asked it answers at once.

Its real actor and its real runtime, a gateway in virtual time whose children crash and cold-start, an operator who starts, stops
and restarts. The end of one incarnation is never held against another, and nothing that runs is taken for down.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import Fact, MemberExited, MemberStarted
from mcpwatch.model.incarnation import Appeared, Exited, Gone
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.admin import Reply
from mcpwatch.runtimes.hosted import HostedRuntime, HostedSpec
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import ActorListener, MemberActor
from mcpwatch.watchdog.senses import Context
from tests.runtimes.bench import INSTANCE
from tests.virtual import VirtualClock, VirtualLoop, ended, run

CRASHED, ENDED = 7, 0
"""Exit codes of a child that ended by itself, and of one that was asked to."""
LATE = 3.0
"""Seconds by which a streamed event may be late."""
SETTLED = 15.0
"""Seconds after which the watchdog knows what the gateway has been doing all that time."""
TIME = MemberSpec("time", "server", "hosted", HostedSpec(), restart=RestartPolicy(intensity=100), fingerprint="f1")


class VirtualGateway:
    """`runtimes.admin.Admin` of a gateway with one child. `late` is the longest that an event is on its way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, late: float) -> None:
        self.loop, self.chance, self.late = loop, chance, late
        self.gateway, self.phase, self.sequence, self.last = 1, "held", 0, 1000
        self.pid: int | None = None
        self.code, self.crashes, self.since = ENDED, 0, 0.0
        self.streams: list[asyncio.Queue[tuple[float, str, Any] | None]] = []
        self._life: asyncio.Task[None] | None = None

    async def request(self, method: str, path: str) -> Reply:
        await asyncio.sleep(self.chance.uniform(0.0, 0.2))
        verb = path.rsplit("/", 1)[1]
        if verb == "start" and self.phase in ("held", "backoff"):
            self._begin(self._live())
        elif verb == "stop" and self.phase != "held":
            self._begin(self._hold())
        document = self.document()
        await asyncio.sleep(self.chance.uniform(0.0, 0.2))
        if self.gateway != document["pid"]:
            raise RuntimeFailed("gateway: no answer")
        return Reply(200, document if method == "GET" else {"done": verb})

    def document(self) -> dict[str, Any]:
        child = {"name": "time", "phase": self.phase, "pid": self.pid}
        return {"pid": self.gateway, "sequence": self.sequence, "members": [child]}

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        stream: asyncio.Queue[tuple[float, str, Any] | None] = asyncio.Queue()
        self.streams.append(stream)
        stream.put_nowait((self.loop.time() + self.chance.uniform(0.0, self.late), "snapshot", self.document()))
        while (item := await stream.get()) is not None:
            due, name, data = item
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            yield name, data
        raise EOFError("the gateway hung up")

    def hang_up(self) -> None:
        """Its streams end; what was on its way is lost."""
        self.since = self.loop.time()
        for stream in self.streams:
            while not stream.empty():
                stream.get_nowait()
            stream.put_nowait(None)
        self.streams.clear()

    def crash(self) -> None:
        """The child ends by itself, if there is one."""
        if self.phase == "running":
            self._begin(self._again())

    def restart(self) -> None:
        """The gateway itself dies with its child, and another one begins."""
        self._begin(self._reborn())

    def close(self) -> None:
        if self._life is not None:
            self._life.cancel()

    def _begin(self, life: Coroutine[Any, Any, None]) -> None:
        self.close()
        self._life = self.loop.create_task(life)

    def _tell(self, name: str, pid: int | None, **data: Any) -> None:
        self.sequence += 1
        due = self.loop.time() + self.chance.uniform(0.0, self.late)
        for stream in self.streams:
            stream.put_nowait((due, name, {"member": "time", "pid": pid, "sequence": self.sequence, **data}))

    async def _live(self) -> None:
        await self._ended()
        self.phase, self.since = "starting", self.loop.time()
        await asyncio.sleep(self.chance.uniform(0.0, 0.1))
        self.last += 1
        self.pid, self.code = self.last, ENDED
        await asyncio.sleep(self.chance.choice((0.0, 0.05)))
        self._tell("started", self.pid)
        if self.chance.random() < 0.2:
            await self._again()
            return
        await asyncio.sleep(self.chance.uniform(0.0, 2.0))
        self.phase, self.since = "running", self.loop.time()
        self._tell("connected", self.pid)

    async def _again(self) -> None:
        self.crashes += 1
        self.phase, self.code = self.chance.choice(("starting", "backoff")), CRASHED
        await self._ended()
        await asyncio.sleep(self.chance.choice((0.0, 0.5, 3.0)))
        await self._live()

    async def _hold(self) -> None:
        self.phase, self.since = "held", self.loop.time()
        self._tell("held", self.pid)
        await self._ended()

    async def _reborn(self) -> None:
        self.hang_up()
        self.gateway, self.pid, self.phase, self.sequence = self.gateway + 1, None, "held", 0
        await self._live()

    async def _ended(self) -> None:
        """Its process ends: seen by those who ask for as long as that takes, then told."""
        if self.pid is not None:
            await asyncio.sleep(self.chance.uniform(0.0, 0.3))
            pid, self.pid = self.pid, None
            self._tell("exited", pid, code=self.code, signal=None)


class Play:
    """The actor, its runtime and what they told."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock, directory: Path, gateway: VirtualGateway) -> None:
        self.gateway = gateway
        self.facts: list[Fact] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._loop = loop
        listener = ActorListener(lambda _: None, lambda _: None, lambda _: False, lambda _: "")
        self.runtime = HostedRuntime(directory, INSTANCE, admin=gateway)
        self.actor = MemberActor(TIME, self.runtime, Context(clock, self.facts.append, self.spawn), listener)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def follow(self) -> None:
        """As `runtime_events` does."""
        async for event in self.runtime.watch():
            match event:
                case Exited():
                    self.actor.exited(event)
                case Appeared():
                    self.actor.appeared(event.pid, event.container)
                case Gone(back=False):
                    self.actor.tell(d.Lost(self._clock.now(), "its carrier is away", generation=self.actor.state.generation))
                case _:
                    pass

    async def probe(self) -> None:
        """A child that runs is proved soon."""
        while True:
            await asyncio.sleep(0.5)
            living = self.actor.incarnation
            if self.gateway.phase == "running" and living is not None and living.pid == self.gateway.pid:
                generation = self.actor.state.generation
                self.actor.tell(d.Judged(self._clock.now(), "ok", generation, Verdict.HEALTHY, proven=True))

    def check(self, story: str) -> None:
        """What must hold when the gateway has been doing the same for a while."""
        state, gateway = self.actor.state, self.gateway
        if self._loop.time() - gateway.since < SETTLED:
            return
        if gateway.phase == "running":
            assert (state.want, state.phase) == (Want.UP, Phase.RUNNING), story
            assert self.actor.incarnation is not None
            assert (self.actor.incarnation.pid, self.actor.incarnation.generation) == (gateway.pid, state.generation), story
        if state.want is Want.DOWN:
            assert (state.phase, gateway.phase) == (Phase.STOPPED, "held"), story

    def told(self) -> str:
        return "\n".join(f"{fact.at - 1.8e9:8.2f} {fact.text}" for fact in self.facts)


async def history(loop: VirtualLoop, clock: VirtualClock, directory: Path, seed: int) -> None:
    """One fleet of one member, for ten minutes."""
    chance = random.Random(seed)
    gateway = VirtualGateway(loop, chance, chance.choice((0.0, 0.2, LATE)))
    play = Play(loop, clock, directory, gateway)
    for work in (play.follow(), play.probe()):
        play.spawn(work, "")
    play.actor.tell(d.WantUp(clock.now(), "wanted"))
    try:
        for _ in range(20):
            for _ in range(chance.randint(1, 3)):
                await asyncio.sleep(chance.choice((0.0, 0.1, 1.0)))
                disturb(play, chance, clock)
            await asyncio.sleep(chance.choice((2.0, 30.0)))
            play.check(f"seed {seed}, at {loop.time():.2f}: {play.actor.state}\n{play.told()}")
        await asyncio.sleep(30.0)
        play.check(f"seed {seed}, at the end: {play.actor.state}\n{play.told()}")
        judge(play, f"seed {seed}\n{play.told()}")
    finally:
        gateway.close()
        play.actor.close()
        await ended(play.tasks)


def disturb(play: Play, chance: random.Random, clock: VirtualClock) -> None:
    """Something happens: to the child, to the gateway, by an operator."""
    now = clock.now()
    match chance.choice(("crash", "crash", "hang up", "reborn", "restart", "restart", "restart", "down", "up", "up")):
        case "crash":
            play.gateway.crash()
        case "hang up":
            play.gateway.hang_up()
        case "reborn":
            play.gateway.restart()
        case "restart":
            play.actor.tell(d.WantRestart(now, "an operator asked"))
        case "down":
            play.actor.tell(d.WantDown(now, "an operator asked"))
        case _:
            play.actor.tell(d.WantUp(now, "an operator asked"))


def judge(play: Play, story: str) -> None:
    """What must hold of everything that was told."""
    ends = [fact for fact in play.facts if isinstance(fact, MemberExited)]
    assert not [end for end in ends if not end.planned and end.code != CRASHED], story
    assert sum(not end.planned for end in ends) <= play.gateway.crashes, story
    starts = [fact.generation for fact in play.facts if isinstance(fact, MemberStarted)]
    assert starts == sorted(set(starts)), story


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_order_no_end_is_held_against_another_incarnation(tmp_path: Path, seed: int) -> None:
    run(lambda loop, clock: history(loop, clock, tmp_path, seed))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_more_orders_keep_the_same_promises(tmp_path: Path) -> None:
    for seed in range(100, 400):
        run(lambda loop, clock, seed=seed: history(loop, clock, tmp_path, seed))
