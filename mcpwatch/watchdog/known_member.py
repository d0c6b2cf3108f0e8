"""What is known of one member, and how a change of it is told. Starts and stops nothing."""

from __future__ import annotations

from mcpwatch.model.fact import Level, MemberChanged, MemberStarted, Troubled
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant, WallTime, placed
from mcpwatch.ports import Runtime, shares
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.exit_words import port_refused, telling
from mcpwatch.watchdog.senses import Context

PORT_LOOK = 1.0
"""Seconds between two looks at a port that others hold, while a start waits for it."""


class KnownMember:
    """The present state of a member, with the moments from which on it is so."""

    def __init__(self, spec: MemberSpec, runtime: Runtime, context: Context, generation: int = 0) -> None:
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
        self.resumes: int = 0
        """How often it was let run again: what was asked before that says nothing."""
        self.since: WallTime | None = None
        self.verdict_since: WallTime | None = None
        self._verdict_at: Instant | None = None
        self.reason = ""
        self.last_exit = ""
        self.cannot_stop = ""
        """Why it could not be stopped, as long as it is not."""
        self._repaired = False
        """Whether the latest stop began as a repair, on evidence that grows old, and nobody asked for anything since."""
        self.oom = False
        self.adopted = False
        self.port_holder = ""
        """Who else holds the port that it must listen on, when somebody does."""
        self._port_held = False
        """Whether that port was seen to be held, when it was looked at last."""
        self.hurried = False
        """Stops have no grace any more."""
        self._senses = context.senses
        self._clock = context.clock
        self._publish = context.publish
        self._planned = 0
        """The generation that a planned restart leads to."""
        self.planned_why = ""
        """Why that is planned, as it goes on: `as asked`."""

    @property
    def planned(self) -> bool:
        """Whether it is on its way from one generation to the next because somebody wanted that, and nothing has failed on it."""
        state = self.state
        if state.phase is Phase.STARTING:
            return state.generation == self._planned
        return state.phase in (Phase.STOPPING, Phase.BACKOFF) and state.generation == self._planned - 1 and state.want is Want.UP

    def excuse(self, why: str = "as asked") -> None:
        """That it goes and comes back is planned, and why: `as asked`, or with what carries it."""
        self._planned, self.planned_why = self.state.generation + 1, why

    @property
    def rules(self) -> d.LifecycleRules:
        """What `decide` needs of the present spec."""
        return d.LifecycleRules(self.spec.restart, self.spec.start_grace, self.spec.stop_grace, self.theirs)

    @property
    def theirs(self) -> bool:
        """Whether its carrier brings it back by itself, and we only follow."""
        runtime = self.runtime
        return (runtime.supervises(self.spec) if shares(runtime) else runtime.supervision) == "theirs"

    @property
    def reachable(self) -> bool:
        """Whether it can be asked without the proxy: where it answers is written, or its runtime knows."""
        return self.spec.direct is not None or (self.incarnation is not None and self.incarnation.direct is not None)

    @property
    def lives(self) -> bool:
        """Whether the present generation is known to have begun. Before that whatever answers for it is another."""
        return self.incarnation is not None and self.incarnation.generation in (None, self.state.generation)

    @property
    def lacks_port(self) -> bool:
        """Whether it is not started because others have its port: its next start is due, if at all, once that is free."""
        refused = bool(self.port_holder) or port_refused(self.last_exit)
        return refused and self.state.phase in (Phase.BACKOFF, Phase.FAILED) and not self.theirs

    def _port_came_free(self) -> bool:
        """Look at its port: whether it was seen to be held, and is free now."""
        before, self._port_held = self._port_held, not self._senses.port_free(self.spec)
        return before and not self._port_held

    def _next_look(self, due: Instant) -> float:
        """Seconds until something is due, or its port is looked at again."""
        return min(due - self.now(), PORT_LOOK) if self.lacks_port else due - self.now()

    def _due_words(self, said: str) -> str:
        """Why it goes on when the deadline of its phase passes. `said`: what it answered last, where it lives."""
        match self.state.phase:
            case Phase.STARTING:
                return f"not ready within {self.spec.start_grace:g}s of its start" + self.late_words(said)
            case Phase.STOPPING:
                return "not stopped in time, forced"
            case Phase.BACKOFF:
                return "the pause is over"
            case Phase.FAILED:
                return "one more try"
            case Phase.STOPPED | Phase.RUNNING:
                return ""

    def late_words(self, said: str) -> str:
        """What to do about a start that took too long, where it was on its way to the end. `said`: what it answered last."""
        if not self.lives:
            return ""
        if said:
            return f"; it answers, but {said}"
        wrote = telling(self._senses.words(self.spec.name))
        last = f"; it last wrote: {wrote}" if wrote else ""
        return f"; it was still starting: raise start_grace if it needs longer{last}"

    @property
    def pid(self) -> int | None:
        """The process of the present generation, where it is known to have begun as one."""
        return self.incarnation.pid if self.incarnation is not None and self.lives else None

    @property
    def comes_back(self) -> bool:
        """Whether what is being stopped is to be started again, and nobody is in a hurry."""
        return self.state.then in ("start", "again") and not self.hurried

    def now(self) -> Instant:
        """The clock's instant, for events about this member."""
        return self._clock.now()

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

    def _tell_started(self, living: Incarnation, *, adopted: bool) -> None:
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

    def _tell_stop(self, text: str, *, cleared: bool = False) -> None:
        level: Level = "info" if cleared else "error"
        name = self.spec.name
        self._publish(Troubled(at=self._clock.wall(), text=text, level=level, subject=f"stop {name}", cleared=cleared, member=name))

    def _note_stop(self, event: d.StateEvent, after: Phase) -> None:
        """Whether what is being stopped, or is now with this event, is stopped as a repair. `after`: the phase it leads to."""
        repair = isinstance(event, d.WantRestart) and event.counts
        ends = after is Phase.STOPPING and self.state.phase is not Phase.STOPPING
        if ends or (isinstance(event, d.WantRestart | d.WantUp | d.WantDown) and not repair):
            self._repaired = repair

    def _stop_failed(self, text: str) -> None:
        """It could not be stopped: told, and tried again when the deadline is over."""
        self.cannot_stop = text.removeprefix(f"{self.spec.name}: ")
        self._tell_stop(text)

    def _stop_is_over(self) -> None:
        """What could not be stopped is stopped, or lives again: that is no trouble any more."""
        if self.cannot_stop:
            self.cannot_stop = ""
            self._tell_stop(f"{self.spec.name}: could be stopped, or ended by itself", cleared=True)
