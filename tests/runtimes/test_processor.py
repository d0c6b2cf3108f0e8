"""Whether silent processes work, by the processor time that they took."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mcpwatch.runtimes.port import family
from mcpwatch.runtimes.processor import FORGET, ProcessorWatch, used_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LOOP = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'while True: pass'])"


def test_a_process_below_that_loops_is_work_and_one_that_waits_is_none() -> None:
    watch = ProcessorWatch()
    waits = subprocess.Popen(["sleep", "600"])
    works = subprocess.Popen([sys.executable, "-S", "-c", LOOP], start_new_session=True)
    try:
        assert not watch.works(works.pid, 1.0), "what it did before the silence is no work in it"
        assert not watch.works(waits.pid, 1.0)
        deadline = time.monotonic() + 60.0
        while not watch.works(works.pid, 1.0):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not watch.works(waits.pid, 1.0)
        assert not watch.works(works.pid, 2.0), "another silence begins anew"
    finally:
        for pid in sorted(family(works.pid), reverse=True):
            os.kill(pid, 9)
        works.wait()
        waits.kill()
        waits.wait()


def test_what_is_gone_took_nothing_and_a_silence_of_long_ago_is_forgotten() -> None:
    now = [0.0]
    watch = ProcessorWatch(lambda: now[0])
    assert used_by((2**22 + 1,)) == 0.0
    for silence in (1.0, 2.0):
        assert not watch.works(os.getpid(), silence)
        now[0] += FORGET
    assert len(watch._first) == 1  # pyright: ignore[reportPrivateUsage]
