"""How long a member that dies waits before its next start."""

from __future__ import annotations

from mcpwatch.gateway.settings import Restart
from mcpwatch.gateway.upstream.backoff import Backoff

PLAIN = Restart(first=0.5, max=4, jitter=0.2, period=60)


def test_the_first_death_costs_nothing_and_each_further_one_twice_the_last() -> None:
    pauses = Backoff(PLAIN)
    assert [pauses.after(at, 0, served=True) for at in range(7)] == [0, 0.5, 1, 2, 4, 4, 4]
    assert pauses.failed


def test_a_death_is_forgotten_after_the_period() -> None:
    pauses = Backoff(PLAIN)
    assert [pauses.after(at, 0, served=True) for at in (0, 1, 61.5, 200)] == [0, 0.5, 0, 0]
    assert not pauses.failed


def test_starts_that_come_to_nothing_are_counted_for_as_long_as_they_do() -> None:
    pauses = Backoff(PLAIN)
    assert [pauses.after(100 * turn, 0, served=False) for turn in range(6)] == [0, 0.5, 1, 2, 4, 4]
    assert (pauses.failures, pauses.failed) == (6, True)
    assert pauses.after(1000, 0, served=True) == 0
    assert (pauses.failures, pauses.failed) == (0, False)


def test_what_cannot_be_run_has_failed_at_once_and_is_tried_seldom() -> None:
    pauses = Backoff(PLAIN)
    assert pauses.after(0, 0, served=False, permanent=True) == 4
    assert pauses.failed


def test_chance_moves_a_pause_by_the_jitter_and_a_word_of_an_operator_ends_it() -> None:
    pauses = Backoff(PLAIN)
    pauses.after(0, 1, served=True)
    assert pauses.after(0, 1, served=True) == 0.6
    assert pauses.after(0, -1, served=True) == 0.8
    pauses.forget()
    assert pauses.after(0, 1, served=True) == 0


def test_no_number_of_deaths_overflows() -> None:
    pauses = Backoff(PLAIN)
    assert max(pauses.after(0, 0, served=False) for _ in range(1200)) == 4
