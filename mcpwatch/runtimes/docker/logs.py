"""The output of a container, copied line by line into the member's log files, stamped by the engine's clock.

Owns: following one stream in a thread, continuing after the last line on disk, so that a restart of mcpwatch loses no line and
writes none twice. Must not know: who reads the files (see `mcpwatch.journal` for their format).
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Literal

from docker.types.daemon import CancellableStream

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.container import nanoseconds
from mcpwatch.runtimes.docker.engine import Engine
from mcpwatch.runtimes.docker.refusal import EngineAway

Stream = Literal["stdout", "stderr"]
ROTATE_BYTES = 10 * 1024**2
KEPT_FILES = 5
LONGEST_LINE = 1024**2
"""Bytes after which a line without an end is cut."""
_TAIL = 256 * 1024
_RETRY_SECONDS = 1.0
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z ?")


class LogFile:
    """One stream of one member on disk: `<stream>.log`, rotated to `<stream>.<first stamp's digits>.log`."""

    def __init__(self, directory: Path, stream: Stream) -> None:
        self._directory = directory
        self._stream = stream
        self.path = directory / f"{stream}.log"

    def position(self) -> tuple[bytes, int]:
        """The stamp of the last line and how many lines carry exactly that stamp; `(b"", 0)` when there is none."""
        rotated = sorted(self._directory.glob(f"{self._stream}.*.log"))
        for path in (self.path, *reversed(rotated)):
            try:
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - _TAIL))
                    lines = file.read().split(b"\n")
            except OSError:
                continue
            stamps = [match[0] for line in lines if (match := _STAMP.match(line))]
            if stamps:
                return stamps[-1].strip(), len(stamps) - next(i for i, stamp in enumerate(stamps) if stamp == stamps[-1])
        return b"", 0

    def append(self, lines: list[bytes]) -> None:
        """Write whole lines, each `<stamp> <text>` without its end."""
        if not lines:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
            size = file.tell()
        if size >= ROTATE_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        with self.path.open("rb") as file:
            first = _STAMP.match(file.readline())
        digits = re.sub(rb"\D", b"", first[0]).decode() if first else "0"
        self.path.rename(self._directory / f"{self._stream}.{digits}.log")
        for old in sorted(self._directory.glob(f"{self._stream}.*.log"))[:-KEPT_FILES]:
            old.unlink(missing_ok=True)


class Follower:
    """Follows one stream of one container to its end, in a thread."""

    def __init__(self, engine: Engine, container: str, file: LogFile, stream: Stream) -> None:
        self._engine = engine
        self._container = container
        self._file = file
        self._stream: Stream = stream
        self._closed = threading.Event()
        self._source: CancellableStream[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name=f"docker-log {container[:12]} {stream}", daemon=True)
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Wait until the ended container's last line is on disk, at most so long; then let go."""
        self._thread.join(seconds)
        self.close()

    def close(self) -> None:
        """Let go of the stream. What was not copied yet is copied by the next follower."""
        self._closed.set()
        source = self._source
        if source is not None:
            try:
                source.close()
            except Exception:  # noqa: BLE001  # the SDK digs for a socket that may just have gone
                self._source = None

    def _follow(self) -> None:
        alive = True
        while not self._closed.is_set():
            was_alive = alive
            try:
                last, seen = self._file.position()
                since = nanoseconds(last.decode()) // 1_000_000_000 if last else 0
                self._source = self._engine.logs(self._container, self._stream, float(since) if since else None)
                self._copy(self._source, last, seen)
            except (EngineAway, OSError):
                was_alive = True  # cut short: whatever it is now, one more pass is needed
            except RuntimeFailed:
                return  # the container was removed
            alive = self._alive()
            if not (alive or was_alive):
                return  # this pass began after its end, so it saw everything
            if alive:
                self._closed.wait(_RETRY_SECONDS)

    def _alive(self) -> bool:
        try:
            found = self._engine.find(self._container)
        except RuntimeFailed:
            return True  # the engine is away, which says nothing of the container
        return found is not None and found.running

    def _copy(self, source: CancellableStream[bytes], last: bytes, seen: int) -> None:
        rest = b""
        for chunk in source:
            stamp = _STAMP.match(chunk) if rest else None  # the engine stamps every piece of a long line
            *lines, rest = (rest + (chunk[stamp.end() :] if stamp else chunk)).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            stamped: list[bytes] = []
            for line in lines:
                at, text = split_stamp(line)
                if at < last or (at == last and seen > 0):
                    seen -= at == last
                    continue
                stamped.append(at + b" " + text)
            self._file.append(stamped)
        at, text = split_stamp(rest)
        if rest and (at > last or (at == last and seen <= 0)):
            self._file.append([at + b" " + text])


def split_stamp(line: bytes) -> tuple[bytes, bytes]:
    """A line of the engine as (stamp with microseconds, text). A line without a stamp gets an empty one."""
    match = _STAMP.match(line)
    if match is None:
        return b"", line.rstrip(b"\r")
    return match[1] + b"." + (match[2] or b"").ljust(6, b"0")[:6] + b"Z", line[match.end() :].rstrip(b"\r")
