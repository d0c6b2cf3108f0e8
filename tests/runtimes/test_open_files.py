"""How many files a process, and what runs below it, has open beside how many it may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from mcpwatch.runtimes.usage import exhausted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what other processes have open")

OPENS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while len(held) < int(sys.argv[1]):
        held.append(os.dup(0))
except OSError:
    pass
print("ready", flush=True)
sys.stdin.read()
"""
BELOW = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], stdin=sys.stdin, stdout=sys.stdout)"


@contextmanager
def holding(*command: str) -> Generator[int]:
    """A process that is ready; its number."""
    with subprocess.Popen([sys.executable, "-c", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child.pid
        child.communicate()


def test_a_process_at_its_limit_is_told_with_both_numbers() -> None:
    with holding(OPENS, "1000") as pid:
        assert exhausted(pid) == f"64 of 64 are open (pid {pid})"


def test_one_below_it_counts_and_one_that_has_some_left_does_not() -> None:
    with holding(BELOW, OPENS, "1000") as pid:
        assert exhausted(pid).startswith("64 of 64 are open (pid ")
        assert f"pid {pid})" not in exhausted(pid)
    with holding(OPENS, "20") as pid:
        assert exhausted(pid) == ""


def test_of_one_that_is_gone_nothing_is_said() -> None:
    with holding(OPENS, "0") as pid:
        pass
    assert exhausted(pid) == ""
