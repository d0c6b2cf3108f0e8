"""Starts are spread when there are many of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.runtimes.start_rate import BURST, RATE, StartRate


def test_the_first_few_start_at_once_and_a_hundred_take_most_of_a_second() -> None:
    pace, waits = StartRate(), list[float]()
    for _ in range(100):
        pace, wait = pace.take(1000.0)
        waits.append(wait)
    assert waits[:BURST] == [0.0] * BURST
    assert waits == sorted(waits)
    assert 0.5 < waits[-1] < 0.7


@given(st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_the_rate_start_in_any_time(gaps: list[float]) -> None:
    pace, now, starts = StartRate(), 0.0, list[float]()
    for gap in gaps:
        now += gap / 50
        pace, wait = pace.take(now)
        starts.append(now + wait)
    assert starts == sorted(starts)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= BURST + RATE * (starts[last] - starts[first]) + 1e-6
