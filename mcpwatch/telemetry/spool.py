"""What is durable of the shipping: our own records in a small spool, the saved positions, the dead letters.

Layout under `<state>/spool/`: `positions.json`, `own/own.log` (and rotated segments, in the form of member logs, each
line JSON), `dead/*.json.gz`. Everything is 0600. What has been appended survives SIGKILL.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from mcpwatch import journal
from mcpwatch.model.time import WallTime
from mcpwatch.telemetry.segments import Position, Segment, SegmentSource, segments

SEGMENT_BYTES = 4 << 20
OWN = "own"
SPOOL = "spool"
"""The directory below the state directory."""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class OwnSpool:
    """Records and facts of mcpwatch itself, waiting. Safe for threads; appending never raises and is one write."""

    def __init__(self, state: Path, wall: Callable[[], WallTime]) -> None:
        self.source = SegmentSource("mcpwatch", OWN, state / SPOOL / OWN)
        self.source.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._live = self.source.directory / f"{OWN}.log"
        self._wall = wall
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._last = self._last_stamp()
        self.on_line: Callable[[], None] = lambda: None
        """Called, in whatever thread appends, after every line."""
        self.failed = 0
        """Lines that could not be written (disk full …)."""

    def append(self, member: str, stream: str, line: str, metadata: Mapping[str, str]) -> None:
        """Keep one line until Loki has it."""
        text = json.dumps({"m": member, "s": stream, "l": line, "d": dict(metadata)}, ensure_ascii=False)
        with self._lock:
            try:
                self._write(text)
            except OSError:
                self.failed += 1
        self.on_line()

    def trim(self, position: Position | None, limit: int) -> int:
        """Delete what is shipped, then the oldest beyond `limit` bytes; how many unshipped lines that dropped."""
        with self._lock:
            found = segments(self.source)
            rotated = [segment for segment in found if segment.path != self._live]
            total = sum(segment.size for segment in found)
            dropped = 0
            for segment in rotated:
                shipped = position is not None and (
                    segment.id < position.segment or (segment.id == position.segment and position.offset >= segment.size)
                )
                if not shipped and total <= limit:
                    break
                if not shipped:
                    dropped += _lines(segment, position)
                segment.path.unlink(missing_ok=True)
                total -= segment.size
            return dropped

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            self._close()

    def _write(self, text: str) -> None:
        now = round(self._wall() * 1_000_000)
        self._last = now if now > self._last else self._last + 1
        data = f"{journal.stamp(self._last / 1_000_000)} {text}\n".encode("utf-8", "replace")
        if self._fd < 0:
            self._fd = _open(str(self._live), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            self._size = self._mend()
        if self._size and self._size + len(data) > SEGMENT_BYTES:
            self._rotate()
        written = os.write(self._fd, data)
        self._size += written
        if written < len(data):
            self._close()
            raise OSError(28, "short write")

    def _mend(self) -> int:
        """Cut a line off that an earlier, killed writer left without its end; the size left."""
        data = self._live.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        return whole

    def _rotate(self) -> None:
        self._close()
        with self._live.open("rb") as file:
            first = file.read(journal.STAMP).decode("ascii", "replace")
        self._live.rename(self._live.with_name(journal.rotated_name(OWN, first)))
        self._fd = _open(str(self._live), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._size = 0

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _last_stamp(self) -> int:
        """The newest stamp on disk in µs, so that time never steps back over a restart."""
        found = segments(self.source)
        if not found:
            return 0
        with found[-1].path.open("rb") as file:
            file.seek(max(0, found[-1].size - (1 << 20)))
            for line in reversed(file.read().split(b"\n")):
                if (at := journal.unstamp(line)) is not None:
                    return round(at * 1_000_000)
        return 0


def _lines(segment: Segment, position: Position | None) -> int:
    data = segment.path.read_bytes()
    return data[position.offset if position and position.segment == segment.id else 0 :].count(b"\n")


class Positions:
    """How far each source has been taken. Saved by rename, so that it is never half a file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "positions.json"
        self.of: dict[str, Position] = saved_positions(directory)
        if not self.of and self._path.exists():
            self._path.replace(self._path.with_suffix(".broken"))

    def save(self, changed: Mapping[str, Position], gone: set[str] | frozenset[str] = frozenset()) -> None:
        """Move on, durably. Raises `OSError` when the disk does not take it."""
        self.of = {key: position for key, position in {**self.of, **changed}.items() if key not in gone}
        new = self._path.with_suffix(".new")
        text = json.dumps({"version": 1, "positions": {key: asdict(position) for key, position in self.of.items()}})
        with open(new, "w", encoding="utf-8", opener=_open) as file:
            file.write(text)
            file.flush()
            os.fdatasync(file.fileno())
        new.replace(self._path)


def saved_positions(directory: Path) -> dict[str, Position]:
    """The positions as saved; none when the file is not there or cannot be read."""
    try:
        document = cast("dict[str, Any]", json.loads((directory / "positions.json").read_text(encoding="utf-8")))
        return {key: Position(**value) for key, value in document["positions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


class DeadLetters:
    """What Loki refused for good: one file a batch, with the reason. The oldest go when there are too many."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory / "dead"
        self._limit = limit
        self.size = sum(size for _, size in self.files())

    def files(self) -> list[tuple[Path, int]]:
        """The letters, oldest first, with their size."""
        try:
            return [(path, path.stat().st_size) for path in sorted(self._directory.glob("*.json.gz"))]
        except FileNotFoundError:
            return []

    def write(self, name: str, body: bytes, reason: Mapping[str, object]) -> None:
        """Keep one; written again under the same name it replaces itself. Raises `OSError` when the disk does not take it."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = gzip.compress(b'{"refused":%s,"sent":%s}' % (json.dumps(dict(reason)).encode(), body), 6, mtime=0)
        new = self._directory / f".{name}.new"
        with open(new, "wb", opener=_open) as file:
            file.write(data)
        new.replace(self._directory / f"{name}.json.gz")
        files = self.files()
        self.size = sum(size for _, size in files)
        for path, size in files[:-1]:
            if self.size <= self._limit:
                break
            path.unlink(missing_ok=True)
            self.size -= size
