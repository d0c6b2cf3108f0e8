"""The deadlines of a probe, stage by stage, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from mcpwatch.checks.timeline import ProbeTimeline
from mcpwatch.model.probe import Stage, StageTiming
from tests.virtual import VirtualClock, VirtualLoop, run


async def ends(timeline: ProbeTimeline, within: Callable[[], Awaitable[None]]) -> float:
    """When the timeline ends what goes on for ever."""
    with contextlib.suppress(TimeoutError):
        async with timeline.scope:
            await within()
            await asyncio.sleep(1000)
            raise AssertionError("it was never ended")
    return timeline.now - timeline.started


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def within(loop: VirtualLoop, clock: VirtualClock) -> None:
        await scene()

    run(within)


DEADLINES = [
    (10.0, Stage.RESOLVE, 5.0),
    (10.0, Stage.CONNECT, 5.0),
    (10.0, Stage.TLS, 5.0),
    (10.0, Stage.ENDPOINT, 6.0),
    (10.0, Stage.INITIALIZE, 9.5),
    (100.0, Stage.INITIALIZE, 99.5),
    (3.0, Stage.CONNECT, 2.0),
    (6.0, Stage.ENDPOINT, 5.0),
    (1.0, Stage.CONNECT, 0.95),
    (1.0, Stage.ENDPOINT, 0.95),
]


@pytest.mark.parametrize(("timeout", "stage", "seconds"), DEADLINES)
def test_each_stage_has_a_share_of_the_timeout_and_a_least(timeout: float, stage: Stage, seconds: float) -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(timeout)

        async def enters() -> None:
            timeline.enter(stage)

        assert await ends(timeline, enters) == pytest.approx(seconds, abs=0.001)

    play(scene)


def test_a_share_counts_from_when_the_stage_began() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(100)

        async def enters() -> None:
            timeline.enter(Stage.INITIALIZE)
            await asyncio.sleep(20)
            timeline.enter(Stage.CONNECT)

        assert await ends(timeline, enters) == pytest.approx(70)

    play(scene)


def test_a_stage_without_a_share_gets_its_time_back_after_one_that_had_one() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(10)
        async with timeline.scope:
            timeline.enter(Stage.CONNECT)
            await asyncio.sleep(4)
            timeline.enter(Stage.INITIALIZE)
            await asyncio.sleep(5)
            assert timeline.left == pytest.approx(0.5)
        await asyncio.sleep(5)
        assert timeline.left == 0

    play(scene)


def test_what_each_stage_took_is_kept_and_a_stage_entered_again_adds_up() -> None:
    async def scene() -> None:
        await asyncio.sleep(50)
        timeline = ProbeTimeline(100)
        assert (timeline.stage, timeline.timings(), timeline.seconds, timeline.dialled) == (None, (), 0, False)
        async with timeline.scope:
            await asyncio.sleep(1)
            for stage, seconds in ((Stage.OPEN, 2), (Stage.PING, 0.25), (Stage.OPEN, 3)):
                timeline.enter(stage)
                await asyncio.sleep(seconds)
            timeline.leave()
            await asyncio.sleep(7)
            timeline.enter(Stage.CLOSE)
            await asyncio.sleep(1)
            assert (timeline.stage, timeline.seconds) == (Stage.CLOSE, pytest.approx(14.25))
            timeline.finish()
        await asyncio.sleep(9)
        expected = {Stage.OPEN: 5.0, Stage.PING: 0.25, Stage.CLOSE: 1.0}
        assert timeline.timings() == tuple(StageTiming(stage, seconds) for stage, seconds in expected.items())
        assert (timeline.stage, timeline.seconds) == (None, pytest.approx(14.25))

    play(scene)


def test_closing_may_take_half_a_second_but_never_beyond_the_timeout() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(10)
        await asyncio.sleep(1)
        assert timeline.closing == pytest.approx(1.5)
        await asyncio.sleep(8.9)
        assert timeline.closing == pytest.approx(10)

    play(scene)


def test_an_abort_ends_the_stage_at_once_and_the_stages_after_it_too() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(10)

        async def aborts() -> None:
            timeline.abort()
            timeline.enter(Stage.OPEN)

        assert (await ends(timeline, aborts), timeline.aborted) == (0, True)
        timeline.enter(Stage.CLOSE)
        over = ProbeTimeline(10)
        async with over.scope:
            pass
        over.abort()
        assert over.aborted

    play(scene)


def test_a_stage_entered_after_the_deadline_passed_does_not_move_it() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(10)

        async def enters_late() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                timeline.enter(Stage.CLOSE)

        assert await ends(timeline, enters_late) == pytest.approx(9.5)

    play(scene)


def test_a_deadline_that_is_moved_is_kept_wherever_its_timer_stands_and_is_no_other_cancellation() -> None:
    async def scene() -> None:
        timeline = ProbeTimeline(10)

        async def goes_on() -> None:
            timeline.enter(Stage.CONNECT)  # until 5
            await asyncio.sleep(4)
            timeline.enter(Stage.ENDPOINT)  # until 9.5, which its timer does not know yet
            await asyncio.sleep(4)
            timeline.enter(Stage.TOOLS_LIST)

        assert await ends(timeline, goes_on) == pytest.approx(9.5)

        async def stands() -> None:
            async with ProbeTimeline(10).scope:
                await asyncio.sleep(1000)

        async with asyncio.TaskGroup() as tasks:
            cancelled = tasks.create_task(stands())
            await asyncio.sleep(1)
            cancelled.cancel()
        assert cancelled.cancelled()

    play(scene)
