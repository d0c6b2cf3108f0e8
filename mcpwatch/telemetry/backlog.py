"""What waits for Loki, read from disk alone, so that it can be asked with or without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcpwatch.model.time import WallTime, iso
from mcpwatch.telemetry.segments import STAMP_WIDTH, Position, SegmentSource, Stamps, backlog, segments, sources
from mcpwatch.telemetry.spool import OWN, SPOOL, DeadLetters, saved_positions


def spool_status(state: Path) -> dict[str, Any]:
    """What `mcpwatch logs --spool` shows, read from disk alone: backlog by source, oldest unshipped line, dead letters.

    Shape: `{"shipped": whether a shipper ever ran here, "sources": [{"member", "stream", "bytes", "oldest"}], "bytes", "oldest",
    "dead_letters": {"files", "bytes", "newest"}}`.
    """
    directory = state / SPOOL
    positions, stamps = saved_positions(directory), Stamps()
    own = SegmentSource("mcpwatch", OWN, directory / OWN)
    shown: list[dict[str, object]] = []
    total, first = 0, None
    for source in (*sources(state), own):
        position = positions.get(source.key)
        size = backlog(source, position)
        since = oldest_line(source, position, stamps) if size else None
        first = since if first is None else min(first, since or first)
        total += size
        shown.append({"member": source.member, "stream": source.stream, "bytes": size, "oldest": iso(since) if since else None})
    dead = DeadLetters(directory, 0).files()
    letters = {
        "files": len(dead),
        "bytes": sum(size for _, size in dead),
        "newest": str(dead[-1][0]) if dead else None,
    }
    return {
        "shipped": directory.is_dir(),
        "sources": shown,
        "bytes": total,
        "oldest": iso(first) if first else None,
        "dead_letters": letters,
    }


def oldest_line(source: SegmentSource, position: Position | None, stamps: Stamps) -> WallTime:
    """When the oldest unshipped line was written; needs one."""
    for segment in segments(source):
        if position is None or segment.id > position.segment:
            return _at(segment.path, 0, stamps)
        if segment.id == position.segment and segment.size > position.offset:
            return _at(segment.path, position.offset, stamps)
    return WallTime(0.0)


def _at(path: Path, offset: int, stamps: Stamps) -> WallTime:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return WallTime((stamps(file.read(STAMP_WIDTH)) or 0) / 1e9)
    except OSError:
        return WallTime(0.0)
