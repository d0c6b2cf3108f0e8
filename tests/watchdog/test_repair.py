"""What follows from what was found: one act per step, one diagnosis per trouble, and when to look again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.advice import ADVICE
from mcpwatch.watchdog.finding import DOWN, Finding, Findings
from mcpwatch.watchdog.ladder import Attempt, Step
from mcpwatch.watchdog.repair import Act, RepairDecision, decide_repairs

NOW = Instant(1000.0)
HUNG = Finding("member_hung", "fetch", "it hangs", "member:fetch", rung="restart", affects=("fetch",), seen_at=Instant(999.0))
STALE = Finding(
    "stale_session",
    "proxy",
    "route a is stale",
    "route:a",
    evidence=("a: 404",),
    rung="restart_proxy",
    affects=("a",),
    members=("one",),
)
OTHER = replace(STALE, about="route:b", text="route b is stale", evidence=("b: 404",), affects=("b",), members=("two",))


def decided(*findings: Finding, attempts: tuple[Attempt, ...] = ()) -> RepairDecision:
    return decide_repairs(Findings(findings), attempts, NOW)


def test_nothing_found_is_nothing_shown_nothing_done_and_no_reason_to_wake() -> None:
    assert decided() == RepairDecision()


def test_it_considers_again_at_the_first_time_still_to_come() -> None:
    holds = [
        replace(HUNG, about=f"member:{at}", hold="it is starting", until=Instant(at)) for at in (900.0, 1000.0, 1040.0, 1020.0)
    ]
    assert decided(*holds).wake_at == 1020.0
    assert decided(*holds[:2]).wake_at is None
    assert decided(HUNG).wake_at is None


def test_what_was_seen_too_long_ago_is_looked_at_again_before_anything_is_done() -> None:
    old = replace(HUNG, seen_until=Instant(900.0))
    decision = decided(old, STALE)
    assert decision.looks == (old,)
    assert decision.acts == (Act(Step("restart_proxy", "proxy"), (STALE,)),)


def test_one_trouble_of_many_routes_is_one_diagnosis_and_one_act() -> None:
    decision = decided(STALE, OTHER)
    (shown,) = decision.shown
    assert shown.text == "route a is stale; route b is stale"
    assert (shown.evidence, shown.affects, shown.members) == (("a: 404", "b: 404"), ("a", "b"), ("one", "two"))
    assert (shown.hold, shown.next) == ("", "restart the proxy, once for all routes that need it")
    assert decision.acts == (Act(Step("restart_proxy", "proxy"), (STALE, OTHER)),)


def test_the_same_sentence_is_told_once() -> None:
    (shown,) = decided(STALE, replace(OTHER, text=STALE.text)).shown
    assert shown.text == STALE.text


def test_a_merged_diagnosis_waits_when_one_of_them_does_and_says_what_for() -> None:
    held = replace(OTHER, hold="b is starting", until=Instant(1010.0))
    longer = replace(STALE, hold="a is starting", until=Instant(1020.0))
    waits = "restart the proxy, once for all routes that need it (b is starting)"
    for pair in ((STALE, held), (held, STALE), (held, longer)):
        (shown,) = decided(*pair).shown
        assert (shown.hold, shown.next) == ("b is starting", waits)


def test_the_same_cause_of_two_members_stays_two() -> None:
    shown = decided(HUNG, replace(HUNG, about="route:fetch")).shown
    assert [one.cause for one in shown] == ["member_hung", "member_hung"]


OTHERS = "left to a person: mcpwatch did not start it and does not restart it; look where it runs"


@pytest.mark.parametrize(
    ("finding", "rung", "hold", "words"),
    [
        (HUNG, "restart", "", "restart the member"),
        (replace(HUNG, rung="resume"), "resume", "", "let it run again"),
        (replace(HUNG, hold="it is starting"), "restart", "it is starting", "restart the member (it is starting)"),
        (replace(STALE, rung="reconnect"), "reconnect", "", "have the proxy connect to it again"),
        (replace(HUNG, rung=None, cause="overloaded"), None, "", ADVICE["overloaded"]),
        (
            replace(HUNG, rung=None),
            None,
            "",
            "left to a person: mcpwatch did not start it and does not restart it; look where it runs",
        ),
        (replace(HUNG, rung=None, hold="it has until ten"), None, "", "it has until ten"),
    ],
)
def test_a_diagnosis_says_what_is_really_done_next(finding: Finding, rung: str | None, hold: str, words: str) -> None:
    (shown,) = decided(finding).shown
    assert (shown.rung, shown.hold, shown.next) == (rung, hold, words)


def spent(finding: Finding, step: Step) -> tuple[Attempt, ...]:
    """Two useless attempts of a step, long enough ago."""
    return tuple(Attempt(Instant(at), finding.about, finding.cause, step, "useless", Instant(at + 1.0)) for at in (400.0, 600.0))


def test_whom_the_next_step_is_for_is_told_when_it_is_not_the_one_that_is_blamed() -> None:
    tried = spent(STALE, Step("restart_proxy", "proxy"))
    (shown,) = decided(replace(STALE, suspect="one"), attempts=tried).shown
    assert shown.next == "restart the member 'one'"


def test_what_repairs_did_not_help_is_left_to_a_person_with_a_place_to_look_at() -> None:
    tried = spent(HUNG, Step("restart", "fetch"))
    for look_at, words in (("", ""), ("its log", "; look at its log")):
        decision = decided(replace(HUNG, look_at=look_at), attempts=tried)
        (shown,) = decision.shown
        assert (shown.rung, shown.hold) == (None, "")
        assert shown.next == f"left to a person: repairs did not help{words}"
        assert [act.step.rung for act in decision.acts] == ["quarantine"]


def test_a_cause_lasts_until_its_repair_is_proved_though_nothing_can_be_seen_of_it_meanwhile() -> None:
    """The status said "none", or that the member is down, while we ended it ourselves."""
    act = Act(Step("restart", "fetch"), (HUNG,))
    tried = Attempt(Instant(990.0), HUNG.about, HUNG.cause, act.step)
    ended = replace(HUNG, cause="member_down", text=DOWN, rung=None)
    for seen in ((), (ended,)):
        (shown,) = decide_repairs(Findings(seen), (tried,), NOW, (act,)).shown
        assert (shown.cause, shown.next) == ("member_hung", "restart the member (it is being done)")
    crashed = replace(ended, text=f"{DOWN}: exited with code 3")
    assert [one.text for one in decide_repairs(Findings((crashed,)), (tried,), NOW, (act,)).shown] == [crashed.text]
    proved = replace(tried, outcome="proved", ended=NOW)
    assert decide_repairs(Findings(), (proved,), NOW, (act,)).shown == ()
