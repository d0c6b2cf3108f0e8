"""Starts are spread when there are many of them."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.runtimes.start_rate import BURST, RATE, TURN, StartRate, StartTurns


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


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_thousand_that_are_due_at_once_leave_the_loop_its_turns() -> None:
    spent = [0.0]
    turns, started, seen = StartTurns(lambda: spent[0]), list[int](), list[int]()

    async def start(number: int) -> None:
        await turns.take()
        started.append(number)
        spent[0] += TURN / 5

    async def look() -> None:
        while len(started) < 1000:
            seen.append(len(started))
            await asyncio.sleep(0)

    await asyncio.gather(look(), *(start(number) for number in range(1000)))
    assert started == list(range(1000))
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 6


@pytest.mark.anyio
async def test_one_start_that_takes_long_keeps_none_of_the_others_for_ever() -> None:
    spent = [0.0]
    turns = StartTurns(lambda: spent[0])

    async def start() -> None:
        await turns.take()
        spent[0] += 10 * TURN

    await asyncio.gather(*(start() for _ in range(20)))
    long = asyncio.create_task(start())
    lost = asyncio.create_task(start())
    other = asyncio.create_task(start())
    await asyncio.sleep(0)
    lost.cancel()
    await long
    await other
    assert lost.cancelled()


@pytest.mark.anyio
async def test_a_start_does_not_wait_for_what_starts_took_in_an_earlier_turn() -> None:
    spent = [0.0]
    turns = StartTurns(lambda: spent[0])
    await turns.take()
    spent[0] += 10 * TURN  # the loop did other work meanwhile
    await asyncio.sleep(0)
    begun = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    assert begun.done(), "it is begun in the very turn in which it is asked for"
    await begun
