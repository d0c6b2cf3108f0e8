"""How the shipping of logs goes, as data: what the shipper knows and metrics show."""

from __future__ import annotations

from dataclasses import dataclass

from mcpwatch.model.time import WallTime


@dataclass(frozen=True, slots=True)
class Shipping:
    """What the shipper has done since it started, and what is left. `error` is empty while Loki takes what we send."""

    sent: int = 0
    rejected: int = 0
    dropped: tuple[tuple[str, int], ...] = (("too_old", 0), ("spool_full", 0), ("unwritable", 0))
    lost_bytes: int = 0
    pushes: tuple[tuple[str, int], ...] = (("204", 0), ("429", 0), ("500", 0), ("none", 0))
    backlog_bytes: int = 0
    oldest: WallTime | None = None
    dead_bytes: int = 0
    error: str = ""
