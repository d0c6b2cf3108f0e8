"""Work on foreign files off the event loop: with a deadline, one piece at a time per file, in few threads. Shell.

A thread cannot be ended. One that is late is left to itself, and its file is left alone until it comes back; what it would write
after the deadline it does not write (`sync.Job.deadline`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from mcpwatch.model.errors import ClientFileError

T = TypeVar("T")
LATE = 35.0
"""Seconds after which a piece of work is given up: more than `writer.LONGEST`, so that a piece that can end itself does."""
MOST = 4


class Threads:
    """Runs pieces of work for one daemon."""

    def __init__(self, late: float = LATE) -> None:
        self._late = late
        self._limiter: anyio.CapacityLimiter | None = None
        self._busy: set[str] = set()

    async def run(self, name: str, work: Callable[[], T]) -> T:
        """The result of `work`. Raises `ClientFileError` when it, or an earlier piece for `name`, is late, and what it raises."""
        if name in self._busy:
            raise ClientFileError(f"{name}: is still being read since an earlier look; left alone")
        self._busy.add(name)

        def piece() -> T:
            try:
                return work()
            finally:
                self._busy.discard(name)

        self._limiter = self._limiter or anyio.CapacityLimiter(MOST)
        with anyio.move_on_after(self._late):
            return await anyio.to_thread.run_sync(piece, abandon_on_cancel=True, limiter=self._limiter)
        raise ClientFileError(f"{name}: could not be read and edited within {self._late:g} s; left alone")
