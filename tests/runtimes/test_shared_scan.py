"""Who looks at the process table while the loop turns: a thread, where that takes long. Each look begins after it is asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from mcpwatch.runtimes import process_table, shared_scan
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.shared_scan import SharedScan
from tests.runtimes.bench import WAIT, WITHOUT, running, sleeper, until

pytestmark = pytest.mark.anyio
MAIN = threading.main_thread()


class Crowded(ProcessTable):
    """A machine in which a look is over only when the loop has turned meanwhile; `short` looks cannot be had."""

    def __init__(self) -> None:
        super().__init__(detect())
        self.light = False
        self.short = 0
        self.begun = 0
        self.turned = threading.Event()
        self.threads: list[threading.Thread] = []

    def scan(self) -> ProcessSnapshot:
        self.begun += 1
        self.threads.append(threading.current_thread())
        if self.short:
            self.short -= 1
            raise ProcUnreadable("/proc: cannot be read")
        assert threading.current_thread() is MAIN or self.turned.wait(WAIT), "nothing turned"
        return ProcessSnapshot({}, at=float(self.begun))


@pytest.fixture
def table() -> Crowded:
    return Crowded()


@pytest.fixture
def scans(table: Crowded) -> Generator[SharedScan]:
    made = SharedScan(table)
    yield made
    table.turned.set()
    made.close()


async def test_the_loop_turns_while_a_crowded_machine_is_looked_at(table: Crowded, scans: SharedScan) -> None:
    looking = asyncio.gather(*(scans.look() for _ in range(3)))
    await until(lambda: table.begun == 1)
    table.turned.set()
    assert [seen.at for seen in await looking] == [1.0, 1.0, 1.0], "they share it"
    assert table.threads != [MAIN]


async def test_who_asks_while_a_look_is_under_way_gets_the_next_one(table: Crowded, scans: SharedScan) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(scans.look())
        await until(lambda: table.begun == 1)
        second = tasks.create_task(scans.look())
        await asyncio.sleep(0)
        table.turned.set()
    assert (first.result().at, second.result().at) == (1.0, 2.0)


async def test_one_who_no_longer_waits_costs_the_others_nothing(table: Crowded, scans: SharedScan) -> None:
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(scans.look()) for _ in range(2))
        await until(lambda: table.begun == 1)
        first.cancel()
        table.turned.set()
    assert second.result().at == 1.0
    assert (await scans.look()).at == 2.0


async def test_a_quiet_machine_is_looked_at_in_the_loop(table: Crowded, scans: SharedScan) -> None:
    table.light = True
    await scans.look()
    assert table.threads == [MAIN]


async def test_a_table_that_cannot_be_read_is_tried_again_and_then_told(
    table: Crowded, scans: SharedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_scan, "TRIES", 2)
    monkeypatch.setattr(shared_scan, "TRY_AGAIN", 0.0)
    table.turned.set()
    table.short = 2
    assert (await scans.look()).at == 3.0
    table.short = 3
    with pytest.raises(ProcUnreadable):
        await scans.look()
    table.short = 1
    with pytest.raises(ProcUnreadable):
        await scans.take()
    assert (await scans.take()).at == 8.0


async def test_without_a_thread_to_be_had_the_loop_looks_and_a_thread_as_soon_as_there_is_one(
    table: Crowded, scans: SharedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    table.turned.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        await scans.look()
    await scans.look()
    assert [one is MAIN for one in table.threads] == [True, False]


async def test_whoever_waits_at_the_end_is_let_go(table: Crowded, scans: SharedScan) -> None:
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(scans.look())
        await until(lambda: table.begun == 1)
        scans.close()
        table.turned.set()
    assert looking.cancelled()


async def test_whoever_waits_for_a_look_that_is_not_begun_is_let_go_too(table: Crowded, scans: SharedScan) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(scans.look())
        await until(lambda: table.begun == 1)
        second = tasks.create_task(scans.look())
        await asyncio.sleep(0)
        scans.close()
        table.turned.set()
    async with asyncio.TaskGroup() as tasks:
        third = tasks.create_task(scans.look())
        await asyncio.sleep(0)
        scans.close()
    assert [one.cancelled() for one in (first, second, third)] == [True, True, True]


async def test_a_look_that_fails_as_nobody_foresaw_is_told_to_who_waits_and_the_next_is_begun(
    table: Crowded, scans: SharedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> ProcessSnapshot:
        raise ValueError("no number")

    with monkeypatch.context() as patch:
        patch.setattr(table, "scan", broken)
        with pytest.raises(ValueError, match="no number"):
            await scans.look()
    table.turned.set()
    assert (await scans.look()).at == 1.0


async def test_a_table_knows_whether_its_last_look_was_over_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ProcessTable(detect())
    for most, light in ((0.0, False), (WAIT, True)):
        monkeypatch.setattr(process_table, "LIGHT", most)
        table.scan()
        assert table.light is light


@pytest.mark.sample
@pytest.mark.parametrize("off", WITHOUT, ids=str)
async def test_members_are_found_and_ended_by_looks_that_hold_nobody(
    tmp_path: Path, off: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    scan = ProcessTable.scan

    def seen(table: ProcessTable) -> ProcessSnapshot:
        threads.append(threading.current_thread())
        found = scan(table)
        table.light = False
        return found

    async with running(tmp_path, *off) as runtime:
        monkeypatch.setattr(ProcessTable, "scan", seen)
        assert await runtime.owned(()) == ()
        spec = sleeper()
        await runtime.start(spec, 1)
        await runtime.resume(spec)
        await runtime.stop(spec, 1.0)
        assert len(threads) >= 3
        assert MAIN not in threads
