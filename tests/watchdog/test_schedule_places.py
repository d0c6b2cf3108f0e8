"""Which place in its interval a check has, to the second, and what a run that is due again too soon is moved to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mcpwatch.watchdog.schedule import SLOT, GridTrigger, offset, trigger_of

NOON = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("jobs", "parts"),
    [(0, 1), (480, 1), (481, 2), (960, 2), (961, 4), (1920, 4), (1921, 8)],
)
def test_a_slot_is_cut_in_halves_and_these_again_when_there_are_more_than_sixteen_jobs_for_each(jobs: int, parts: int) -> None:
    names = [f"direct:m{n}:mcp" for n in range(3000)]
    within = {offset(name, 60.0, jobs) % SLOT for name in names}
    assert within == {part * SLOT / parts for part in range(parts)}


def test_a_crowd_is_counted_by_whoever_asks_at_each_run() -> None:
    jobs = [1]
    triggers = [trigger_of(f"direct:m{n}:mcp", 60.0, None, lambda: jobs[0]) for n in range(200)]

    def places() -> set[float]:
        found = [trigger.get_next_fire_time(None, NOON) for trigger in triggers]
        return {at.timestamp() % SLOT for at in found if at is not None}

    assert places() == {0.0}
    jobs[0] = 481
    assert places() == {0.0, 1.0}


@pytest.mark.parametrize(("before", "moved"), [(14.0, 30.0), (15.0, 0.0), (16.0, 0.0), (0.0, 30.0)])
def test_a_run_is_moved_by_an_interval_when_the_last_one_was_less_than_half_of_it_ago(before: float, moved: float) -> None:
    trigger = GridTrigger("direct:time:mcp", 30.0)
    due = trigger.get_next_fire_time(None, NOON)
    assert trigger.get_next_fire_time(due - timedelta(seconds=before), NOON) == due + timedelta(seconds=moved)
