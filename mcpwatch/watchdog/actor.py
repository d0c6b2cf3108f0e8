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
from mcpwatch.model.fact import Level, MemberExited
from mcpwatch.model.incarnation import Exited as RuntimeExited
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.restart import not_retried, retried_slowly
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant
from mcpwatch.ports import Replacing, Runtime
from mcpwatch.urgent import first
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.exit_words import describe_exit
from mcpwatch.watchdog.known_member import KnownMember
from mcpwatch.watchdog.senses import Context


@dataclass(frozen=True, slots=True)
class ActorListener:
    """Whom an actor tells: `on_start` of every incarnation that lives, `on_change` of every change of want, phase or verdict.

    `sick` is asked at the end of a start that was never proven: whether the member runs and says itself what is wrong with it, so
    that another start cannot help. `said`: what a member that answers was last seen to say, empty for one that is silent.
    `asked`: what ends when the probe does that was under way when a start was due to be proven, `None` without one.
    `unmade`: why the watchdog itself could make no proof.
    """

    on_start: Callable[[MemberActor], None]
    on_change: Callable[[MemberActor], None]
    sick: Callable[[MemberActor], bool]
    said: Callable[[MemberActor], str]
    asked: Callable[[MemberActor, Instant], Callable[[], Awaitable[None]] | None] = lambda _actor, _due: None
    unmade: Callable[[MemberActor], str] = lambda _: ""


class MemberActor(KnownMember):
    """One supervised member. All methods are for the event loop's thread."""

    def __init__(self, spec: MemberSpec, runtime: Runtime, context: Context, listener: ActorListener, generation: int = 0) -> None:
        super().__init__(spec, runtime, context, generation)
        self._never_began = False
        self._given_up = -1
        """The generation that was stopped because its start failed."""
        self.replacing = False
        """Its carrier is about to replace it by itself, because its configuration changed: the next end is no failure."""
        self._listener = listener
        self._spawn = context.spawn
        self._mailbox: deque[d.StateEvent] = deque()
        self._handling = False
        self._hands = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._begin: asyncio.Task[Any] | None = None
        self._stopped = 0
        """The latest generation that was asked to stop: its end is no failure, whenever it is told."""

    def tell(self, event: d.StateEvent) -> None:
        """Handle an event now, or right after the one being handled."""
        if isinstance(event, d.WantRestart) and not event.counts:
            self.excuse("as asked")
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
        self._note_stop(event, decision.state.phase)
        self.state = decision.state
        for action in decision.actions:
            match action:
                case d.Start(generation):
                    with first():
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

    def exited(self, end: RuntimeExited, tail: tuple[str, ...] = ()) -> None:
        """The runtime saw an incarnation end."""
        replaced, self.replacing = self.replacing, False
        generation = end.generation
        planned = replaced or generation != self.state.generation or generation == self._stopped
        words = "stopped" if planned else describe_exit(end, tail)
        policy = self.spec.restart
        last = "" if planned else not_retried(policy, end.code) or retried_slowly(policy, end.code)
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
            self.excuse("because its configuration changed")
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
        replaced, self.replacing = self.replacing, False  # a carrier need not tell the end of what it replaces
        anew = None not in (pid, self.pid) and pid != self.pid  # what was known to live ended unheard
        ours = self.state.phase is Phase.STARTING and not anew
        if replaced and not ours:
            self.excuse("because its configuration changed")
        if anew and self.state.phase is Phase.STARTING:
            self.tell(d.Lost(self.now(), "replaced by its carrier", generation=self.state.generation))
        self.tell(d.CarrierRestarted(self.now(), "started by its carrier"))
        living = Incarnation(self.spec.name, self.state.generation, self.spec.fingerprint, pid, container)
        self.runtime.number(living)
        if self.state.phase is Phase.STARTING and not ours:
            self._began(living, adopted=False)

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
            ours = self.spec.carried.own
            self.port_holder = await self._senses.port_holder(self.spec) if ours else ""
            self._port_held = bool(self.port_holder)
            if self.port_holder:
                self._not_begun(f"its port is held by {self.port_holder}", generation)
                return
            try:
                if not self.spec.carried.hosted or self.state.failures:  # the file of its proxy is one for all
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
        self._tell_started(living, adopted=adopted)
        self._listener.on_start(self)

    async def _stop(self, generation: int, grace: float) -> None:
        self._abandon_start()
        async with self._hands:
            if self.state.generation != generation or self.state.phase is not Phase.STOPPING:
                return
            try:
                if isinstance(self.runtime, Replacing) and self.comes_back:
                    await self.runtime.release(self.spec)
                if not isinstance(self.runtime, Replacing) or not self.comes_back:  # somebody wants it down by now
                    await self.runtime.stop(self.spec, 0.0 if self.hurried else grace)
            except McpwatchError as error:
                if self._repaired and self.spec.carried.engine:
                    self._stopped = 0
                    self.tell(d.StopRefused(self.now(), f"repair not begun: {error}", generation))
                else:
                    self._stop_failed(str(error))
                    self._listener.on_change(self)
                return
            self._stop_is_over()
            self.incarnation = None
            if self.state.then in ("again", "park"):  # nobody asked for it: why it was stopped is how it ended
                self._given_up, self.last_exit = generation, self.reason
            else:
                self.last_exit = ""  # that of an earlier life says nothing of this end
            self.tell(d.Stopped(self.now(), self.reason, generation=generation))

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
            self._timer = asyncio.get_running_loop().call_later(self._next_look(self.state.wake_at), self._tick)

    def _tick(self) -> None:
        self._senses.notice()
        phase, due = self.state.phase, self.state.wake_at
        if phase is Phase.STARTING and due is not None and self.now() >= due:
            asked, sick = self._listener.asked(self, due), self._listener.sick(self)
            if (answers := asked or self._senses.open()) is not None:
                self._spawn(self._tick_after(answers, self.state.generation), f"look at {self.spec.name}")
                return
            unmade, grace = self._listener.unmade(self), f"{self.spec.start_grace:g}s of its start"
            if unmade or sick:
                words = f"not proven within {grace}: {unmade}" if unmade else f"not well within {grace}, but it runs and says why"
                verdict = Verdict.UNKNOWN if unmade else Verdict.UNHEALTHY
                self.tell(d.Judged(self.now(), words, self.state.generation, verdict, proven=True))
                return
        early = self.lacks_port and self._port_came_free()
        words = "its port is free again" if early else self._due_words(self._listener.said(self) if self.lives else "")
        self.tell(d.DeadlinePassed(self.now(), words, early=early))

    async def _tick_after(self, answers: Callable[[], Awaitable[None]], generation: int) -> None:
        """The end of a start, once the machine, or a probe, has said what it was asked; nothing, if it went on meanwhile."""
        await answers()
        if self.state.phase is Phase.STARTING and self.state.generation == generation:
            self._tick()

    def close(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
