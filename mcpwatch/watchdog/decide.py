"""The lifecycle of one member, as one total function: what an event means in a state, and what to do about it.

Everything that affects a member's want, phase and verdict happens here and nowhere else. `decide` never awaits, reads no clock
and never raises; a test walks every reachable (state, event) and asserts the invariants (`docs/explanation/state-machine.md`):

- a start is issued only where nothing lives, and every start raises the generation;
- whatever an older generation says changes nothing;
- every passing phase (STARTING, STOPPING, BACKOFF) has a deadline;
- FAILED is reachable from a crash loop under every policy that the configuration accepts.

It must not know what carries the member, what a probe looks like, or why someone asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from mcpwatch.model.member import MemberState, Phase, Then, Verdict, Want
from mcpwatch.model.restart import Next, RestartHistory, after_end, after_exit, counted, exceeded, one_try
from mcpwatch.model.time import Instant, later
from mcpwatch.watchdog.lifecycle_events import (
    Adopted,
    CarrierParked,
    CarrierRestarted,
    DeadlinePassed,
    GenerationEnded,
    Judged,
    LifecycleRules,
    Lost,
    Publish,
    Start,
    StartFailed,
    StateEvent,
    Stop,
    Stopped,
    StopRefused,
    Transition,
    Unwatched,
    WantDown,
    WantRestart,
    WantUp,
)

STOP_MARGIN = 5.0
"""Seconds beyond the grace after which a stop that has not ended is forced again."""
CARRIER_PATIENCE = 30.0
"""Seconds that a member whose carrier went away (its gateway, its engine) is given to come back by itself."""


def decide(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float = 0.5) -> Transition:
    """What `event` means in `state`. `unit` is a random number in [0, 1) for the jitter. Total; never raises."""
    if getattr(event, "generation", state.generation) != state.generation and not isinstance(event, Adopted):
        return Transition(state)
    handler = _HANDLERS.get(type(event))
    if handler is None:
        return Transition(state)
    after, effects = handler(state, event, rules, unit)
    return Transition(after, (*effects, *_changes(state, after, event.reason)))


Step = tuple[MemberState, tuple[Start | Stop, ...]]


def _want_up(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    wanted = replace(state, want=Want.UP, failures=0, starts=())
    match state.phase:
        case Phase.STOPPED | Phase.FAILED | Phase.BACKOFF:
            return _starting(wanted, event.at, rules)
        case Phase.STOPPING:
            return replace(wanted, then="start"), ()
        case Phase.STARTING | Phase.RUNNING:
            return wanted, ()


def _want_down(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    wanted = replace(state, want=Want.DOWN)
    match state.phase:
        case Phase.STARTING | Phase.RUNNING:
            return _stopping(wanted, event.at, rules, "rest")
        case Phase.STOPPING:
            return replace(wanted, then="rest"), ()
        case Phase.BACKOFF if rules.theirs:
            return _stopping(wanted, event.at, rules, "rest")
        case Phase.STOPPED | Phase.BACKOFF | Phase.FAILED:
            return _rest(wanted, Phase.STOPPED), ()


def _want_restart(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    assert isinstance(event, WantRestart)
    match state.phase:
        case Phase.STARTING | Phase.RUNNING if event.counts:
            after = _counted(replace(state, want=Want.UP), event.at, rules)
            spent = exceeded(rules.restart, after.starts, event.at)
            return _stopping(after, event.at, rules, "park" if spent else "start")
        case Phase.STARTING | Phase.RUNNING:
            return _stopping(replace(state, want=Want.UP), event.at, rules, "start")
        case Phase.STOPPING if state.want is Want.UP or not event.counts:
            return replace(state, want=Want.UP, then="start"), ()
        case Phase.STOPPED | Phase.BACKOFF | Phase.FAILED if not event.counts:
            return _starting(replace(state, want=Want.UP, failures=0, starts=()), event.at, rules)
        case _:
            return state, ()


def _adopted(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    assert isinstance(event, Adopted)
    if state.phase is not Phase.STOPPED or event.generation < state.generation:
        return state, ()
    taken = replace(
        state,
        want=Want.UP,
        phase=Phase.STARTING,
        generation=event.generation,
        begun=True,
        wake_at=later(event.at, rules.start_grace),
    )
    return taken, ()


def _judged(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    assert isinstance(event, Judged)
    match state.phase:
        case Phase.STARTING if event.proven:
            return replace(state, phase=Phase.RUNNING, verdict=event.verdict, ready_at=event.at, wake_at=None), ()
        case Phase.RUNNING if event.verdict is not state.verdict:
            return replace(state, verdict=event.verdict), ()
        case _:
            return state, ()


def _start_failed(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:
    assert isinstance(event, StartFailed)
    if state.phase not in (Phase.STARTING, Phase.RUNNING):  # what proved it before its start was known was another's answer
        return state, ()
    if event.permanent:
        return _parked(_counted(state, event.at, rules), event.at, rules), ()
    return _again(_counted(state, event.at, rules), event.at, rules, unit)


def _exited(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:
    assert isinstance(event, GenerationEnded)
    if state.phase not in (Phase.STARTING, Phase.RUNNING):
        return state, ()
    decided = Next("parked") if event.final else after_exit(rules.restart, event.code)
    if decided is not None and decided.step == "finished":
        return _rest(replace(state, want=Want.DOWN), Phase.STOPPED), ()
    after = state if rules.restart.condition == "never" else _counted(state, event.at, rules)
    if decided is not None:
        return _rest(after, Phase.FAILED) if decided.pause is None else _parked(after, event.at, rules), ()
    return _again(after, event.at, rules, unit)


def _lost(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    if state.phase not in (Phase.STARTING, Phase.RUNNING):
        return state, ()
    return replace(_rest(state, Phase.BACKOFF), wake_at=later(event.at, max(CARRIER_PATIENCE, rules.start_grace))), ()


def _appeared(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    match state.phase:
        case Phase.STOPPED if state.want is Want.DOWN:
            return _stopping(replace(state, generation=state.generation + 1), event.at, rules, "rest")
        case Phase.STOPPED | Phase.BACKOFF | Phase.FAILED | Phase.RUNNING:
            begun, _ = _starting(state, event.at, rules)
            return begun, ()
        case Phase.STARTING | Phase.STOPPING:
            return state, ()


def _given_up(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    return _stopping(state, event.at, rules, "park") if state.phase is Phase.BACKOFF and rules.theirs else (state, ())


def _stopped(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:
    if state.phase is not Phase.STOPPING:
        return state, ()
    match state.then:
        case "rest":
            return _rest(state, Phase.STOPPED), ()
        case "start":
            return _starting(state, event.at, rules)
        case "again":  # its carrier begins nothing that it was told to stop
            return _again(replace(state, phase=Phase.STOPPED), event.at, replace(rules, theirs=False), unit)
        case "park":
            return _parked(state, event.at, rules), ()


def _stop_refused(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    again = replace(state, phase=Phase.STARTING, wake_at=later(event.at, rules.start_grace), then="rest")
    return (again if state.phase is Phase.STOPPING and state.want is Want.UP else state), ()


def _unwatched(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    return (replace(state, wake_at=later(event.at, rules.start_grace)) if state.phase is Phase.STARTING else state), ()


def _tick(state: MemberState, event: StateEvent, rules: LifecycleRules, unit: float) -> Step:  # noqa: ARG001
    assert isinstance(event, DeadlinePassed)
    early = event.early and state.phase in (Phase.BACKOFF, Phase.FAILED)
    if state.wake_at is None or (event.at < state.wake_at and not early):
        return state, ()
    match state.phase:
        case Phase.STARTING:
            after = _counted(state, event.at, rules)
            # A grace longer than period / intensity spreads such ends too thinly for the budget; in a row they are enough.
            spent = exceeded(rules.restart, after.starts, event.at) or after.failures > rules.restart.intensity
            return _stopping(after, event.at, rules, "park" if spent else "again")
        case Phase.STOPPING:
            return _stopping(state, event.at, rules, state.then)
        case Phase.BACKOFF:
            return _starting(state, event.at, rules)
        case Phase.FAILED:
            last = one_try(rules.restart, RestartHistory(state.failures, state.starts), event.at)
            return _starting(replace(state, starts=last.ends), event.at, rules)
        case Phase.STOPPED | Phase.RUNNING:
            return replace(state, wake_at=None), ()


_HANDLERS: dict[type[StateEvent], Callable[[MemberState, StateEvent, LifecycleRules, float], Step]] = {
    WantUp: _want_up,
    WantDown: _want_down,
    WantRestart: _want_restart,
    Adopted: _adopted,
    Judged: _judged,
    StartFailed: _start_failed,
    GenerationEnded: _exited,
    Lost: _lost,
    CarrierRestarted: _appeared,
    CarrierParked: _given_up,
    Stopped: _stopped,
    StopRefused: _stop_refused,
    Unwatched: _unwatched,
    DeadlinePassed: _tick,
}


def _starting(state: MemberState, at: Instant, rules: LifecycleRules) -> Step:
    """A new generation begins."""
    begun = replace(
        state,
        phase=Phase.STARTING,
        verdict=Verdict.UNKNOWN,
        generation=state.generation + 1,
        restarts=state.restarts + (1 if state.begun else 0),
        begun=True,
        ready_at=None,
        wake_at=later(at, rules.start_grace),
        then="rest",
    )
    return begun, (Start(begun.generation),)


def _stopping(state: MemberState, at: Instant, rules: LifecycleRules, then: Then) -> Step:
    """The living generation is being ended."""
    deadline = later(at, rules.stop_grace + STOP_MARGIN)
    ending = replace(state, phase=Phase.STOPPING, verdict=Verdict.UNKNOWN, wake_at=deadline, then=then)
    return ending, (Stop(state.generation, rules.stop_grace),)


def _rest(state: MemberState, phase: Phase) -> MemberState:
    """Nothing lives and nothing is due."""
    return replace(state, phase=phase, verdict=Verdict.UNKNOWN, ready_at=None, wake_at=None, then="rest")


def _parked(state: MemberState, at: Instant, rules: LifecycleRules) -> MemberState:
    """The budget is spent: FAILED, with one more try after the policy's `retry`."""
    retry = rules.restart.retry
    return replace(_rest(state, Phase.FAILED), wake_at=None if retry is None else later(at, retry))


