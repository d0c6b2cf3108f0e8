"""Every reachable (state, event) of the lifecycle, walked breadth-first, and the invariants that must hold in each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from math import ceil

import pytest

from mcpwatch.model.member import MemberState, Phase, Verdict, Want
from mcpwatch.model.restart import Backoff, RestartPolicy, reachable
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.decide import (
    CARRIER_PATIENCE,
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
    decide,
)
from mcpwatch.watchdog.lifecycle_events import EVENTS

GRID = 20.0
SMALL = RestartPolicy(intensity=1, period=2 * GRID, backoff=Backoff(first=GRID, max=GRID, jitter=0.0), retry=GRID)
RULES = {
    "ours": LifecycleRules(restart=SMALL, start_grace=GRID, stop_grace=GRID - 5.0),
    "theirs": LifecycleRules(restart=SMALL, start_grace=GRID, stop_grace=GRID - 5.0, theirs=True),
    "never": LifecycleRules(restart=replace(SMALL, condition="never", retry=None), start_grace=GRID, stop_grace=GRID - 5.0),
    "on-failure": LifecycleRules(restart=replace(SMALL, condition="on-failure"), start_grace=GRID, stop_grace=GRID - 5.0),
}
STEPS = (Instant(0.0), Instant(GRID))
PASSING = {Phase.STARTING, Phase.STOPPING, Phase.BACKOFF}


@dataclass(frozen=True)
class World:
    """A state with what truly lives beside it: `living` counts generations started and not yet ended."""

    state: MemberState
    living: int = 0


@cache
def normal(world: World, now: Instant) -> World:
    """The same world with `now` shifted to zero and counters capped, so that equal situations are equal values."""
    state = world.state

    def shift(at: Instant | None) -> Instant | None:
        return None if at is None else Instant(max(-3, ceil((at - now) / GRID)) * GRID)

    return replace(
        world,
        state=replace(
            state,
            generation=min(state.generation, 1),
            restarts=0,
            failures=min(state.failures, 2),
            starts=tuple(Instant(start - now) for start in state.starts if now - start < SMALL.period)[-2:],
            ready_at=shift(state.ready_at),
            wake_at=shift(state.wake_at),
        ),
    )


@cache
def events(current: int, at: Instant) -> tuple[StateEvent, ...]:
    """Every event that could arrive, of this generation and of an older one."""
    made: list[StateEvent] = [
        WantUp(at),
        WantDown(at),
        WantRestart(at),
        WantRestart(at, counts=True),
        CarrierRestarted(at),
        CarrierParked(at),
        Unwatched(at),
        DeadlinePassed(at),
        DeadlinePassed(at, early=True),
    ]
    for generation in (current, current - 1):
        made += [GenerationEnded(at, generation=generation, code=code) for code in (0, 1, 127)]
        made += [
            Judged(at, generation=generation, verdict=verdict, proven=proven) for verdict, proven in product(Verdict, (True, False))
        ]
        made += [StartFailed(at, generation=generation, permanent=permanent) for permanent in (True, False)]
        made += [kind(at, generation=generation) for kind in (Stopped, StopRefused, Lost)]
    return tuple(made)


def stale(world: World, event: StateEvent) -> bool:
    """Whether an event is of an older generation."""
    return getattr(event, "generation", world.state.generation) != world.state.generation


def truth(world: World, event: StateEvent, decision: Transition, theirs: bool) -> int:
    """How many incarnations live after the event and the actions."""
    living = world.living
    if isinstance(event, (GenerationEnded, Stopped, StartFailed, Lost)) and not stale(world, event):
        living = 0
    if theirs and isinstance(event, CarrierRestarted):
        living = 1
    for action in decision.actions:
        living += isinstance(action, Start)
    return living


def possible(world: World, event: StateEvent, theirs: bool) -> bool:
    """Whether the event can come in this world: nothing ends that does not live."""
    if isinstance(event, CarrierRestarted):
        return theirs
    return bool(world.living) or not isinstance(event, (GenerationEnded, Lost)) or stale(world, event)


Move = tuple[World, StateEvent, Transition, World]


@dataclass
class Walked:
    """Every world reachable from rest, every event that came in one, and every step that changes a world or acts."""

    rules: LifecycleRules
    worlds: set[World] = field(default_factory=lambda: {World(MemberState())})
    moves: list[Move] = field(default_factory=list[Move])
    kinds: set[type[StateEvent]] = field(default_factory=set[type[StateEvent]])


def moves(world: World, at: Instant, walked: Walked) -> Iterator[Move]:
    """Every step out of a world at an instant. What leaves it as it is is no step."""
    rules, state = walked.rules, world.state
    for event in events(state.generation, at):
        if possible(world, event, rules.theirs):
            decision = decide(state, event, rules)
            walked.kinds.add(type(event))
            living = truth(world, event, decision, rules.theirs)
            if decision.state is not state or decision.actions or living != world.living:
                yield world, event, decision, World(decision.state, living)


def walk(rules: LifecycleRules) -> Walked:
    """Breadth first, until no world is new."""
    walked = Walked(rules)
    queue = deque(walked.worlds)
    while queue:
        world = queue.popleft()
        for at in STEPS:
            made = list(moves(world, at, walked))
            walked.moves += made
            for after in (world, *(after for _, _, _, after in made)):  # time passes where nothing happens, too
                settled = normal(after, at)
                if settled not in walked.worlds:
                    walked.worlds.add(settled)
                    queue.append(settled)
        assert len(walked.worlds) < 20_000, "the state space grew out of hand"
    return walked


def every_phase_and_verdict_is_visited(walked: Walked) -> None:
    assert {world.state.phase for world in walked.worlds} == set(Phase)
    assert {world.state.verdict for world in walked.worlds} == set(Verdict)
    assert walked.kinds >= set(EVENTS) - {CarrierRestarted, Adopted}


def a_start_is_issued_only_where_nothing_lives_and_raises_the_generation(walked: Walked) -> None:
    for world, event, decision, after in walked.moves:
        starts = [action for action in decision.actions if isinstance(action, Start)]
        if starts:
            assert [start.generation for start in starts] == [decision.state.generation] == [world.state.generation + 1]
            if not walked.rules.theirs:
                assert after.living == 1, (world, event, decision)


def every_passing_phase_has_a_deadline_and_no_other_needs_one(walked: Walked) -> None:
    for world in walked.worlds:
        if world.state.phase in PASSING:
            assert world.state.wake_at is not None, world
        if world.state.phase in (Phase.STOPPED, Phase.RUNNING):
            assert world.state.wake_at is None, world


def what_an_older_generation_says_changes_nothing(walked: Walked) -> None:
    assert not [(world, event, decision) for world, event, decision, _ in walked.moves if stale(world, event)]


def only_a_running_member_has_a_verdict(walked: Walked) -> None:
    assert all(world.state.verdict is Verdict.UNKNOWN for world in walked.worlds if world.state.phase is not Phase.RUNNING)


def an_unwanted_member_comes_to_rest(walked: Walked) -> None:
    for world in walked.worlds:
        if world.state.want is Want.DOWN:
            assert world.state.phase in (Phase.STOPPED, Phase.STOPPING), world
            assert world.state.phase is Phase.STOPPED or world.state.then == "rest", world


def every_change_is_published_with_old_and_new(walked: Walked) -> None:
    for world, event, decision, _ in walked.moves:
        before, after = world.state, decision.state
        pairs = (
            ("want", before.want, after.want),
            ("phase", before.phase, after.phase),
            ("verdict", before.verdict, after.verdict),
        )
        changed = [(name, old, new) for name, old, new in pairs if old is not new]
        told = [(action.field, action.old, action.new) for action in decision.actions if isinstance(action, Publish)]
        assert told == changed, (world, event)


def a_stop_is_issued_on_the_way_into_stopping_and_only_there(walked: Walked) -> None:
    for _, event, decision, _ in walked.moves:
        if any(isinstance(action, Stop) for action in decision.actions):
            assert decision.state.phase is Phase.STOPPING, (event, decision)


INVARIANTS = (
    every_phase_and_verdict_is_visited,
    a_start_is_issued_only_where_nothing_lives_and_raises_the_generation,
    every_passing_phase_has_a_deadline_and_no_other_needs_one,
    what_an_older_generation_says_changes_nothing,
    only_a_running_member_has_a_verdict,
    an_unwanted_member_comes_to_rest,
    every_change_is_published_with_old_and_new,
    a_stop_is_issued_on_the_way_into_stopping_and_only_there,
)


QUICK = {"ours"}
"""Rules whose states are walked in the quick suite too; the others take as long and differ in one branch."""


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(RULES)])
def test_every_invariant_holds_in_every_reachable_state(name: str) -> None:
    walked = walk(RULES[name])
    for invariant in INVARIANTS:
        invariant(walked)


@pytest.mark.parametrize("intensity", [0, 1, 3, 5, 8])
@pytest.mark.parametrize(("first", "longest"), [(0.25, 30.0), (1.0, 60.0), (5.0, 5.0)])
@pytest.mark.parametrize("period", [5.0, 60.0, 600.0])
def test_a_policy_is_called_reachable_exactly_when_a_crash_loop_is_parked(
    intensity: int, first: float, longest: float, period: float
) -> None:
    policy = RestartPolicy(intensity=intensity, period=period, backoff=Backoff(first=first, max=longest), retry=None)
    rules = LifecycleRules(restart=policy)
    state, now = decide(MemberState(), WantUp(Instant(0.0)), rules).state, Instant(0.0)
    for _ in range(60):
        state = decide(state, GenerationEnded(now, generation=state.generation, code=1), rules, unit=1.0).state
        if state.phase is Phase.FAILED:
            break
        if state.phase is Phase.BACKOFF:
            assert state.wake_at is not None
            now = state.wake_at
            state = decide(state, DeadlinePassed(now), rules).state
    assert (state.phase is Phase.FAILED) == reachable(policy)


@pytest.mark.parametrize("intensity", [0, 1, 5])
@pytest.mark.parametrize("start_grace", [1.0, 60.0, 3600.0])
def test_a_member_that_never_becomes_ready_is_parked_however_long_its_grace_is(intensity: int, start_grace: float) -> None:
    rules = LifecycleRules(restart=RestartPolicy(intensity=intensity, period=60.0, retry=None), start_grace=start_grace)
    state = decide(MemberState(), WantUp(Instant(0.0)), rules).state
    starts = 0
    while state.phase is not Phase.FAILED:
        starts += state.phase is Phase.STARTING
        assert starts <= intensity + 1
        now = state.wake_at
        assert now is not None
        state = decide(state, DeadlinePassed(now), rules).state
        if state.phase is Phase.STOPPING:
            state = decide(state, Stopped(now, generation=state.generation), rules).state
    assert starts == intensity + 1


def test_time_in_which_nobody_watched_is_not_held_against_a_start() -> None:
    rules = LifecycleRules(start_grace=60.0)
    starting = decide(MemberState(), WantUp(Instant(0.0)), rules).state
    woken = decide(starting, Unwatched(Instant(500.0)), rules).state
    assert woken.wake_at == Instant(560.0)
    assert decide(woken, DeadlinePassed(Instant(501.0)), rules).state == woken
    running = decide(woken, Judged(Instant(502.0), generation=1, verdict=Verdict.HEALTHY, proven=True), rules).state
    assert decide(running, Unwatched(Instant(900.0)), rules).state == running


def test_a_parked_member_gets_one_try_and_is_parked_again_by_one_more_crash() -> None:
    rules = RULES["ours"]
    parked = MemberState(want=Want.UP, phase=Phase.FAILED, generation=4, failures=3, wake_at=Instant(100.0))
    tried = decide(parked, DeadlinePassed(Instant(100.0)), rules)
    assert tried.state.phase is Phase.STARTING
    again = decide(tried.state, GenerationEnded(Instant(101.0), generation=5, code=1), rules)
    assert again.state.phase is Phase.FAILED
    assert again.state.wake_at == Instant(121.0)


@pytest.mark.parametrize(("held", "phase"), [(59.0, Phase.FAILED), (61.0, Phase.STARTING)])
def test_one_try_of_a_parked_member_that_held_is_no_crash_loop_any_more(held: float, phase: Phase) -> None:
    rules = LifecycleRules(restart=RestartPolicy(intensity=3, period=600.0))
    parked = MemberState(want=Want.UP, phase=Phase.FAILED, generation=4, failures=3, wake_at=Instant(100.0))
    tried = decide(parked, DeadlinePassed(Instant(100.0)), rules).state
    proven = decide(tried, Judged(Instant(110.0), generation=5, verdict=Verdict.HEALTHY, proven=True), rules).state
    killed = decide(proven, GenerationEnded(Instant(110.0 + held), generation=5), rules).state
    assert killed.phase is phase
    if phase is Phase.STARTING:
        loop = killed
        for number in range(rules.restart.intensity - 1):
            assert loop.phase is not Phase.FAILED
            at = Instant(110.0 + held + number)
            loop = decide(replace(loop, phase=Phase.STARTING), GenerationEnded(at, generation=loop.generation), rules).state
        assert loop.phase is Phase.FAILED, "the budget holds as ever"


def test_failures_are_forgotten_after_stable_health_but_not_before() -> None:
    rules = LifecycleRules()
    running = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=7, failures=4, ready_at=Instant(0.0))
    soon = decide(running, GenerationEnded(Instant(30.0), generation=7, code=1), rules)
    late = decide(running, GenerationEnded(Instant(90.0), generation=7, code=1), rules)
    assert (soon.state.phase, soon.state.failures) == (Phase.BACKOFF, 5)
    assert (late.state.phase, late.state.failures) == (Phase.STARTING, 1)


def test_an_adopted_generation_keeps_its_number_and_must_prove_itself() -> None:
    decision = decide(MemberState(), Adopted(Instant(5.0), generation=9), LifecycleRules(start_grace=60.0))
    assert (decision.state.phase, decision.state.generation, decision.state.wake_at) == (Phase.STARTING, 9, Instant(65.0))
    assert not [action for action in decision.actions if isinstance(action, (Start, Stop))]


def test_on_failure_starts_again_after_a_crash_or_a_signal_and_stays_down_after_a_clean_end() -> None:
    rules = RULES["on-failure"]
    running = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=7, ready_at=Instant(0.0))
    for code in (1, None):
        crashed = decide(running, GenerationEnded(Instant(5.0), generation=7, code=code), rules).state
        assert (crashed.want, crashed.phase, crashed.generation, crashed.failures) == (Want.UP, Phase.STARTING, 8, 1)
    clean = decide(running, GenerationEnded(Instant(5.0), generation=7, code=0), rules)
    assert (clean.state.want, clean.state.phase, clean.state.failures) == (Want.DOWN, Phase.STOPPED, 0)
    assert not [action for action in clean.actions if isinstance(action, Start)]


def test_what_a_carrier_starts_though_nobody_wants_it_is_ended_as_a_generation_of_its_own() -> None:
    stopped = MemberState(want=Want.DOWN, phase=Phase.STOPPED, generation=3)
    decision = decide(stopped, CarrierRestarted(Instant(5.0)), RULES["theirs"])
    assert (decision.state.phase, decision.state.generation) == (Phase.STOPPING, 4)
    assert Stop(4, GRID - 5.0) in decision.actions


def test_a_failed_start_says_nothing_of_a_member_that_is_not_starting() -> None:
    for phase in (Phase.STOPPED, Phase.STOPPING, Phase.BACKOFF, Phase.FAILED):
        resting = MemberState(want=Want.UP, phase=phase, generation=3)
        assert decide(resting, StartFailed(Instant(5.0), generation=3), RULES["ours"]).state == resting
    starting = MemberState(want=Want.UP, phase=Phase.STARTING, generation=3)
    assert decide(starting, StartFailed(Instant(5.0), generation=2), RULES["ours"]).state == starting
    failed = decide(starting, StartFailed(Instant(5.0), generation=3, permanent=True), RULES["ours"]).state
    assert (failed.phase, failed.wake_at) == (Phase.FAILED, 5.0 + GRID)


def test_a_start_that_failed_after_another_answered_for_it_is_a_failed_start() -> None:
    running = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=3, ready_at=Instant(4.0))
    after = decide(running, StartFailed(Instant(5.0), generation=3), RULES["ours"])
    assert after.state.phase in (Phase.STARTING, Phase.BACKOFF)
    assert after.state.failures == 1
    assert decide(running, StartFailed(Instant(5.0), generation=2), RULES["ours"]).state == running


def test_what_its_carrier_takes_along_is_no_failure_and_is_given_time_to_come_back() -> None:
    running = MemberState(want=Want.UP, phase=Phase.RUNNING, generation=3)
    lost = decide(running, Lost(Instant(5.0), generation=3), replace(RULES["theirs"], start_grace=90.0)).state
    assert (lost.phase, lost.failures, lost.wake_at) == (Phase.BACKOFF, 0, 95.0)
    soon = decide(running, Lost(Instant(5.0), generation=3), replace(RULES["theirs"], start_grace=1.0)).state
    assert soon.wake_at == 5.0 + CARRIER_PATIENCE


def test_a_start_that_was_ended_here_goes_on_by_our_own_pauses_whoever_carries_it() -> None:
    for name in ("ours", "theirs"):
        for failures in range(SMALL.intensity):
            state = MemberState(want=Want.UP, phase=Phase.STARTING, generation=3, failures=failures, wake_at=Instant(65.0))
            ended = decide(state, DeadlinePassed(Instant(65.0)), RULES[name]).state
            after = decide(ended, Stopped(Instant(66.0), generation=3), RULES[name]).state
            rest = 0.0 if after.phase is Phase.STARTING or after.wake_at is None else after.wake_at - 66.0
            assert after.phase in (Phase.STARTING, Phase.BACKOFF)
            assert rest <= SMALL.backoff.max * (1 + SMALL.backoff.jitter), name
