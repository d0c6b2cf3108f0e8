"""Callbacks that hold the event loop: measured in seconds of processor, told with their name. For tests; off unless asked for.

`MCPWATCH_SLOW_CALLBACK=0.1` switches it on. Processor time of the loop's thread counts, not the clock on the wall: a loaded machine
makes every callback late, and only work that is ours makes it expensive. (A loop that waits for ever is the hang watch's matter.)
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

VARIABLE = "MCPWATCH_SLOW_CALLBACK"
MARK = "mcpwatch: slow callback:"
"""How each line that it writes to standard error begins."""


def watch(environment: Mapping[str, str] = os.environ, tell: Callable[[str], None] | None = None) -> Callable[[], None]:
    """Measure every callback of every loop from now on, if the environment asks for it. Returns what undoes it."""
    try:
        limit = float(environment.get(VARIABLE, "") or 0.0)
    except ValueError:
        limit = 0.0
    if limit <= 0.0:
        return lambda: None
    handle: Any = asyncio.Handle
    run, say = handle._run, tell or _say

    def measured(self: Any) -> None:
        begun = time.thread_time()
        run(self)
        busy = time.thread_time() - begun
        if busy > limit:
            say(f"{MARK} {busy:.3f}s of processor: {_named(self)}"[:2000])

    handle._run = measured

    def undo() -> None:
        handle._run = run

    return undo


def _named(handle: Any) -> str:
    """The task that a callback takes a step of, else the callback."""
    task: object = getattr(getattr(handle, "_callback", None), "__self__", None)
    return repr(cast("object", task) if isinstance(task, asyncio.Task) else handle)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
