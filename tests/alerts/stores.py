"""A store in memory that can be killed: what was flushed survives, what was only remembered does not."""

from __future__ import annotations

from mcpwatch.model.fact import Fact
from mcpwatch.model.time import WallTime


class MemoryStore:
    """`ports.Store` for tests. `disk` is what a crash leaves."""

    def __init__(self, disk: dict[str, dict[str, str]] | None = None) -> None:
        self.disk = disk if disk is not None else {}
        self._small = {room: dict(values) for room, values in self.disk.items()}
        self.flushes = 0

    def record(self, fact: Fact) -> None: ...

    def remember(self, room: str, key: str, value: str | None) -> None:
        values = self._small.setdefault(room, {})
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value

    def recall(self, room: str) -> dict[str, str]:
        return dict(self._small.get(room, {}))

    async def facts(
        self, *, since: WallTime | None = None, limit: int = 1000, member: str | None = None
    ) -> list[dict[str, object]]:
        return []

    async def flush(self) -> None:
        self.flushes += 1
        self.write()

    def write(self) -> None:
        """What the writer thread does sooner or later."""
        self.disk.update({room: dict(values) for room, values in self._small.items()})
