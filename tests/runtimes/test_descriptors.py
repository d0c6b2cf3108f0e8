"""Counting our own open files: by the size of the directory where the kernel tells it, by listing where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.runtimes import descriptors


def test_files_that_are_opened_are_counted_and_forgotten_when_they_are_closed() -> None:
    before = descriptors.used()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(25)]
    during = descriptors.used()
    for number in opened:
        os.close(number)
    after = descriptors.used()
    assert before is not None
    assert during is not None
    assert after is not None
    assert during - before >= 20, "other threads of this process may close some meanwhile"
    assert during - after >= 20


def test_a_directory_whose_size_the_kernel_does_not_tell_is_listed(tmp_path: Path) -> None:
    """Threads stand for open files: the kernel gives their directory no size, as older ones do for open files."""
    threads = Path("/proc/self/task")
    assert threads.stat().st_size == 0
    found = descriptors.used(str(threads))
    assert found is not None
    assert found >= 1
    assert descriptors.used(str(tmp_path / "nothing")) is None


RAISED = """
import os, resource, subprocess
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))
from mcpwatch.runtimes import descriptors
child = subprocess.Popen(["sleep", "600"])
print(descriptors.raise_limit(), descriptors.carries(descriptors.limit()), flush=True)
descriptors.give_back(child.pid)
print(*resource.prlimit(child.pid, resource.RLIMIT_NOFILE), flush=True)
child.kill()
child.wait()
os.execv("/bin/sh", ["sh", "-c", f"ulimit -Sn; echo ${descriptors.INHERITED}"])
"""


@pytest.mark.slow
def test_the_soft_limit_is_raised_to_the_hard_one_for_us_and_members_get_the_one_that_was() -> None:
    done = subprocess.run([sys.executable, "-c", RAISED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1024", "856", "256", "1024", "1024", "256"]
