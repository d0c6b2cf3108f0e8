"""What is urgent runs before all that is due, in its order, and nothing else changes places."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.urgent import first


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 3))
def test_what_is_urgent_goes_before_what_is_due_and_each_kind_keeps_its_order(kinds: list[bool], more: int) -> None:
    ran: list[tuple[bool, int]] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        for number in range(20):
            loop.call_soon(ran.append, (False, number))

        def urge() -> None:
            for at, urgent in enumerate(kinds):
                if urgent:
                    with first():
                        for one in range(more):
                            loop.call_soon(ran.append, (True, 10 * at + one))
                else:
                    loop.call_soon(ran.append, (False, 100 + at))

        with first():
            loop.call_soon(urge)
        for _ in range(4):
            await asyncio.sleep(0)

    asyncio.run(scene())
    assert len(ran) == 20 + sum(more if urgent else 1 for urgent in kinds)
    later = [number for urgent, number in ran if not urgent]
    assert later == sorted(later)
    blocks = [[10 * at + one for one in range(more)] for at, urgent in enumerate(kinds) if urgent]
    assert [number for urgent, number in ran if urgent] == [number for block in reversed(blocks) for number in block]
    assert [urgent for urgent, _ in ran] == sorted((urgent for urgent, _ in ran), reverse=True)


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_is_lost_on_any_loop_and_not_when_what_is_urgent_fails(make: object) -> None:
    ran: list[str] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()

        def fails() -> None:
            with first():
                loop.call_soon(ran.append, "scheduled")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        loop.call_soon(ran.append, "later")
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=make) as runner:  # pyright: ignore[reportArgumentType]
        runner.run(scene())
    assert ran == ["scheduled", "later"]
