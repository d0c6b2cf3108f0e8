"""What the API tells of the machine and of the logs that Loki keeps: for agents that ask why a fleet is slow, or when it began."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcpwatch.clock import Clock
from mcpwatch.model.errors import UsageError
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime, iso
from mcpwatch.telemetry.spec import TelemetrySpec

SINCE = 3600.0
"""Seconds that a search looks back by default."""
LINE_WIDTH = 4000

Body = dict[str, Any]


SEARCHES = 2
"""Searches under way at once: each holds a thread as long as Loki takes."""


def ours(query: str) -> str:
    """A query for what this fleet shipped alone, whatever else the Loki keeps. Raises `UsageError`."""
    text = query.strip()
    if not text.startswith("{"):
        raise UsageError('write one selector and what follows it, e.g. {member="postgres"} |= "error"')
    rest = text[1:].lstrip()
    return '{app="mcpwatch"' + ("" if rest.startswith("}") else ", ") + rest


class Monitoring:
    """Answers for one daemon. `plan` gives the plan of now; `redact` takes the secrets out of a line."""

    def __init__(self, plan: Callable[[], Plan], clock: Clock, root: Path, redact: Callable[[str], str]) -> None:
        self._plan = plan
        self._clock = clock
        self._root = root
        self._redact = redact
        self._searches = 0

    def handlers(self) -> dict[tuple[str, str], Callable[[Body], Awaitable[Any]]]:
        """Method and path to handler."""
        return {("GET", "/system"): self.system, ("GET", "/search"): self.search}

    async def system(self, body: Body) -> Body:  # noqa: ARG002 - the shape of all handlers
        """Load, memory and disk of this machine; `null` for what it does not tell."""
        return await asyncio.to_thread(machine, self._root)

    async def search(self, body: Body) -> Body:
        """Lines that Loki keeps, newest first, by LogQL. Raises `UsageError` without a Loki or for what it refuses."""
        telemetry = self._plan().section("telemetry")
        loki = telemetry.loki if isinstance(telemetry, TelemetrySpec) else None
        if loki is None:
            raise UsageError("no Loki is configured (telemetry.loki); 'logs' has what each member wrote")
        from mcpwatch.telemetry.loki import search

        since = float(body.get("since") or self._clock.wall() - SINCE)
        if self._searches >= SEARCHES:
            raise UsageError(f"{SEARCHES} searches wait for Loki already; try again")
        self._searches += 1
        try:
            found = await asyncio.to_thread(search, loki, ours(str(body["query"])), since, int(body.get("limit", 100)))
        finally:
            self._searches -= 1
        return {"lines": [self._line(*line) for line in found]}

    def _line(self, at: float, labels: dict[str, str], text: str) -> Body:
        shown = {name: self._redact(value) for name, value in labels.items()}
        return {"time": iso(WallTime(at)), "labels": shown, "text": self._redact(text)[:LINE_WIDTH]}


def machine(root: Path) -> Body:
    """Load, memory and the disk below `root`, in bytes."""
    memory = _memory()
    disk = shutil.disk_usage(root)
    return {
        "cpus": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "memory": {"total": memory.get("MemTotal"), "available": memory.get("MemAvailable"), "swap_free": memory.get("SwapFree")},
        "disk": {"total": disk.total, "free": disk.free},
    }


def _memory() -> dict[str, int]:
    """`/proc/meminfo` in bytes; empty where there is none."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return {}
    rows = (line.partition(":") for line in text.splitlines())
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in rows if rest.split()}
