"""The output of a container, copied line by line into the member's journal, stamped by the engine's clock.

Owns: following one stream in a thread and continuing exactly where the last watchdog stopped, however it stopped: no line is lost,
none is written twice. Must not know: who reads the journal. Its format is that of `mcpwatch.journal`: stamps with microseconds,
strictly rising, files rotated to the name of their first stamp.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from docker.types.daemon import CancellableStream

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.docker.container import nanoseconds
from mcpwatch.runtimes.docker.engine import BROKEN
from mcpwatch.runtimes.docker.refusal import EngineAway

StreamName = Literal["stdout", "stderr"]
ROTATE_BYTES = 10 * 1024**2
KEPT_FILES = 5
LONGEST_LINE = 64 * 1024
"""Bytes of text after which a line is cut into parts."""
_RETRY_SECONDS = 1.0
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z) ?")

LogStream: TypeAlias = "CancellableStream[bytes]"
Entry = tuple[int, bytes]
"""A line as the engine has it: nanoseconds since the epoch, text."""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """How far a stream was copied: stamp of the last line, how many lines had that stamp, and the log file that this made."""

    at: int = 0
    same: int = 0
    inode: int = 0
    size: int = 0
    last: int = 0
    """Microseconds of the last stamp written; may be later than `at`, because stamps must rise."""


class LogFile:
    """One stream of one member on disk. Lines are appended first, the cursor after; `resume` makes up for a death in between."""

    def __init__(self, directory: Path, stream: StreamName) -> None:
        self.path = directory / f"{stream}.log"
        self._directory = directory
        self._stream = stream
        self._note = directory / f"{stream}.engine"
        self._cursor = LogCursor()
        self._from = 0
        self._same = 0
        self._beyond = 0

    def resume(self) -> int:
        """Find the place to go on from; returns the second to ask the engine from (0: everything)."""
        try:
            self._cursor = LogCursor(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError):
            self._cursor = LogCursor()
        try:
            with self.path.open("rb") as file:
                known = self._cursor.size if os.fstat(file.fileno()).st_ino == self._cursor.inode else 0
                file.seek(known)
                beyond = [line for line in file.read().split(b"\n") if line]
        except OSError:
            beyond = []
        self._from, self._same, self._beyond = self._cursor.at, self._cursor.same, len(beyond)
        return self._cursor.at // 1_000_000_000

    def add(self, entries: list[Entry]) -> None:
        """Write what is new of these lines of the engine, in its order."""
        fresh: list[Entry] = []
        for at, text in entries:
            if at < self._from:
                continue
            if at == self._from and self._same > 0:
                self._same -= 1
            elif self._beyond > 0:
                self._beyond -= 1
            else:
                fresh.append((at, text))
        if fresh:
            self._append(fresh)

    def _append(self, entries: list[Entry]) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rotate()
        last, lines = self._cursor.last, list[bytes]()
        for at, text in entries:
            for part in _parts(text):
                last = max(at // 1000, last + 1)
                lines.append(stamp(last) + b" " + part + b"\n")
        with self.path.open("ab") as file:
            file.write(b"".join(lines))
            file.flush()
            inode, size = os.fstat(file.fileno()).st_ino, file.tell()
        at = entries[-1][0]
        same = sum(1 for entry in entries if entry[0] == at) + (self._cursor.same if at == self._cursor.at else 0)
        self._cursor = LogCursor(at, same, inode, size, last)
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self._cursor)), encoding="utf-8")
        fresh.replace(self._note)

    def _rotate(self) -> None:
        if self._cursor.size < ROTATE_BYTES:
            return
        with self.path.open("rb") as file:
            digits = re.sub(rb"\D", b"", file.read(27)).decode()
        self.path.rename(self._directory / f"{self._stream}.{digits}.log")
        for old in sorted(self._directory.glob(f"{self._stream}.*.log"))[:-KEPT_FILES]:
            old.unlink(missing_ok=True)


class LogSource(Protocol):
    """What has the output: an engine, or a swarm. Blocking; raises `RuntimeFailed`."""

    def logs(self, container: str, stream: str, since: float | None) -> LogStream:
        """Stamped output of one stream of `container` from `since` (seconds since the epoch) on."""
        ...

    def runs(self, container: str) -> bool:
        """Whether it may still write."""
        ...


class ContainerLogFollower:
    """Follows one stream of one container to its end, in a thread."""

    def __init__(self, engine: LogSource, container: str, file: LogFile, stream: StreamName) -> None:
        self._engine = engine
        self._container = container
        self._file = file
        self._stream: StreamName = stream
        self._closed = threading.Event()
        self._source: CancellableStream[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name=f"docker-log {container[:12]} {stream}", daemon=True)
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Wait until the ended container's last line is on disk, at most so long; then let go."""
        self.ended(seconds)
        self.close()

    def ended(self, seconds: float) -> None:
        """Wait until the ended container's last line is on disk, at most so long."""
        self._thread.join(max(0.0, seconds))

    def close(self) -> None:
        """Let go of the stream. What was not copied yet is copied by the next follower."""
        self._closed.set()
        source = self._source
        if source is not None:
            try:
                source.close()
            except Exception:  # noqa: BLE001  # the SDK digs for a socket that may just have gone
                self._source = None
        if self._thread is not threading.current_thread():
            self._thread.join(_RETRY_SECONDS)

    def _follow(self) -> None:
        alive = True
        while not self._closed.is_set():
            was_alive = alive
            try:
                since = self._file.resume()
                self._source = self._engine.logs(self._container, self._stream, float(since) if since else None)
                self._copy(self._source)
            except (EngineAway, *BROKEN):
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
            return self._engine.runs(self._container)
        except RuntimeFailed:
            return True  # the engine is away, which says nothing of the container

    def _copy(self, source: CancellableStream[bytes]) -> None:
        rest = b""
        for chunk in source:
            if self._closed.is_set():
                return
            again = _STAMP.match(chunk) if rest else None  # the engine stamps every piece of a long line
            *lines, rest = (rest + (chunk[again.end() :] if again else chunk)).split(b"\n")
            self._file.add([split(line) for line in lines])
        if rest and not self._closed.is_set():
            self._file.add([split(rest)])


def read_out(followers: Iterable[ContainerLogFollower], seconds: float) -> None:
    """Wait until all of an ended container was copied, at most so long. Blocking."""
    until = time.monotonic() + seconds
    for follower in followers:
        follower.ended(until - time.monotonic())


def split(line: bytes) -> Entry:
    """A line of the engine as its time and text. One without a stamp is as old as can be."""
    match = _STAMP.match(line)
    if match is None:
        return 0, line.rstrip(b"\r")
    return nanoseconds(match[1].decode()), line[match.end() :].rstrip(b"\r")


def stamp(microseconds: int) -> bytes:
    """A stamp as the journal writes it."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{rest:06d}Z").encode()


def _parts(text: bytes) -> list[bytes]:
    if len(text) <= LONGEST_LINE:
        return [text]
    pieces = [text[at : at + LONGEST_LINE] for at in range(0, len(text), LONGEST_LINE)]
    return [*(piece + b" [continues]" for piece in pieces[:-1]), pieces[-1]]
