"""What counts as a try for a finding: restarts of the proxy that proved nothing for it, whatever they were made for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import Finding, Findings, Rung
from mcpwatch.watchdog.ladder import FLEETING, FLEETING_TIMES, FORGET, LASTING, Attempt, Outcome, Step, again, choose, steps
from mcpwatch.watchdog.repair import decide_repairs

NOW = Instant(1000.0)
STALE = Finding("stale_session", "proxy", "stale", "route:a", rung="restart_proxy", affects=("a",), seen_at=NOW, seen_until=NOW)
PROXY, QUARANTINE = Step("restart_proxy", "proxy"), Step("quarantine", "proxy")


def attempt(
    at: float, outcome: Outcome = "useless", cause: str = "stale_session", about: str = "route:a", **changes: Any
) -> Attempt:
    """A restart of the proxy at that time, which was done a second later and came to its end after two."""
    made = Attempt(Instant(at), about, cause, PROXY, outcome, Instant(at + 2.0), Instant(at + 1.0))
    return replace(made, **changes)


OWN = attempt(500.0)
OTHER = attempt(600.0, cause="not_mounted")
UNSERVED = replace(STALE, unserved_since=Instant(600.5))
"""The proxy runs since 600.5 s and has not served the route since."""
FOR_B = attempt(600.0, "proved", about="route:b")


def step(finding: Finding, *attempts: Attempt) -> Rung | None:
    chosen = choose(finding, tuple(sorted(attempts, key=lambda one: one.at)), NOW).step
    return chosen.rung if chosen else None


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (OTHER, True),
        (replace(OTHER, outcome="void"), True),
        (replace(OTHER, outcome="proved"), False),
        (replace(OTHER, outcome="void", carried=None), False),
        (replace(OTHER, about="route:b"), False),
        (replace(OTHER, step=Step("restart", "a")), False),
        (replace(OTHER, at=Instant(99.0)), False),
    ],
)
def test_a_restart_of_the_proxy_that_was_in_vain_for_a_route_counts_for_each_of_its_causes(other: Attempt, *, counts: bool) -> None:
    assert step(STALE, OWN) == "restart_proxy", "two may be in vain"
    assert step(STALE, OWN, other) == ("quarantine" if counts else "restart_proxy")


def test_what_was_in_vain_before_a_repair_of_the_route_was_proved_is_forgotten() -> None:
    proved = attempt(700.0, "proved", cause="route_failing")
    assert step(STALE, OWN, OTHER, proved) == "restart_proxy"
    assert step(STALE, OWN, proved, replace(OTHER, at=Instant(700.0))) == "restart_proxy"
    assert step(STALE, OWN, proved, replace(OTHER, at=Instant(701.0))) == "quarantine"
    useless = replace(proved, outcome="useless", step=Step("restart", "a"))
    assert step(STALE, OWN, OTHER, useless) == "quarantine", "that was not proved"


def test_only_a_finding_that_calls_for_the_proxys_restart_counts_those_of_others() -> None:
    hung = Finding("member_hung", "proxy", "hung", "route:a", rung="restart", seen_at=NOW, seen_until=NOW)
    again = replace(OWN, cause="member_hung", step=Step("restart", "proxy"))
    assert step(hung, again) == "restart"
    assert step(hung, again, OTHER) == "restart"


def test_what_was_left_to_a_person_stays_so_though_another_cause_had_the_proxy_restarted_since() -> None:
    left = replace(OWN, step=QUARANTINE)
    choice = choose(STALE, (left, replace(OTHER, outcome="void")), NOW)
    assert (choice.step, choice.why, choice.wait_until) == (None, "repairs did not help", Instant(500.0 + 900.0))
    assert step(STALE, OWN, left, OTHER) is None


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (FOR_B, True),
        (replace(FOR_B, outcome="useless"), True),
        (replace(FOR_B, carried=Instant(600.5)), True),
        (replace(FOR_B, carried=Instant(600.4)), False),
        (replace(FOR_B, carried=None), False),
        (replace(FOR_B, step=Step("restart", "b")), False),
        (replace(FOR_B, at=Instant(500.0)), False),
        (replace(FOR_B, at=Instant(499.0)), False),
        (replace(FOR_B, at=Instant(500.5)), True),
    ],
)
def test_a_restart_for_others_was_a_try_for_a_route_that_was_never_served_since(other: Attempt, *, counts: bool) -> None:
    assert step(UNSERVED, OWN, other) == ("quarantine" if counts else "restart_proxy")
    assert step(STALE, OWN, other) == "restart_proxy", "it was served since"


def test_of_the_restarts_for_others_only_the_latest_began_the_present_run() -> None:
    earlier = replace(FOR_B, at=Instant(590.0), about="route:c", carried=Instant(600.6))
    assert step(UNSERVED, earlier, FOR_B) == "restart_proxy", "that is one try, and it may have two"
    assert step(UNSERVED, OWN, earlier, FOR_B) == "quarantine"


def test_a_try_counts_however_soon_after_the_start_of_the_clock_it_was() -> None:
    early = replace(UNSERVED, unserved_since=Instant(0.5))
    first, soon = (replace(FOR_B, at=Instant(at), carried=Instant(0.9), ended=Instant(1.0)) for at in (0.4, 0.5))
    choice = choose(early, (soon,), Instant(20.0))
    assert (choice.why, choice.wait_until) == ("the last repair was moments ago", Instant(31.0))
    both = (replace(first, outcome="useless", about="route:a"), replace(soon, outcome="useless", about="route:a", cause="auth"))
    assert choose(early, both, Instant(70.0)).step == QUARANTINE


def test_the_pause_after_a_try_for_others_begins_when_it_ended_or_was_done() -> None:
    waiting = choose(UNSERVED, (replace(FOR_B, at=Instant(990.0), carried=Instant(991.0), ended=Instant(996.0)),), NOW)
    assert waiting.wait_until == Instant(996.0 + 30.0), "for this route it was useless"
    open_end = replace(FOR_B, at=Instant(990.0), carried=Instant(991.0), ended=None)
    assert choose(UNSERVED, (open_end,), NOW).wait_until == Instant(991.0 + 30.0)


def test_tries_count_in_the_order_in_which_they_were_made() -> None:
    proved = attempt(900.0, "proved")
    ended = Instant(902.0)
    recurring = replace(STALE, seen_at=ended, seen_until=ended)
    choice = choose(recurring, (attempt(850.0, cause="not_mounted"), proved), ended)
    assert choice.wait_until == Instant(902.0 + 15.0), "the last one helped"
    vain = attempt(850.0, "void", cause="not_mounted")
    later = choose(replace(recurring, suspect="a"), (attempt(800.0, "proved"), vain), Instant(860.0))
    assert later.wait_until == Instant(852.0 + 30.0), "the last one was in vain"


def test_a_repair_that_was_done_is_waited_for_by_those_alone_who_were_seen_before_it() -> None:
    restart = Attempt(Instant(990.0), "route:b", "stale_session", Step("restart", "a"), carried=Instant(995.0))
    hung = Finding("member_hung", "a", "hung", "member:a", rung="restart", seen_at=Instant(995.0), seen_until=NOW)
    assert step(hung, restart) == "restart"
    assert step(replace(hung, seen_at=Instant(994.9)), restart) is None
    assert step(replace(hung, seen_at=None, seen_until=Instant(999.0)), restart) == "restart"
    assert step(replace(hung, seen_at=None, seen_until=Instant(994.9)), restart) is None
    assert step(replace(hung, seen_at=None, seen_until=None), restart) is None
    assert step(hung, replace(restart, carried=None)) is None


def test_what_an_engine_can_undo_has_one_step() -> None:
    cut = Finding("network_disconnected", "a", "cut off", "member:a", rung="resume")
    assert steps(cut) == (Step("resume", "a"),)


def test_a_person_is_told_how_long_repairs_that_were_proved_held_and_not_that_none_helped() -> None:
    """A session that ends after a quarter of a minute, whatever is restarted: what ends it is the trouble."""
    often = [attempt(900.0 + 17.0 * nth, "proved") for nth in range(LASTING["restart_proxy"])]
    over = replace(attempt(900.0 + 17.0 * len(often)), step=QUARANTINE)
    shown = decide_repairs(Findings((replace(STALE, look_at="the log"),)), (*often, over), NOW).shown[0]
    assert shown.next == "left to a person: repairs help for a while only (5 times, each for about 15s); look at the log"
    in_vain = decide_repairs(Findings((STALE,)), (often[0], attempt(930.0), attempt(960.0), over), NOW).shown[0]
    assert in_vain.next == "left to a person: repairs did not help"


def test_a_repair_that_is_needed_again_is_told_with_how_often_it_was_and_how_long_the_last_one_held() -> None:
    held = (attempt(900.0, "proved"), attempt(950.0, "proved"))
    assert again(STALE, held, NOW) == " (again: repaired 2× before, and the last held for 48s)"
    assert again(STALE, (), NOW) == again(STALE, (OWN,), NOW) == again(STALE, (FOR_B,), NOW) == ""
    assert again(STALE, (attempt(NOW - FORGET, "proved"),), NOW) == ""
    assert again(STALE, (attempt(900.0, "proved", cause="not_mounted"),), NOW) == ""


@pytest.mark.parametrize("held", [20.0, FLEETING - 3.0, FLEETING + 3.0, 200.0])
@pytest.mark.parametrize("repairs", range(1, LASTING["restart_proxy"]))
def test_a_session_that_is_lost_again_at_once_though_no_server_changed_costs_no_third_cut_of_the_others(
    repairs: int, held: float
) -> None:
    """One that outlives a minute, or that a restart of the server explains, is mended as before."""
    ends = [1000.0 - held * (repairs - number) - 2.0 * (repairs - 1 - number) for number in range(repairs)]
    made = [attempt(end - 2.0, "proved") for end in ends]
    seen = replace(STALE, unprovoked=True)
    cut = held < FLEETING and repairs >= FLEETING_TIMES
    assert step(seen, *made) == ("quarantine" if cut else "restart_proxy")
    assert step(STALE, *made) == "restart_proxy"
    assert step(seen, *(replace(one, outcome="void") for one in made)) == "restart_proxy"
