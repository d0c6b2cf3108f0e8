"""When the machine is looked at for what members use: at once for who asks seldom, beside the loop for who asks again."""

from __future__ import annotations

import threading

import pytest

from mcpwatch.runtimes import usage
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable
from mcpwatch.runtimes.process_usage import UsageSample
from tests.runtimes.bench import until

pytestmark = pytest.mark.anyio


class Table(ProcessTable):
    """A machine in which each look costs one second of processor, and waits while it may not end."""

    def __init__(self) -> None:
        self.free, self.begun = threading.Event(), threading.Event()
        self.free.set()
        self.threads: list[threading.Thread] = []
        self.unreadable = False
        self.light = True

    def scan(self) -> ProcessSnapshot:
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.free.wait(30)
        if self.unreadable:
            raise ProcUnreadable("/proc: cannot be read")
        return ProcessSnapshot({})

    def sample(self, now: ProcessSnapshot, main: int) -> UsageSample:
        return UsageSample(cpu_seconds=float(len(self.threads)), rss=main)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(usage, "EVERY", 0.0)
    return Table()


def used(meter: usage.UsageMeter, member: str) -> float:
    """Seconds of processor that a member is told to have used, 0 when that is not known."""
    found = meter.usage(member)
    return found.cpu_seconds if found is not None else 0.0


async def test_who_asks_again_is_told_the_last_sample_while_the_next_is_taken_in_a_thread(table: Table) -> None:
    meter = usage.UsageMeter(table)
    first = meter.look("a", lambda: {"a": 7})
    assert first is not None
    assert first.cpu_seconds == 1.0
    table.free.clear()
    again = [meter.look("a", lambda: {"a": 7}) for _ in range(3)]
    assert [one.cpu_seconds for one in again if one] == [1.0, 1.0, 1.0]
    table.free.set()
    await until(lambda: used(meter, "a") == 2.0)
    assert table.threads[0] is threading.main_thread()
    assert [one is threading.main_thread() for one in table.threads[1:]] == [False]


async def test_a_member_that_just_began_is_known_as_soon_as_a_thread_has_looked(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "EVERY", 30.0)
    meter, mains = usage.UsageMeter(table), {"a": 7}
    meter.look("a", lambda: mains)
    mains["b"] = 8
    assert meter.look("b", lambda: mains) is None
    assert meter.look("nobody", lambda: mains) is None
    await until(lambda: meter.look("b", lambda: mains) is not None)
    assert [one is threading.main_thread() for one in table.threads] == [True, False]


async def test_a_member_that_ended_meanwhile_is_not_shown_with_what_its_former_life_used(table: Table) -> None:
    meter = usage.UsageMeter(table)
    meter.look("a", lambda: {"a": 7, "b": 8})
    table.free.clear()
    meter.look("a", lambda: {"a": 7, "b": 8})
    meter.forget("a")
    table.free.set()
    await until(lambda: used(meter, "b") == len(table.threads))
    assert meter.usage("a") is None


async def test_a_machine_that_cannot_be_looked_at_leaves_the_last_samples_and_is_looked_at_again(table: Table) -> None:
    meter = usage.UsageMeter(table)
    meter.look("a", lambda: {"a": 7})
    table.unreadable = True

    def looks(times: int) -> bool:
        assert meter.look("a", lambda: {"a": 7}) is not None
        return len(table.threads) >= times

    await until(lambda: looks(3))  # each begins only when the one before is over
    assert used(meter, "a") == 1.0
    table.unreadable = False
    await until(lambda: looks(3) and used(meter, "a") > 1.0)


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(usage, "time", clock)
    return clock


async def test_a_sample_that_is_older_than_a_minute_is_not_shown(table: Table, clock: Clock) -> None:
    meter = usage.UsageMeter(table)
    for expected in (1.0, 2.0, 3.0):
        found = meter.look("a", lambda: {"a": 7})
        assert found is not None
        assert found.cpu_seconds == expected
        clock.now += usage.RECENT
    assert set(table.threads) == {threading.main_thread()}


@pytest.mark.parametrize("light", [True, False])
async def test_a_sample_that_is_older_than_a_minute_is_not_shown_after_a_look_that_failed_either(
    table: Table, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, light: bool
) -> None:
    """The failed look was taken for the age of the samples, and what was used long ago was told as used now."""
    monkeypatch.setattr(usage, "EVERY", 5.0)
    table.light = light
    meter, mains = usage.UsageMeter(table), {"a": 7}
    meter.look("a", lambda: mains)
    await until(lambda: meter.look("a", lambda: mains) is not None)
    table.unreadable = True
    clock.now += usage.RECENT
    for looks in range(2, 6):
        assert meter.look("a", lambda: mains) is None, looks
        await until(lambda looks=looks: len(table.threads) >= looks and meter._ended is None)  # pyright: ignore[reportPrivateUsage]
        clock.now += usage.EVERY
    table.unreadable = False
    meter.look("a", lambda: mains)
    await until(lambda: meter.look("a", lambda: mains) is not None)


async def test_where_a_look_takes_long_it_is_beside_the_loop_also_for_who_asks_seldom(
    table: Table, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "EVERY", 30.0)
    table.light = False
    meter = usage.UsageMeter(table)
    assert meter.look("a", lambda: {"a": 7}) is None
    await until(lambda: meter.look("a", lambda: {"a": 7}) is not None)
    clock.now += 2 * usage.RECENT
    assert meter.look("a", lambda: {"a": 7}) is None, "it is from long ago"
    await until(lambda: meter.look("a", lambda: {"a": 7}) is not None)
    assert used(meter, "a") == 2.0
    assert threading.main_thread() not in table.threads
