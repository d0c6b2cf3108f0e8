"""The last known status on disk, so that `status` without a daemon has something to show."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from mcpwatch.app.files import write_atomically
from mcpwatch.bus import Bus
from mcpwatch.model.fact import Fact, MemberChanged, RouteChanged
from mcpwatch.model.json import status_json
from mcpwatch.ports import SupervisedFleet

STATUS_EVERY = 5.0
"""Seconds between writes, at most, and only after a change."""
SHARE = 20.0
"""A pause is so many times as long as the last write, where that is longer: what a large fleet costs stays a small share."""
LONGEST = 60.0
"""Seconds of the longest pause: a disk that stood still once must not leave an old status behind for long."""


class StatusFile:
    """Keeps `path` up to date with the view of the fleet."""

    def __init__(self, fleet: SupervisedFleet, path: Path, bus: Bus) -> None:
        self._fleet = fleet
        self._path = path
        self._changed = asyncio.Event()  # no queue: many changes are one, and none of them is lost
        bus.hook(self._notice)

    async def run(self) -> None:
        """Write soon after each change, until cancelled."""
        pause, loop = STATUS_EVERY, asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            await asyncio.sleep(pause)
            self._changed.clear()
            began = loop.time()
            await self.write()
            pause = min(LONGEST, max(STATUS_EVERY, SHARE * (loop.time() - began)))

    async def write(self) -> None:
        """Write it now; a disk that refuses is told by others."""
        view = self._fleet.view()

        def store() -> None:
            write_atomically(self._path, json.dumps(status_json(view), ensure_ascii=False), 0o600)

        with contextlib.suppress(OSError):
            await asyncio.to_thread(store)

    def _notice(self, fact: Fact) -> None:
        if isinstance(fact, (MemberChanged, RouteChanged)):
            self._changed.set()
