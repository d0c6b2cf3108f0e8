"""What is given up first when a machine runs short: probes wait, and then say that they do not know."""

from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpwatch.app.shortage import THREADS, ReadyThreads, SheddingProber
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.probe import Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.runtimes import descriptors, process_table
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable

TARGET = Target("http://127.0.0.1:1/mcp")


class Held:
    """A prober whose probes end when they are told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.began = 0

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        self.began += 1
        await self.go.wait()
        return ProbeResult(Outcome.SUCCESS)

    def forget(self, target: Target) -> None:
        """Knows nothing."""

    async def close(self) -> None:
        """Holds nothing."""


@pytest.mark.anyio
async def test_probes_beyond_what_descriptors_allow_wait_their_turn() -> None:
    held = Held()
    prober = SheddingProber(held, lambda: 2)
    check = CheckSpec("mcp", timeout=60.0)
    tasks = [asyncio.create_task(prober.probe(check, TARGET, "direct")) for _ in range(6)]
    await asyncio.sleep(0)
    assert (held.began, prober.probing) == (2, 2)
    held.go.set()
    assert [result.outcome for result in await asyncio.gather(*tasks)] == [Outcome.SUCCESS] * 6
    assert (prober.probing, prober.shed) == (0, 0)


@pytest.mark.anyio
async def test_a_probe_that_finds_no_room_in_its_time_is_unknown_and_says_why() -> None:
    held = Held()
    prober = SheddingProber(held, lambda: 1)
    first = asyncio.create_task(prober.probe(CheckSpec("mcp", timeout=60.0), TARGET, "direct"))
    await asyncio.sleep(0)
    result = await prober.probe(CheckSpec("mcp", timeout=0.01), TARGET, "direct")
    assert (result.outcome, prober.shed) == (Outcome.UNKNOWN, 1)
    assert "short of open files" in result.message
    held.go.set()
    await first


def test_threads_are_there_before_they_are_needed_and_serve_when_no_other_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ReadyThreads()

    def refuse(_: ThreadPoolExecutor) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", refuse)
    gate = threading.Event()
    waiting = [pool.submit(gate.wait, 30.0) for _ in range(THREADS)]
    later = pool.submit(lambda: "done")
    gate.set()
    assert later.result(30.0) == "done"
    assert all(future.result(30.0) for future in waiting)
    pool.shutdown()


def test_a_process_table_that_cannot_be_read_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ProcessTable(Features())

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(process_table.os, "open", none_left)
    with pytest.raises(ProcUnreadable, match="Too many open files"):
        table.look(1)
    monkeypatch.setattr(process_table.os, "listdir", none_left)
    with pytest.raises(RuntimeFailed, match="/proc: cannot be read"):
        table.scan()


@pytest.mark.parametrize(("limit", "members", "streams"), [(64, 16, 2), (1024, 856, 42), (1 << 20, 0, 43690)])
def test_a_limit_of_open_files_carries_so_many_members_and_logs(limit: int, members: int, streams: int) -> None:
    assert descriptors.carries(limit) == members
    assert descriptors.open_streams(limit) == streams
