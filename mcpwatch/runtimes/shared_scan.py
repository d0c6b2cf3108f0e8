"""One look at the process table for all who ask in the same moment; beside the loop where the machine is crowded.

Owns the thread that looks, and what follows where the table cannot be read. Must not know members or trees.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable, ProcUnreadable

SHARE = 0.005
"""Seconds for which those who want a fresh scan wait for each other, so that a hundred stops cost one scan."""
TRIES, TRY_AGAIN = 60, 0.05
"""Times, and seconds between them, that a table which cannot be read is tried again: descriptors may be short."""


class SharedScan:
    """Scans for whoever waits, one after the other, in a thread of its own: no other work, however long, keeps a stop waiting."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table
        self._thread: ThreadPoolExecutor | None = None
        self._asked: asyncio.Future[ProcessSnapshot] | None = None
        self._scanning: asyncio.Task[None] | None = None

    async def look(self) -> ProcessSnapshot:
        """A snapshot that was begun after this call, shared with everyone who asks in the same few milliseconds.

        A table that cannot be read is tried again and again; raises `ProcUnreadable` after the last time. What else fails is raised
        at once.
        """
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
        if self._scanning is None or self._scanning.done():
            self._scanning = asyncio.get_running_loop().create_task(self._scan(), name="process scan")
        return await asyncio.shield(self._asked)

    async def take(self) -> ProcessSnapshot:
        """One scan at once, for the caller alone. Raises `ProcUnreadable`."""
        if self._table.light:
            return self._table.scan()
        try:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="mcpwatch-scan")
            scan = asyncio.get_running_loop().run_in_executor(self._thread, self._table.scan)
        except RuntimeError:  # the machine has no thread to give: better a loop that waits than a member that is not stopped
            self._end_thread()
            return self._table.scan()
        return await scan

    def close(self) -> None:
        """Scan no more; whoever still waits is cancelled."""
        if self._scanning is not None:
            self._scanning.cancel()
        if self._asked is not None:
            self._asked.cancel()  # a task that was not begun yet does not do so
            self._asked = None
        self._end_thread()

    async def _scan(self) -> None:
        """Scan until nobody waits."""
        asked: asyncio.Future[ProcessSnapshot] | None = None
        try:
            while self._asked is not None:
                await asyncio.sleep(SHARE)
                asked, self._asked = self._asked, None
                try:
                    found = await self._read()
                except Exception as error:  # noqa: BLE001 - whoever waits is told
                    asked.set_exception(error)
                else:
                    asked.set_result(found)
        finally:
            if asked is not None:
                asked.cancel()

    async def _read(self) -> ProcessSnapshot:
        for _ in range(TRIES):
            try:
                return await self.take()
            except ProcUnreadable:
                await asyncio.sleep(TRY_AGAIN)
        return await self.take()

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
