"""One member: its mailbox around `decide`, and the hands that carry out what was decided.

Events are handled one at a time, at once, in order; starting and stopping run as tasks of their own and come back as events, so a
mailbox is never stuck behind a slow stop. It must not know checks, diagnoses or other members.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from mcpwatch.model.errors import McpwatchError, RuntimeFailed
from mcpwatch.model.fact import Level, MemberChanged, MemberExited, MemberStarted, Troubled
from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.restart import not_retried
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.ports import Exited as RuntimeExited
from mcpwatch.ports import Incarnation, Replacing, Runtime, Sharing
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.exit_words import describe_exit
from mcpwatch.watchdog.history import placed
from mcpwatch.watchdog.senses import Context


@dataclass(frozen=True, slots=True)
class ActorListener:
    """Whom an actor tells: `on_start` of every incarnation that lives, `on_change` of every change of want, phase or verdict.

    `sick` is asked at the end of a start that was never proven: whether the member runs and says itself what is wrong with it, so
    that another start cannot help. `said`: what a member that answers was last seen to say, empty for one that is silent.
    """

    on_start: Callable[[MemberActor], None]
    on_change: Callable[[MemberActor], None]
    sick: Callable[[MemberActor], bool]
    said: Callable[[MemberActor], str]


class MemberActor:
    """One supervised member. All methods are for the event loop's thread."""

    def __init__(self, spec: MemberSpec, runtime: Runtime, context: Context, listener: ActorListener, generation: int = 0) -> None:
        self.spec = spec
        self.runtime = runtime
        self.state = MemberState(generation=generation)
        self.incarnation: Incarnation | None = None
        self.started_at: Instant | None = None
        self.changed_at: Instant | None = None
        """When its phase last changed."""
        self.paused = False
        """Its container is paused."""
        self.hindered: tuple[str, str] = ("", "")
        """What its engine says keeps it from running: the cause's name, and a sentence."""
        self.resumes = 0
        """How often it was let run again: what was asked before that says nothing."""
        self.since: WallTime | None = None
        self.verdict_since: WallTime | None = None
        self._verdict_at: Instant | None = None
        self.reason = ""
        self.last_exit = ""
        self._never_began = False
        self._cannot_stop = False
        self._given_up = -1
        """The generation that was stopped because its start failed."""
        self.oom = False
        self.adopted = False
        self.replacing = False
        """Its carrier is about to replace it by itself, because its configuration changed: the next end is no failure."""
        self.hurried = False
        """Stops have no grace any more."""
        self.port_holder = ""
        """Who else holds the port that it must listen on, when somebody does."""
        self._listener = listener
        self._senses = context.senses
        self._clock = context.clock
        self._publish = context.publish
        self._spawn = context.spawn
        self._mailbox: deque[d.StateEvent] = deque()
        self._handling = False
        self._hands = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._begin: asyncio.Task[Any] | None = None
        self._planned = 0
        """The generation that a planned restart leads to."""
        self._stopped = 0
        """The latest generation that was asked to stop: its end is no failure, whenever it is told."""

    @property
    def planned(self) -> bool:
        """Whether it is on its way from one generation to the next because somebody wanted that, and nothing has failed on it."""
        state = self.state
        if state.phase is Phase.STARTING:
            return state.generation == self._planned
        return state.phase in (Phase.STOPPING, Phase.BACKOFF) and state.generation == self._planned - 1 and state.want is Want.UP

    def excuse(self) -> None:
        """What carries it is being replaced on purpose: that it goes and comes back is planned."""
        self._planned = self.state.generation + 1

    @property
    def rules(self) -> d.LifecycleRules:
        """What `decide` needs of the present spec."""
        return d.LifecycleRules(self.spec.restart, self.spec.start_grace, self.spec.stop_grace, self.theirs)

    @property
    def theirs(self) -> bool:
        """Whether its carrier brings it back by itself, and we only follow."""
        runtime = self.runtime
        return (runtime.supervises(self.spec) if isinstance(runtime, Sharing) else runtime.supervision) == "theirs"

    def now(self) -> Instant:
        """The clock's instant, for events about this member."""
        return self._clock.now()

    def tell(self, event: d.StateEvent) -> None:
        """Handle an event now, or right after the one being handled."""
        if isinstance(event, d.WantRestart) and not event.counts:
            self.excuse()
        self._mailbox.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._mailbox:
                self._handle(self._mailbox.popleft())
        finally:
            self._handling = False

    def _handle(self, event: d.StateEvent) -> None:
        decision = d.decide(self.state, event, self.rules, random.random())  # noqa: S311
        if decision.state.generation != self.state.generation:
            self._abandon_start()
        self.state = decision.state
        for action in decision.actions:
            match action:
                case d.Start(generation):
                    self._spawn(self._start(generation), f"start {self.spec.name}")
                case d.Stop(generation, grace):
                    self._stopped = generation
                    self._spawn(self._stop(generation, grace), f"stop {self.spec.name}")
                case d.Publish():
                    self._tell_change(action)
        self._set_timer()
        if any(isinstance(action, d.Publish) for action in decision.actions):
            self._changed.set()
            self._listener.on_change(self)

    def clock_set(self, now: Instant, wall: WallTime) -> None:
        """The wall clock was set, and shows `wall`: phase and verdict are as old as they were."""
        self.since = placed(self.since, self.changed_at, now, wall)
        self.verdict_since = placed(self.verdict_since, self._verdict_at, now, wall)

    def _tell_change(self, change: d.Publish) -> None:
        """A change of want, phase or verdict is a fact with a reason."""
        wall = self._clock.wall()
        if change.field == "phase":
            self.since = wall
            self.changed_at = self.now()
        if change.field == "verdict":
            self.verdict_since, self._verdict_at = wall, self.now()
        self.reason = change.reason or self.reason
        text = f"{self.spec.name}: {change.field} {change.old} -> {change.new}" + (f" ({change.reason})" if change.reason else "")
        bad = change.new in (Phase.FAILED, Phase.BACKOFF, Verdict.UNHEALTHY)
        level: Level = "error" if change.new == Phase.FAILED else "warning" if bad else "info"
        self._publish(
            MemberChanged(
                at=wall,
                text=text,
                level=level,
                member=self.spec.name,
                generation=self.state.generation,
                field=change.field,
                old=change.old,
                new=change.new,
                reason=change.reason,
            )
        )

    def exited(self, end: RuntimeExited, tail: tuple[str, ...] = ()) -> None:
        """The runtime saw an incarnation end."""
        replaced, self.replacing = self.replacing, False
        generation = end.generation
        planned = replaced or generation != self.state.generation or generation == self._stopped
        words = "stopped" if planned else describe_exit(end, tail)
        last = "" if planned else not_retried(self.spec.restart, end.code)
        words += f"; {last}" if last else ""
        if not planned or generation != self._given_up:
            self.last_exit, self._never_began = "" if planned else words, False
        self.oom = end.oom
        level: Level = "info" if planned else "warning"
        self._publish(
            MemberExited(
                at=self._clock.wall(),
                text=f"{self.spec.name}: {words}" + (" as asked" if planned else ""),
                level=level,
                member=self.spec.name,
                generation=end.generation,
                code=end.code,
                signal=end.signal,
                oom=end.oom,
                planned=planned,
                tail=tail,
            )
        )
        if replaced:
            self.excuse()
            self.tell(d.Lost(self.now(), "its configuration changed", generation=generation))
        else:
            self.tell(d.GenerationEnded(self.now(), words, generation=generation, code=end.code, final=end.final))

    def adopt(self, found: Incarnation) -> None:
        """A living incarnation was found at boot. One without a number is a generation of its own."""
        self.adopted = True
        generation = self.state.generation + 1 if found.generation is None else found.generation
        living = replace(found, generation=generation)
        if found.generation is None:
            self.runtime.number(living)
        self.tell(d.Adopted(self.now(), "found alive", generation=generation))
        self._began(living, adopted=True)

    def appeared(self, pid: int | None, container: str | None) -> None:
        """The carrier started a new incarnation by itself."""
        ours = self.state.phase is Phase.STARTING
        replaced, self.replacing = self.replacing, False  # a carrier need not tell the end of what it replaces
        if replaced and not ours:
            self.excuse()
        self.tell(d.CarrierRestarted(self.now(), "started by its carrier"))
        living = Incarnation(self.spec.name, self.state.generation, self.spec.fingerprint, pid, container)
        self.runtime.number(living)
        if self.state.phase is Phase.STARTING and not ours:
            self._began(living, adopted=False)

    @property
    def lives(self) -> bool:
        """Whether the present generation is known to have begun. Before that whatever answers for it is another."""
        return self.incarnation is not None and self.incarnation.generation in (None, self.state.generation)

    async def reached(self, *phases: Phase) -> None:
        """Return when the member is in one of the phases. The caller bounds the wait."""
        while self.state.phase not in phases:
            self._changed.clear()
            await self._changed.wait()

    async def _start(self, generation: int) -> None:
        async with self._hands:
            if self.state.generation != generation or self.state.phase is not Phase.STARTING:
                return
            self._begin = asyncio.current_task()
            self.adopted = False
            ours = self.spec.runtime == "process"
            self.port_holder = await self._senses.port_holder(self.spec) if ours else ""
            if self.port_holder:
                self._not_begun(f"its port is held by {self.port_holder}", generation)
                return
            try:
                await self._senses.prepare(self.spec)
                living = await self.runtime.start(self.spec, generation)
            except RuntimeFailed as error:
                self._not_begun(str(error), generation, permanent=error.permanent)
                return
            finally:
                self._begin = None
            if self.state.generation != generation:
                return
            self._started(living)

    def _not_begun(self, why: str, generation: int, *, permanent: bool = False) -> None:
        """A start failed: why is the reason until one succeeds."""
        self.last_exit, self._never_began = why, True
        self.tell(d.StartFailed(self.now(), why, generation=generation, permanent=permanent))

    def _started(self, living: Incarnation) -> None:
        """What was asked for lives. When its carrier lost it meanwhile, it is back already, and that is a generation of its own."""
        if self.state.phase is Phase.BACKOFF and self.theirs:
            self.appeared(living.pid, living.container)
        else:
            self._began(living, adopted=False)

    def _began(self, living: Incarnation, *, adopted: bool) -> None:
        """An incarnation lives: remember it, tell, and let it prove itself."""
        self._stop_is_over()
        self.incarnation = living
        self.paused = False
        if self._never_began:
            self.last_exit, self._never_began = "", False
        age = self._clock.wall() - living.started_at if adopted and living.started_at is not None else 0.0
        self.started_at = Instant(self.now() - max(0.0, age))
        self.oom = self.oom and self.state.failures > 0  # told until it has proven itself
        where = f"pid {living.pid}" if living.pid else f"container {living.container[:12]}" if living.container else "watched"
        how = "adopted" if adopted else "started"
        self._publish(
            MemberStarted(
                at=self._clock.wall(),
                text=f"{self.spec.name}: {how}, generation {self.state.generation}, {where}",
                member=self.spec.name,
                generation=self.state.generation,
                pid=living.pid,
                container=living.container,
                adopted=adopted,
            )
        )
        self._listener.on_start(self)

    async def _stop(self, generation: int, grace: float) -> None:
        self._abandon_start()
        async with self._hands:
            if self.state.generation != generation or self.state.phase is not Phase.STOPPING:
                return
            try:
                if self.state.then in ("start", "again") and isinstance(self.runtime, Replacing) and not self.hurried:
                    await self.runtime.release(self.spec)
                else:
                    await self.runtime.stop(self.spec, 0.0 if self.hurried else grace)
            except McpwatchError as error:
                self._cannot_stop = True
                self._tell_stop(str(error))
                return
            self._stop_is_over()
            self.incarnation = None
            if self.state.then in ("again", "park"):  # nobody asked for it: why it was stopped is how it ended
                self._given_up, self.last_exit = generation, self.reason
            else:
                self.last_exit = ""  # that of an earlier life says nothing of this end
            self.tell(d.Stopped(self.now(), self.reason, generation=generation))

    def _tell_stop(self, text: str, *, cleared: bool = False) -> None:
        level: Level = "info" if cleared else "error"
        name = self.spec.name
        self._publish(Troubled(at=self._clock.wall(), text=text, level=level, subject=f"stop {name}", cleared=cleared, member=name))

    def _stop_is_over(self) -> None:
        """What could not be stopped is stopped, or lives again: that is no trouble any more."""
        if self._cannot_stop:
            self._cannot_stop = False
            self._tell_stop(f"{self.spec.name}: could be stopped, or ended by itself", cleared=True)

    def _abandon_start(self) -> None:
        """Waiting for a carrier can take long, and the start of an earlier generation, or of what is to stop, is of no use."""
        if self._begin is not None and self.theirs:
            self._begin.cancel()

    async def resume(self) -> None:
        """Let what is stopped or paused of it run again. Raises `RuntimeFailed`."""
        await self.runtime.resume(self.spec)
        self.paused = False
        self.resumes += 1
        self.changed_at = self.now()

    async def force(self) -> None:
        """End it now, without grace, beside a stop that is under way."""
        await self.runtime.stop(self.spec, 0.0)

    def _set_timer(self) -> None:
        """Tick when the deadline of the present phase passes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.state.wake_at is not None:
            self._timer = asyncio.get_running_loop().call_later(self.state.wake_at - self.now(), self._tick)

    def _tick(self) -> None:
        self._senses.notice()
        phase, due = self.state.phase, self.state.wake_at
        if phase is Phase.STARTING and due is not None and self.now() >= due:
            sick = self._listener.sick(self)
            if (answers := self._senses.open()) is not None:
                self._spawn(self._tick_after(answers, self.state.generation), f"look at {self.spec.name}")
                return
            if sick:
                words = f"not well within {self.spec.start_grace:g}s of its start, but it runs and says why"
                self.tell(d.Judged(self.now(), words, self.state.generation, Verdict.UNHEALTHY, proven=True))
                return
        reasons = {
            Phase.STARTING: f"not ready within {self.spec.start_grace:g}s of its start" + self._slow(),
            Phase.STOPPING: "not stopped in time, forced",
            Phase.BACKOFF: "the pause is over",
            Phase.FAILED: "one more try",
        }
        self.tell(d.DeadlinePassed(self.now(), reasons.get(phase, "")))

    async def _tick_after(self, answers: Callable[[], Awaitable[None]], generation: int) -> None:
        """The end of a start, once the machine has said what it was asked; nothing, if it went on meanwhile."""
        await answers()
        if self.state.phase is Phase.STARTING and self.state.generation == generation:
            self._tick()

    def _slow(self) -> str:
        """What to do about a start that took too long, where it was on its way to the end."""
        if self.lives and (said := self._listener.said(self)):
            return f"; it answers, but {said}"
        return "; it was still starting: raise start_grace if it needs longer" if self.lives else ""

    def close(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
