"""What holds an event loop: measured in seconds of processor, told with its name. For tests; off unless asked for.

`MCPWATCH_SLOW_CALLBACK=0.1` switches it on, `0.1:FILE` appends to a file what else goes to standard error. Processor time of the
loop's thread counts, not the clock on the wall: a loaded machine makes every callback late, and only work that is ours makes it
expensive. A processor that is slow just now (shared with other virtual machines, or throttled) takes more seconds for the same
work: what seems too much is held against a short sum of known cost, run at once. A garbage collection is told apart, whichever
callback it fell into. (A loop that waits for ever is the hang watch's.)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

VARIABLE = "MCPWATCH_SLOW_CALLBACK"
MARK = "mcpwatch: slow callback:"
"""How each line that it writes begins."""
TICK = 0.02
"""Seconds between two looks at a loop whose callbacks cannot be measured one by one."""
TERMS, NOMINAL = 20_000, 0.001
"""That sum, and the seconds that it takes on the machine that limits are meant for."""
SUMS = 5
"""Sums of which the median counts."""
Tell = Callable[[str], None]


def asked(environment: Mapping[str, str]) -> tuple[float, str]:
    """The limit in seconds, 0 for none, and the file to tell it in, empty for standard error."""
    words, _, file = environment.get(VARIABLE, "").partition(":")
    with contextlib.suppress(ValueError):
        return max(0.0, float(words or 0.0)), file
    return 0.0, ""


def slowness() -> float:
    """How many times slower the processor is at this moment than the one that limits are meant for; at least 1."""
    seconds: list[float] = []
    for _ in range(SUMS):
        begun = time.thread_time()
        sum(number * number for number in range(TERMS))
        seconds.append(time.thread_time() - begun)
    return max(1.0, sorted(seconds)[SUMS // 2] / NOMINAL)


def exceeds(busy: float, limit: float) -> bool:
    """Whether these seconds of processor are too many, on a processor as slow as it is now."""
    return busy > limit and busy > limit * slowness()


class Collections:
    """Seconds of processor that the garbage collector took, of each thread; tells a collection that takes too long by itself."""

    def __init__(self, limit: float, say: Tell) -> None:
        self._limit = limit
        self._say = say
        self._begun = 0.0
        self._spent: dict[int, float] = {}

    def spent(self) -> float:
        """What it took of this thread so far."""
        return self._spent.get(threading.get_ident(), 0.0)

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        """As a callback of `gc`. Collections never overlap."""
        if phase == "start":
            self._begun = time.thread_time()
            return
        busy = time.thread_time() - self._begun
        self._spent[threading.get_ident()] = self.spent() + busy
        if exceeds(busy, self._limit):
            self._say(f"{MARK} {busy:.3f}s of processor: garbage collection of generation {info['generation']}")


def watch(
    environment: Mapping[str, str] = os.environ, tell: Tell | None = None, counts: Callable[[Any], bool] = lambda _: True
) -> Callable[[], None]:
    """Measure every callback of asyncio's own loops from now on, if the environment asks for it. Returns what undoes it.

    Of callbacks that do not count nothing is told.
    """
    limit, file = asked(environment)
    if not limit:
        return lambda: None
    say = tell or _teller(file)
    handle: Any = asyncio.Handle
    run, collections = handle._run, Collections(limit, say)

    def measured(self: Any) -> None:
        begun, collected = time.thread_time(), collections.spent()
        gc.callbacks.append(collections)  # only now: at the end of a deep recursion elsewhere it could not be called
        try:
            run(self)
        finally:
            gc.callbacks.remove(collections)
        busy = time.thread_time() - begun
        if busy > limit and exceeds(busy := busy - (collections.spent() - collected), limit) and counts(self):
            say(f"{MARK} {busy:.3f}s of processor: {_named(self)}"[:2000])

    handle._run = measured

    def undo() -> None:
        handle._run = run

    return undo


def watch_turns(loop: asyncio.AbstractEventLoop, environment: Mapping[str, str] = os.environ, tell: Tell | None = None) -> None:
    """Measure whole turns of a loop that is not asyncio's own, if the environment asks for it."""
    limit, file = asked(environment)
    if not limit:
        return
    say = tell or _teller(file)
    collections = Collections(limit, say)
    gc.callbacks.append(collections)

    def look(then: float) -> None:
        now = time.thread_time() - collections.spent()
        if exceeds(now - then, limit):
            say(f"{MARK} {now - then:.3f}s of processor: turns of the loop of process {os.getpid()} ({sys.argv[0]})")
        loop.call_later(TICK, look, time.thread_time() - collections.spent())

    look(time.thread_time() - collections.spent())


def _named(handle: Any) -> str:
    """The task that a callback takes a step of, else the callback."""
    task: object = getattr(getattr(handle, "_callback", None), "__self__", None)
    return repr(cast("object", task) if isinstance(task, asyncio.Task) else handle)


def _teller(file: str) -> Tell:
    def say(text: str) -> None:
        if not file:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
            return
        with contextlib.suppress(OSError), open(file, "a", encoding="utf-8") as out:  # noqa: PTH123
            out.write(text + "\n")

    return say
