"""The mock as a process of its own, for benchmarks that check servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def mock(*asked: str) -> Generator[int]:
    """The port of a mock that serves any number of servers, one a path. `asked`: a file for when each stream was asked for."""
    command = [sys.executable, "-m", "benchmarks.prober.mock", *asked]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield int(process.stdout.readline().split()[-1])
    finally:
        process.stdin.close()
        process.wait(10)
