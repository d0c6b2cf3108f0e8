"""A hundred thousand probes leave nothing behind: no file, no task, no memory that grows."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, Target, Transport
from mcpwatch.model.spec import CheckSpec
from tests.checks.until import until
from tests.parts import ROOT

PROBES = 100_000
CONCURRENT = 100
GROWTH = 8 * 1024 * 1024
"""Bytes of resident memory that may come and go between the first tenth and the end."""
SETTLE = 30.0
"""Longest wait for the last streams to close."""


@pytest.fixture
def mock() -> Iterator[str]:
    """The benchmark's mock server, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.prober.mock"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def resident() -> int:
    """Bytes of resident memory of this process."""
    gc.collect()
    line = next(line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def open_files() -> int:
    """File descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def run(prober: Prober, url: str, probes: int) -> None:
    """Probe both wires in turn, many at once; every one succeeds."""
    check = CheckSpec("mcp", timeout=60)
    wires: tuple[tuple[Transport, str], ...] = (("sse", "/sse"), ("http", "/mcp"), ("stateless", "/mcp"))
    left = iter(range(probes))

    async def work() -> None:
        for number in left:
            wire, path = wires[number % len(wires)]
            result = await prober.probe(check, Target(f"{url}{path}", wire), "direct")
            assert result.outcome is Outcome.SUCCESS, result

    await asyncio.gather(*(work() for _ in range(CONCURRENT)))


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_hundred_thousand_probes_leave_nothing_behind(mock: str) -> None:
    prober = Prober()
    await run(prober, mock, PROBES // 10)
    memory, files, tasks = resident(), open_files(), len(asyncio.all_tasks())
    await run(prober, mock, PROBES - PROBES // 10)
    assert resident() - memory < GROWTH
    await until(lambda: open_files() <= files and len(asyncio.all_tasks()) <= tasks, SETTLE)  # the last streams are just closing
    assert prober.running == 0
    await prober.close()
