"""Which rung, when, and when none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import USELESS, Finding, Findings, Rung
from mcpwatch.watchdog.ladder import FORGET, HOLD_DOWN, LASTING, Attempt, Outcome, Step, changed, choose, steps
from mcpwatch.watchdog.repair import decide_repairs

NOW = Instant(1000.0)
HUNG = Finding("member_hung", "fetch", "hung", "member:fetch", rung="restart", seen_at=Instant(999.0), look_at="its log")
AUTH = Finding("auth", "fetch", "refused", "member:fetch")
STALE = Finding("stale_session", "proxy", "stale", "route:a", rung="restart_proxy", affects=("a",), seen_at=Instant(999.0))
RESTART = Step("restart", "fetch")


def tried(*spans: float, finding: Finding = HUNG, outcome: Outcome = "useless", step: Step = RESTART) -> tuple[Attempt, ...]:
    """Attempts that began so many seconds ago and took one second."""
    return tuple(
        Attempt(
            Instant(NOW - span),
            finding.about,
            finding.cause,
            step,
            outcome,
            None if outcome == "under_way" else Instant(NOW - span + 1),
        )
        for span in spans
    )


def test_the_first_repair_is_the_lowest_rung_at_once() -> None:
    assert choose(HUNG, (), NOW).step == RESTART


def test_a_cause_without_a_rung_is_never_answered_with_a_restart() -> None:
    assert choose(AUTH, (), NOW).step is None


def test_only_one_repair_of_a_member_is_under_way() -> None:
    choice = choose(HUNG, tried(500.0, outcome="under_way"), NOW)
    assert (choice.step, choice.next) == (None, RESTART)
    other = replace(STALE, about="route:b")
    assert choose(other, tried(5.0, finding=STALE, outcome="under_way", step=Step("restart_proxy", "proxy")), NOW).step is None


def test_the_next_repair_waits_and_says_until_when() -> None:
    choice = choose(HUNG, tried(5.0), NOW)
    assert choice.step is None
    assert choice.wait_until == Instant(NOW - 4.0 + HOLD_DOWN)
    assert choose(HUNG, tried(5.0, outcome="proved"), NOW).wait_until == Instant(NOW - 4.0 + HOLD_DOWN / 2)


def test_a_hold_is_kept_until_its_time_and_the_step_that_follows_is_told() -> None:
    choice = choose(replace(HUNG, hold="waiting", until=Instant(1010.0)), (), NOW)
    assert (choice.step, choice.why, choice.wait_until, choice.next) == (None, "waiting", Instant(1010.0), RESTART)


def test_a_useless_repair_is_never_repeated_on_what_was_seen_before_its_end() -> None:
    stale = replace(HUNG, seen_at=Instant(NOW - 400.0))
    assert choose(stale, tried(300.0), NOW).step is None
    assert choose(HUNG, tried(300.0), NOW).step == RESTART


def test_two_useless_attempts_lead_to_the_next_different_step_and_then_to_a_person() -> None:
    suspected = replace(STALE, suspect="a")
    proxy = tried(800.0, 600.0, finding=STALE, step=Step("restart_proxy", "proxy"))
    assert choose(suspected, proxy, NOW).step == Step("restart", "a")
    assert choose(STALE, proxy, NOW).step == Step("quarantine", "proxy")
    both = (*proxy, *tried(400.0, 200.0, finding=STALE, step=Step("restart", "a")))
    assert choose(suspected, both, NOW).step == Step("quarantine", "proxy")
    quarantined = (*both, *tried(100.0, finding=STALE, step=Step("quarantine", "proxy")))
    assert choose(suspected, quarantined, NOW).step is None


def test_what_did_not_help_one_route_says_nothing_of_another() -> None:
    proxy = tried(800.0, 600.0, 400.0, finding=STALE, step=Step("restart_proxy", "proxy"))
    assert choose(replace(STALE, about="route:b", affects=("b",)), proxy, NOW).step == Step("restart_proxy", "proxy")


def test_a_merged_diagnosis_comes_apart_when_one_of_its_routes_needs_another_step() -> None:
    other = replace(STALE, about="route:b", affects=("b",), suspect="b")
    decision = decide_repairs(Findings((STALE, other)), (), NOW)
    assert [(act.step, len(act.findings)) for act in decision.acts] == [(Step("restart_proxy", "proxy"), 2)]
    assert [one.affects for one in decision.shown] == [("a", "b")]
    spent = tried(800.0, 600.0, finding=other, step=Step("restart_proxy", "proxy"))
    apart = decide_repairs(Findings((STALE, other)), spent, NOW)
    assert [(act.step, [one.about for one in act.findings]) for act in apart.acts] == [
        (Step("restart_proxy", "proxy"), ["route:a"]),
        (Step("restart", "b"), ["route:b"]),
    ]
    assert [(one.affects, one.rung) for one in apart.shown] == [(("a",), "restart_proxy"), (("b",), "restart")]


@pytest.mark.parametrize("rung", ["restart", "resume"])
def test_a_repair_that_helps_for_moments_only_ends_with_a_person(rung: Rung) -> None:
    finding = replace(HUNG, rung=rung)
    attempts: tuple[Attempt, ...] = ()
    now, counted = 1000.0, 0
    for _ in range(40):
        choice = choose(replace(finding, seen_at=Instant(now)), attempts, Instant(now))
        if choice.step is not None:
            counted += choice.step.rung != "quarantine"
            made = Attempt(Instant(now), finding.about, finding.cause, choice.step)
            outcome: Outcome = "useless" if choice.step.rung == "quarantine" else "proved"
            attempts = changed((*attempts, made), made, outcome=outcome, ended=Instant(now + 1))
        now += 20.0
    assert counted <= sum(LASTING[step.rung] for step in steps(finding))
    assert [one.step.rung for one in attempts][-1:] == ["quarantine"]


def test_a_repair_that_is_long_past_does_not_count() -> None:
    assert choose(HUNG, tried(*(FORGET + n for n in range(9))), NOW).step == RESTART
    assert USELESS == 2


def test_what_is_shown_says_what_really_comes_next() -> None:
    def next_of(finding: Finding, *attempts: Attempt) -> str:
        return decide_repairs(Findings((finding,)), attempts, NOW).shown[0].next

    assert next_of(HUNG) == "restart the member"
    assert next_of(HUNG, *tried(5.0)) == "restart the member (the last repair was moments ago)"
    assert next_of(HUNG, *tried(300.0, 200.0)) == "left to a person: repairs did not help; look at its log"
    assert next_of(AUTH) == "left to a person: make the token that is sent and the one that it takes the same"
    down = replace(AUTH, cause="member_down", look_at="its log")
    assert next_of(down) == "left to its restart policy; look at its log"
    assert "look where it runs" in next_of(replace(HUNG, rung=None)), "it would be restarted, if mcpwatch had started it"
    spent = tried(800.0, 600.0, finding=STALE, step=Step("restart_proxy", "proxy"))
    assert next_of(replace(STALE, suspect="a"), *spent) == "restart the member 'a'"


LOST = Finding("route_failing", "proxy", "not reached", "route:a", rung="reconnect", affects=("a",), suspect="proxy")
NUDGE = Step("reconnect", "proxy")


@pytest.mark.parametrize(
    ("finding", "ladder"),
    [
        (AUTH, []),
        (HUNG, ["restart fetch"]),
        (replace(HUNG, rung="resume"), ["resume fetch", "restart fetch"]),
        (STALE, ["restart_proxy proxy"]),
        (replace(STALE, suspect="a"), ["restart_proxy proxy", "restart a"]),
        (LOST, ["reconnect proxy", "restart_proxy proxy"]),
        (replace(LOST, suspect=""), ["reconnect proxy"]),
        (replace(LOST, about="member:git", suspect="git"), ["reconnect proxy", "restart git"]),
    ],
)
def test_the_steps_of_a_finding_begin_with_what_disturbs_least(finding: Finding, ladder: list[str]) -> None:
    assert [f"{step.rung} {step.subject}" for step in steps(finding)] == ladder


@pytest.mark.parametrize(
    ("finding", "step", "most"),
    [
        (HUNG, RESTART, 3),
        (STALE, Step("restart_proxy", "proxy"), 5),
        (LOST, NUDGE, 20),
        (replace(HUNG, rung="resume"), Step("resume", "fetch"), 3),
    ],
)
def test_a_repair_that_was_proved_and_is_needed_again_counts_as_none_after_so_many_times(
    finding: Finding, step: Step, most: int
) -> None:
    proved = tried(*(800.0 - n for n in range(most)), finding=finding, outcome="proved", step=step)
    fresh = replace(finding, seen_at=NOW, seen_until=NOW)
    assert choose(fresh, proved[1:], NOW).step == step
    assert choose(fresh, proved, NOW).step != step
    mixed = (*proved[1:], *tried(100.0, finding=finding, step=step))
    assert (choose(fresh, mixed, NOW).step == step) is (step.rung != "resume"), "one useless resume is enough"


@pytest.mark.parametrize(
    ("outcomes", "step", "pause"),
    [
        (["proved"], RESTART, 15.0),
        (["useless"], RESTART, 30.0),
        (["useless", "useless"], RESTART, 60.0),
        (["useless", "proved", "useless"], RESTART, 30.0),
        (["proved"], NUDGE, 1.0),
        (["useless"], NUDGE, 2.0),
    ],
)
def test_the_pause_between_two_repairs_doubles_with_every_useless_one_in_a_row(
    outcomes: list[Outcome], step: Step, pause: float
) -> None:
    finding = replace(LOST if step is NUDGE else replace(HUNG, rung="resume"), seen_at=NOW, seen_until=NOW)
    spans = [500.0 - n for n in range(len(outcomes) - 1)] + [100.0]
    at = tuple(
        one for span, end in zip(spans, outcomes, strict=True) for one in tried(span, finding=finding, outcome=end, step=step)
    )
    ready = Instant(NOW - 99.0 + pause)
    early = choose(replace(finding, seen_until=Instant(ready - 0.5)), at, Instant(ready - 0.5))
    assert (early.step, early.wait_until) == (None, ready)
    assert choose(replace(finding, seen_until=ready), at, ready).step is not None


def test_a_repair_rests_on_what_was_seen_after_the_last_one_ended_and_moments_ago() -> None:
    ended_at = Instant(NOW - 299.0)
    assert choose(replace(HUNG, seen_at=ended_at), tried(300.0), NOW).step == RESTART
    before = choose(replace(HUNG, seen_at=Instant(ended_at - 0.1)), tried(300.0), NOW)
    assert (before.step, before.next, before.look) == (None, RESTART, True)
    assert choose(replace(HUNG, seen_until=Instant(NOW - 2.0)), (), NOW).step == RESTART
    old = choose(replace(HUNG, seen_until=Instant(NOW - 2.1)), (), NOW)
    assert (old.step, old.next, old.look) == (None, RESTART, True)
    nudge = choose(replace(LOST, seen_until=Instant(NOW - 60.0)), (), NOW)
    assert (nudge.step, nudge.look) == (NUDGE, False), "it disturbs nobody"


def test_repairs_of_others_hold_nothing_up() -> None:
    other = Finding("member_hung", "time", "hung", "member:time", rung="restart")
    assert choose(HUNG, tried(5.0, finding=other, outcome="under_way", step=Step("restart", "time")), NOW).step == RESTART
    same_route = replace(STALE, cause="not_mounted", suspect="a")
    under_way = tried(5.0, finding=same_route, outcome="under_way", step=Step("restart", "a"))
    assert choose(STALE, under_way, NOW).why == "a repair is under way"


def test_a_person_is_left_with_it_for_a_quarter_of_an_hour_and_then_it_is_tried_again() -> None:
    left = tried(800.0, finding=HUNG, step=Step("quarantine", "fetch"))
    assert choose(HUNG, left, NOW).wait_until == Instant(NOW + 100.0)
    assert choose(HUNG, left, Instant(NOW + 99.9)).step is None
    again = Instant(NOW + 100.0)
    assert choose(replace(HUNG, seen_until=again), left, again).step == RESTART


def test_what_no_repair_answers_says_so_or_what_it_waits_for() -> None:
    assert choose(AUTH, (), NOW).why == "no repair helps against auth"
    waiting = choose(replace(AUTH, hold="waiting for its start", until=Instant(1010.0)), (), NOW)
    assert (waiting.step, waiting.why, waiting.wait_until) == (None, "waiting for its start", Instant(1010.0))
    assert not waiting.look
