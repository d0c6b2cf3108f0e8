"""Single steps of the lifecycle, each with its deadline, its count and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import MemberState, Phase, Then, Verdict, Want
from mcpwatch.model.restart import Backoff, RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.decide import (
    Adopted,
    CarrierParked,
    CarrierRestarted,
    DeadlinePassed,
    GenerationEnded,
    Judged,
    LifecycleRules,
    Publish,
    Start,
    StartFailed,
    StateEvent,
    Stop,
    Stopped,
    StopRefused,
    Transition,
    WantDown,
    WantRestart,
    WantUp,
    decide,
)

AT = Instant(100.0)
RULES = LifecycleRules(RestartPolicy(intensity=1, retry=50.0, backoff=Backoff(first=4.0)))
RUNNING = MemberState(want=Want.UP, phase=Phase.RUNNING, verdict=Verdict.HEALTHY, generation=3, begun=True, ready_at=Instant(90.0))
STOPPING = replace(RUNNING, phase=Phase.STOPPING, verdict=Verdict.UNKNOWN, wake_at=Instant(110.0), then="rest")
STOPPED = MemberState(generation=3, begun=True)
SICK = replace(STOPPED, want=Want.UP, failures=2, starts=(Instant(98.0), Instant(99.0)))


def after(state: MemberState, event: StateEvent, rules: LifecycleRules = RULES) -> MemberState:
    return decide(state, event, rules).state


def test_a_member_that_says_nothing_of_its_times_has_those_of_its_spec() -> None:
    spec = MemberSpec("time", "server", "process", object())
    assert LifecycleRules() == LifecycleRules(spec.restart, spec.start_grace, spec.stop_grace, theirs=False)


def test_what_means_nothing_changes_nothing() -> None:
    assert decide(RUNNING, StateEvent(AT), RULES) == Transition(RUNNING)
    for phase in (Phase.RUNNING, Phase.STOPPED):
        assert after(replace(RUNNING, phase=phase, wake_at=AT), DeadlinePassed(AT)) == replace(RUNNING, phase=phase)


def test_the_same_verdict_again_makes_no_other_state() -> None:
    """Each check of a healthy member judges it."""
    assert after(RUNNING, Judged(AT, generation=3, verdict=Verdict.HEALTHY, proven=True)) is RUNNING


def test_a_step_tells_what_changed_after_what_is_to_be_done() -> None:
    decision = decide(STOPPED, WantUp(AT, "wanted"), RULES)
    assert decision.actions == (
        Start(4),
        Publish("want", "down", "up", "wanted"),
        Publish("phase", "stopped", "starting", "wanted"),
    )
    down = decide(RUNNING, WantDown(AT, "an operator asked"), RULES)
    assert down.actions == (
        Stop(3, 10.0),
        Publish("want", "up", "down", "an operator asked"),
        Publish("phase", "running", "stopping", "an operator asked"),
        Publish("verdict", "healthy", "unknown", "an operator asked"),
    )
    assert down.state.wake_at == AT + 10.0 + 5.0


def test_the_first_start_is_no_restart_and_every_other_is_one() -> None:
    first = after(MemberState(), WantUp(AT))
    assert (first.restarts, first.begun, first.wake_at) == (0, True, AT + 60.0)
    second = after(after(first, WantRestart(AT)), Stopped(AT, generation=1))
    third = after(after(second, WantRestart(AT)), Stopped(AT, generation=2))
    assert (second.restarts, third.restarts, third.generation) == (1, 2, 3)
    found = after(MemberState(), Adopted(AT, generation=1))
    assert (found.restarts, found.begun) == (0, True)
    assert after(after(found, WantRestart(AT)), Stopped(AT, generation=1)).restarts == 1


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.BACKOFF, Phase.FAILED])
def test_what_an_operator_starts_has_no_past(phase: Phase) -> None:
    sick = replace(SICK, phase=phase)
    for event in (WantUp(AT), WantRestart(AT)):
        started = after(sick, event)
        assert (started.phase, started.want, started.failures, started.starts) == (Phase.STARTING, Want.UP, 0, ())
    assert decide(sick, WantRestart(AT, counts=True), RULES) == Transition(sick), "a repair starts nothing that does not run"


def test_what_is_wanted_while_it_stops_is_started_then_and_what_runs_already_runs_on() -> None:
    again = decide(replace(STOPPING, want=Want.DOWN, failures=2), WantUp(AT), RULES)
    assert (again.state.phase, again.state.then, again.state.want, again.state.failures) == (Phase.STOPPING, "start", Want.UP, 0)
    on = decide(replace(RUNNING, failures=2), WantUp(AT), RULES)
    assert on == Transition(RUNNING)


def test_a_restart_as_a_repair_counts_until_the_budget_is_spent() -> None:
    once = after(RUNNING, WantRestart(AT, counts=True))
    assert (once.phase, once.then, once.failures) == (Phase.STOPPING, "start", 1)
    spent = after(replace(RUNNING, starts=(Instant(99.0),)), WantRestart(AT, counts=True))
    assert spent.then == "park"
    parked = after(spent, Stopped(AT, generation=3))
    assert (parked.phase, parked.wake_at) == (Phase.FAILED, AT + 50.0)
    planned = after(replace(RUNNING, starts=(Instant(99.0),)), WantRestart(AT))
    assert (planned.then, planned.starts) == ("start", (99.0,)), "one that somebody wanted is free"


def test_what_a_repair_could_not_stop_is_looked_at_again_and_what_an_operator_ends_is_not() -> None:
    again = after(replace(STOPPING, then="start"), StopRefused(AT, generation=3))
    assert (again.phase, again.generation, again.wake_at, again.then) == (Phase.STARTING, 3, AT + 60.0, "rest")
    well = after(again, Judged(AT, generation=3, verdict=Verdict.HEALTHY, proven=True))
    assert (well.phase, well.generation, well.restarts) == (Phase.RUNNING, 3, 0)
    for other in (replace(STOPPING, want=Want.DOWN), RUNNING, STOPPED):
        assert after(other, StopRefused(AT, generation=3)) == other


@pytest.mark.parametrize(
    ("want", "counts", "then"),
    [(Want.UP, False, "start"), (Want.UP, True, "start"), (Want.DOWN, False, "start"), (Want.DOWN, True, "rest")],
)
def test_a_restart_of_what_is_being_stopped_starts_it_again_but_no_repair_brings_back_what_nobody_wants(
    want: Want, counts: bool, then: Then
) -> None:
    stopping = after(replace(STOPPING, want=want), WantRestart(AT, counts=counts))
    assert (stopping.phase, stopping.then, stopping.want) == (Phase.STOPPING, then, Want.UP if then == "start" else Want.DOWN)


def test_what_is_found_alive_is_taken_over_once_unless_it_is_older_than_what_is_known() -> None:
    for generation, phase in ((2, Phase.STOPPED), (3, Phase.STARTING), (4, Phase.STARTING)):
        assert after(STOPPED, Adopted(AT, generation=generation)).phase is phase
    assert after(RUNNING, Adopted(AT, generation=4)) == RUNNING


def test_a_start_that_failed_is_tried_again_unless_that_is_no_use() -> None:
    starting = replace(STOPPED, want=Want.UP, phase=Phase.STARTING)
    assert after(starting, StartFailed(AT, generation=3)).phase is Phase.STARTING
    assert after(starting, StartFailed(AT, generation=3, permanent=True)).phase is Phase.FAILED


def test_a_verdict_that_proves_nothing_makes_nothing_run() -> None:
    starting = replace(STOPPED, want=Want.UP, phase=Phase.STARTING)
    assert after(starting, Judged(AT, generation=3, verdict=Verdict.HEALTHY)) == starting


def test_the_pause_between_ends_is_what_the_policy_says_in_the_middle_of_its_jitter() -> None:
    rules = replace(RULES, restart=replace(RULES.restart, intensity=5))
    paused = after(replace(RUNNING, failures=1), GenerationEnded(AT, generation=3, code=1), rules)
    assert (paused.phase, paused.wake_at) == (Phase.BACKOFF, AT + 4.0)


def test_what_its_carrier_restarts_too_often_is_stopped_and_parked() -> None:
    rules = replace(RULES, theirs=True)
    dead = GenerationEnded(AT, generation=3, code=1)
    waiting = decide(RUNNING, dead, rules)
    assert (waiting.state.phase, waiting.state.wake_at) == (Phase.BACKOFF, AT + 60.0)
    assert not [one for one in waiting.actions if isinstance(one, (Start, Stop))]
    spent = decide(replace(RUNNING, starts=(Instant(99.0),)), dead, rules)
    assert (spent.state.phase, spent.state.then) == (Phase.STOPPING, "park")
    assert Stop(3, 10.0) in spent.actions
    back = decide(waiting.state, CarrierRestarted(AT), rules)
    assert (back.state.phase, back.state.generation, back.state.restarts) == (Phase.STARTING, 4, 1)
    assert not [one for one in back.actions if isinstance(one, Start)]


def test_what_its_carrier_gave_up_is_parked_though_not_every_end_was_told() -> None:
    rules = replace(RULES, theirs=True)
    waiting = after(RUNNING, GenerationEnded(AT, generation=3, code=1), rules)
    given_up = decide(waiting, CarrierParked(AT), rules)
    assert (given_up.state.phase, given_up.state.then) == (Phase.STOPPING, "park")
    assert Stop(3, 10.0) in given_up.actions, "one of the two tries it again, not both"
    parked = after(given_up.state, Stopped(AT, generation=3), rules)
    assert (parked.phase, parked.wake_at) == (Phase.FAILED, AT + 50.0)
    for state, theirs in ((RUNNING, True), (STOPPED, True), (parked, True), (waiting, False)):
        assert after(state, CarrierParked(AT), replace(rules, theirs=theirs)) == state


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("due", [None, AT, Instant(AT + 50.0)])
def test_what_a_start_waited_for_brings_forward_a_start_that_is_due_and_nothing_else(phase: Phase, due: Instant | None) -> None:
    state = replace(RUNNING, phase=phase, wake_at=due)
    early, plainly = (decide(state, DeadlinePassed(AT, early=which), RULES) for which in (True, False))
    if phase in (Phase.BACKOFF, Phase.FAILED) and due is not None:
        assert early == decide(replace(state, wake_at=AT), DeadlinePassed(AT), RULES)
        assert Start(4) in early.actions
    else:
        assert early == plainly