def _counted(state: MemberState, at: Instant, rules: LifecycleRules) -> MemberState:
    """One more unplanned end."""
    history = counted(rules.restart, RestartHistory(state.failures, state.starts), at, state.ready_at)
    return replace(state, failures=history.failures, starts=history.ends)


def _again(state: MemberState, at: Instant, rules: LifecycleRules, unit: float) -> Step:
    """An unplanned end, already counted: start at once, after a pause, or not at all."""
    step = after_end(rules.restart, RestartHistory(state.failures, state.starts), at, unit)
    if step.step == "parked" and rules.theirs:
        return _stopping(state, at, rules, "park")
    if step.step == "parked":
        return _parked(state, at, rules), ()
    if rules.theirs:
        return replace(_rest(state, Phase.BACKOFF), wake_at=later(at, max(CARRIER_PATIENCE, rules.start_grace))), ()
    if not step.pause:
        return _starting(state, at, rules)
    return replace(_rest(state, Phase.BACKOFF), wake_at=later(at, step.pause)), ()


def _changes(before: MemberState, after: MemberState, reason: str) -> tuple[Publish, ...]:
    """One `Publish` for each of want, phase and verdict that differs."""
    fields: tuple[Literal["want", "phase", "verdict"], ...] = ("want", "phase", "verdict")
    return tuple(
        Publish(field, str(getattr(before, field)), str(getattr(after, field)), reason)
        for field in fields
        if getattr(before, field) != getattr(after, field)
    )
