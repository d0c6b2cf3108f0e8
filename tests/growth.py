"""Whether reading a text costs no more than its length: eight times the text may take about eight times the processor time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.errors import McpwatchError

Work = Callable[[str], object]
Text = Callable[[int], str]
TIMES = 8
MOST = 24.0
"""Halfway, by logarithm, between linear (8) and quadratic (64)."""
ENOUGH = 0.003
"""Seconds of processor that the shorter text takes at least, unless it is long already: below, the clock shows nothing."""
LONG = 50_000


def read(work: Work, text: str) -> None:
    """Do the work; a text that is refused is read too."""
    try:
        work(text)
    except (McpwatchError, ProbeFailure, ValueError, RecursionError):
        return


def must_be_linear(work: Work, text: Text) -> None:
    """Fails when the cost of `work` grows faster than the text that it is given. `text` makes one of a size."""

    def cost(size: int) -> float:
        given = text(size)
        gc.disable()  # a collection looks through all that the other tests left: it costs what it will
        try:
            began = time.thread_time()
            read(work, given)
            return time.thread_time() - began
        finally:
            gc.enable()

    size = 50
    while cost(size) < ENOUGH and size < LONG:
        size *= 2
    factor = 0.0
    for _ in range(4):
        factor = cost(size * TIMES) / max(ENOUGH / 3, cost(size))
        if factor < MOST:
            return
    pytest.fail(f"{factor:.0f} times the processor time for {TIMES} times the text")
