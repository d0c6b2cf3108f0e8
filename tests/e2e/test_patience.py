"""A bounded wait gives a starved process its time, and a stalled one no more than that."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from unittest import mock

import pytest

from tests.e2e.patience import Patience, Thread

pytestmark = pytest.mark.slow

SPIN = "while True: pass"
SLEEP = "import time; time.sleep(600)"
SECONDS = 1.5


@contextlib.contextmanager
def on_one_processor(*programs: str) -> Generator[list[subprocess.Popen[bytes]]]:
    """Each program on the first processor that is ours; the first gives way to all others."""
    first = min(os.sched_getaffinity(0))
    started = [subprocess.Popen([sys.executable, "-S", "-c", program]) for program in programs]
    try:
        for number, process in enumerate(started):
            os.sched_setaffinity(process.pid, {first})
            os.setpriority(os.PRIO_PROCESS, process.pid, 19 if number == 0 else 0)
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def lasts(patience: Patience, most: float) -> float:
    """Seconds until it is over, `most` when it is not by then."""
    begun = time.monotonic()
    while not patience.over() and time.monotonic() - begun < most:
        os.sched_yield()
    return time.monotonic() - begun


def test_time_in_which_it_could_not_run_does_not_count() -> None:
    with on_one_processor(SPIN, SPIN) as (starved, _):
        assert lasts(Patience(SECONDS, lambda: [starved.pid]), 2 * SECONDS) > 1.5 * SECONDS


@pytest.mark.parametrize("stopped", [False, True])
def test_one_that_sleeps_or_is_stopped_has_its_bound_and_no_more_beside_busy_ones(*, stopped: bool) -> None:
    with on_one_processor(SLEEP, SPIN) as (stalled, _):
        if stopped:
            stalled.send_signal(signal.SIGSTOP)
        patience = Patience(SECONDS, lambda: [stalled.pid])
        lasts(patience, 20 * SECONDS)
        assert patience.spent() <= 20 * SECONDS / 2


def test_even_one_that_never_runs_has_no_more_than_ten_times_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = mock.Mock(side_effect=({"1": Thread(0.0, float(waited), runnable=True)} for waited in itertools.count(0, 1000)))
    monkeypatch.setattr("tests.e2e.patience._threads", waits)
    assert lasts(Patience(0.05, lambda: [1]), 30.0) >= 0.49
