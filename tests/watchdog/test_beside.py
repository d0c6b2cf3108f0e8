"""What only the machine can tell is asked beside the loop: once for all who ask, and nothing is decided before it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mcpwatch.clock import SystemClock
from mcpwatch.model.fact import RepairTried
from mcpwatch.watchdog.beside import FORGET, KEPT, KEPT_MAX, PATIENCE, Question, beside, settled
from mcpwatch.watchdog.mend import LOOK_DELAY
from mcpwatch.watchdog.senses import Senses
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.mend_bench import Bench, staged

Play = Callable[["Desk"], Coroutine[Any, Any, None]]


class Desk:
    """Senses over a machine that a test writes, and every look at it: when it began, and how many questions it was."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock) -> None:
        self.loop, self.clock = loop, clock
        self.took = 0.5
        self.ports: tuple[int, ...] = (9,)
        self.error: Exception | None = None
        self.looks: list[tuple[float, int]] = []
        self.asked: list[int] = []
        self.senses = beside(Senses(listening=self.listening, stopped=lambda pids: pids), self.run, clock)

    def listening(self, pid: int) -> tuple[int, ...]:
        self.asked.append(pid)
        if self.error is not None:
            raise self.error
        return (*self.ports, pid)

    async def run(self, work: Callable[[], dict[Question, Any]]) -> dict[Question, Any]:
        began = self.clock.now()
        found = work()
        self.looks.append((began, len(found)))
        await asyncio.sleep(self.took)
        return found

    async def listens(self, *pids: int) -> list[tuple[int, ...]]:
        """Where these listen, and whether they are stopped, as one look at a fleet asks."""

        def look() -> list[tuple[int, ...]]:
            self.senses.stopped(frozenset(pids))
            return [self.senses.listening(pid) for pid in pids]

        return await settled(self.senses, look)


def at_desk(play: Play) -> None:
    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        await play(Desk(loop, clock))

    run(story)


def test_before_the_machine_told_it_nothing_is_seen_and_it_is_said_that_something_is_open() -> None:
    async def play(desk: Desk) -> None:
        assert desk.senses.open() is None
        assert desk.senses.listening(1) == ()
        answers = desk.senses.open()
        assert answers is not None
        assert desk.senses.open() is None, "told to one who asked"
        await answers()
        assert desk.senses.listening(1) == (9, 1)
        assert desk.senses.open() is None

    at_desk(play)


def test_one_look_answers_all_questions_of_a_look_at_the_fleet_and_of_all_who_ask_meanwhile() -> None:
    async def play(desk: Desk) -> None:
        first, second = await asyncio.gather(desk.listens(1, 2), desk.listens(1, 2))
        assert first == second == [(9, 1), (9, 2)]
        assert desk.looks == [(0.0, 3)]
        third, _ = await asyncio.gather(desk.listens(1, 3), desk.listens(2))
        assert third == [(9, 1), (9, 3)]
        assert desk.asked == [1, 2, 3]

    at_desk(play)


@pytest.mark.parametrize(("took", "kept"), [(0.01, KEPT), (0.5, 2.0), (9.0, KEPT_MAX)])
def test_an_answer_counts_for_a_while_and_longer_where_looking_takes_long(took: float, kept: float) -> None:
    async def play(desk: Desk) -> None:
        desk.took = took
        await desk.listens(1)
        desk.ports = (8,)
        await asyncio.sleep(kept - 0.01)
        assert await desk.listens(1) == [(9, 1)]
        await asyncio.sleep(0.02)
        assert await desk.listens(1) == [(8, 1)]
        assert len(desk.looks) == 2

    at_desk(play)


def test_a_machine_that_does_not_tell_in_time_counts_as_not_seen_and_is_not_asked_more_until_it_does() -> None:
    async def play(desk: Desk) -> None:
        desk.took = 100.0
        assert await desk.listens(1) == [()]
        assert desk.clock.now() == pytest.approx(PATIENCE)
        await asyncio.sleep(KEPT_MAX)
        assert await desk.listens(1) == [()]
        assert desk.clock.now() == pytest.approx(PATIENCE + KEPT_MAX), "nobody waits for it twice"
        assert len(desk.looks) == 1
        desk.took = 0.1
        await asyncio.sleep(100.0)
        assert await desk.listens(1) == [(9, 1)]

    at_desk(play)


def test_a_look_that_breaks_is_told_to_who_asked_and_made_again() -> None:
    async def play(desk: Desk) -> None:
        desk.error = OSError("no more")
        with pytest.raises(OSError, match="no more"):
            await desk.listens(1)
        desk.error = None
        assert await desk.listens(1) == [(9, 1)]

    at_desk(play)


def test_what_nobody_asks_for_any_more_is_forgotten() -> None:
    async def play(desk: Desk) -> None:
        await desk.listens(1)
        await asyncio.sleep(FORGET)
        await desk.listens(2)
        assert desk.senses.listening(1) == ()

    at_desk(play)


def test_nothing_is_decided_before_the_machine_told_what_it_knows() -> None:
    async def play(bench: Bench) -> None:
        async def late() -> None:
            await asyncio.sleep(1.0)
            bench.change("fetch", stopped_processes=True)

        openings = [late]
        bench.open = lambda: openings.pop() if openings else None
        bench.mender.soon()
        for _ in range(3):
            await asyncio.sleep(LOOK_DELAY + 0.1)
            bench.mender.soon()
            assert (bench.settlings, bench.asked) == (0, [])
        await asyncio.sleep(1.0)
        assert [(one.rung, one.cause) for one in bench.of(RepairTried)] == [("resume", "member_hung")]

    staged(play)


def test_where_the_machine_could_not_be_read_nothing_is_decided_until_the_next_look() -> None:
    async def play(bench: Bench) -> None:
        async def broken() -> None:
            raise OSError("no more")

        openings = [broken]
        bench.open = lambda: openings.pop() if openings else None
        bench.mender.consider()
        await asyncio.sleep(0.1)
        assert bench.settlings == 0
        bench.mender.consider()
        assert bench.settlings == 1

    staged(play)


def test_no_sense_that_reads_the_machine_is_asked_on_the_loop() -> None:
    threads: set[int] = set()

    def noting(*_: object) -> Any:
        threads.add(threading.get_ident())
        return ()

    async def story() -> None:
        plain = Senses(**dict.fromkeys(("words", "stopped", "listening", "places", "rival", "child", "runs"), noting))
        senses = beside(plain, asyncio.to_thread, SystemClock())

        def look() -> None:
            senses.words("a")
            senses.stopped(frozenset({1}))
            senses.listening(1)
            senses.places(1)
            senses.rival(1, 2)
            senses.child(1, "a", 0)
            senses.runs(1, "")

        await settled(senses, look)

    asyncio.run(story())
    assert threads
    assert threading.get_ident() not in threads
