"""What holds a loop is told with its name; a callback that merely waits for a busy machine is not."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mcpwatch import slow
from mcpwatch.runtimes.log_collector import LogCollector
from mcpwatch.slow import MARK, VARIABLE, watch, watch_turns
from tests.held import ours

pytestmark = pytest.mark.anyio
BURN = "import time\nend = time.thread_time() + {}\nwhile time.thread_time() < end: pass\n"


async def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def told() -> Any:
    lines: list[str] = []
    undo = watch({VARIABLE: "0.05"}, lines.append)
    yield lines
    undo()


async def test_a_task_that_computes_for_too_long_is_named(told: list[str]) -> None:
    await asyncio.create_task(burn(0.3))
    await asyncio.create_task(burn(0.0))
    assert len(told) == 1
    assert told[0].startswith(MARK)
    assert "burn" in told[0]


async def test_a_callback_that_sleeps_is_not_taken_for_work(told: list[str]) -> None:
    asyncio.get_running_loop().call_soon(time.sleep, 0.1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == []


@pytest.mark.slow
async def test_a_garbage_collection_is_told_as_one_and_not_as_its_callback(told: list[str]) -> None:
    heap = [[number] for number in range(1_000_000)]

    async def collect() -> None:
        gc.collect()

    await asyncio.sleep(0)
    told.clear()
    await asyncio.create_task(collect())
    assert len(heap) == 1_000_000
    (line,) = told
    assert "garbage collection of generation 2" in line


async def test_nothing_is_measured_unless_it_is_asked_for() -> None:
    before = asyncio.Handle.__dict__["_run"]
    for value in ("", "0", "often"):
        watch({VARIABLE: value})()
        watch_turns(asyncio.get_running_loop(), {VARIABLE: value})
        assert asyncio.Handle.__dict__["_run"] is before


def test_a_loop_of_another_make_is_measured_turn_by_turn_and_told_in_the_file(tmp_path: Path) -> None:
    program = (
        "import asyncio, uvloop\nfrom mcpwatch.slow import watch_turns\n"
        "async def main():\n watch_turns(asyncio.get_running_loop())\n await asyncio.sleep(0.1)\n"
        + "".join(f" {line}\n" for line in BURN.format(0.2).splitlines())
        + " await asyncio.sleep(0.1)\nuvloop.run(main())\n"
    )
    file = tmp_path / "held"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, VARIABLE: f"0.1:{file}"}, check=True)
    (line,) = file.read_text(encoding="utf-8").splitlines()
    assert line.startswith(MARK)
    assert "turns of the loop" in line


async def test_a_test_may_compute_and_the_program_may_not(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(work) for work in (burn(0.0), LogCollector(tmp_path, lambda _: None).drain())]
    assert [ours(asyncio.Handle(task.cancel, (), loop)) for task in tasks] == [False, True]
    assert [ours(asyncio.Handle(call, (), loop)) for call in (burn, watch_turns)] == [False, True]
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("factor", "told"), [(1.0, True), (1.9, True), (2.1, False)])
def test_what_took_long_is_held_against_how_slow_the_processor_is_just_then(
    factor: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "slowness", lambda: factor)
    assert slow.exceeds(0.2, 0.1) is told


def test_nothing_short_is_held_against_anything_and_no_processor_makes_a_limit_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1.0 <= slow.slowness() < 100.0
    monkeypatch.setattr(slow, "NOMINAL", 100.0)
    assert slow.slowness() == 1.0
    monkeypatch.setattr(slow, "slowness", lambda: pytest.fail("a sum for nothing"))
    assert not slow.exceeds(0.1, 0.1)
