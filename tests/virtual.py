"""An event loop whose time is a number: waiting costs nothing, and every wait that ran out is counted.

For what must be exact to the second over hours, and for what must not wake up at all. It waits for no thread: what others do in
one is done at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from mcpwatch.model.time import Instant, WallTime

EPOCH = 1_800_000_000.0
"""Wall time at which every virtual loop begins."""


class _Selector(selectors.DefaultSelector):
    """Never blocks: time jumps instead."""

    elapsed = 0.0
    naps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        assert timeout is not None, "everything waits for ever"
        self.elapsed += timeout
        self.naps += 1
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Give it to `run`; `clock` is what the code under test reads."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.elapsed

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run it now, in no time."""
        del executor
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            done.set_exception(error)
        return done

    def spend(self, seconds: float) -> None:
        """Time passes while something runs."""
        self._virtual.elapsed += seconds

    @property
    def naps(self) -> int:
        """How often the loop slept until a deadline."""
        return self._virtual.naps


class VirtualClock:
    """`clock.Clock` on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> Instant:
        return Instant(self._loop.time())

    def wall(self) -> WallTime:
        return WallTime(EPOCH + self._loop.time())


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> list[Any]:
    """Cancel what still runs, and wait for it; what each came to: a value or an exception."""
    living = tuple(tasks)
    for task in living:
        task.cancel()
    return await asyncio.gather(*living, return_exceptions=True)


def run(play: Callable[[VirtualLoop, VirtualClock], Coroutine[Any, Any, None]]) -> None:
    """Run `play` to its end in virtual time."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(play(loop, VirtualClock(loop)))
    finally:
        loop.close()
