"""One stream of one member: raw bytes in, stamped lines out, rotated by size and age. All of it blocking, all of it restartable.

Knows files and time, not members, inotify or the loop. See `log_collector` for how "exactly once" is kept.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mcpwatch import journal
from mcpwatch.clock import SystemClock
from mcpwatch.journal import BITE, StampCursor
from mcpwatch.runtimes.kernel import punch_hole

GRAIN = 4096
"""Holes are punched on this grain, and never over the last byte taken: the next start reads whether it ended a line."""
ROOM = 1 << 20
"""Bytes that a raw file may hold where holes cannot be punched: cutting it can lose a line just being written, so it is rare."""
FLOOD = 32 << 20
"""Bytes of output not stamped yet beyond which lines are dropped, counted: the member writes faster than lines can be kept."""
SKIP = 32 << 20
"""Bytes that are counted and dropped in one go."""
MICRO = 1e-6
CLOCK_SET = 60.0
"""Seconds by which the wall clock may go beside the one that cannot be set and still be steady."""


def _boot() -> float:
    return SystemClock().now()


@dataclass(frozen=True, slots=True)
class RotationLimits:
    """When a log file is rotated, and how much is kept: bytes, seconds, files of each stream, seconds."""

    max_bytes: int = 10 << 20
    max_age: float = 24 * 3600.0
    keep: int = 10
    keep_age: float = 30 * 24 * 3600.0


class LoggingFailed(Exception):
    """Logging cannot go on for now; the message says why and what to do."""


class LogStamper:
    """The raw file, log files and cursor of one stream. `bite` brings the log on."""

    def __init__(
        self, folder: Path, name: str, limits: RotationLimits, *, holes: bool = True, boot: Callable[[], float] = _boot
    ) -> None:
        """`boot` tells seconds on a clock that cannot be set."""
        self._boot = boot
        self._clocks: tuple[float, float] | None = None
        """The wall clock and the boot clock when lines were stamped last."""
        self._ages_from = 0.0
        """On the boot clock: before, the times of files are those of a wall clock that was set since."""
        self._folder = folder
        self._name = name
        self.limits = limits
        self._raw: int | None = None
        self._log: int | None = None
        self._cursor_fd: int | None = None
        self._cursor = StampCursor()
        self._first: float | None = None
        self._last = 0.0
        self._dropped = 0
        self._why_dropped = ""
        self.flooded = 0
        """Lines dropped in the flood that lasts now; 0 when there is none."""
        self.remade = False
        """Whether the log was missing and made again since this was last set to false: its folder may be another one now."""
        self._caught_up = False
        """Whether everything was stamped once: what lies there from before is the backlog of a time without a watchdog."""
        self._punched = 0
        self._holes = holes

    def bite(self, now: float, *, drop: bool = False) -> bool:
        """Stamp the next lines, or `drop` them to make room. True when there may be more to do. Raises `LoggingFailed`."""
        try:
            if self._raw is None:
                self._open()
            assert self._raw is not None
            self._follow_raw()
            self._follow_log()
            size = os.fstat(self._raw).st_size
            if size <= self._cursor.offset:
                self._caught_up, self.flooded = True, 0
                return False
            if size - self._cursor.offset > self._most:
                self._skip(size)
                self._free_raw()
                return True
            data = os.pread(self._raw, BITE, self._cursor.offset)
            lines = journal.cut(data)
            if not lines:
                return False
            if drop:
                self._drop(lines)
            else:
                self._tell_dropped(now)
                self._stamp(lines, now)
            self._free_raw()
            if self._cursor.offset >= size:
                self._caught_up, self.flooded = True, 0
            return size > self._cursor.offset and len(data) == BITE
        except OSError as error:
            raise LoggingFailed(self._words(error)) from error

    @property
    def is_open(self) -> bool:
        """Whether it holds files open."""
        return self._raw is not None

    @property
    def _most(self) -> int:
        """Bytes that may wait to be stamped; after a time without a watchdog, as many as the log itself would keep."""
        return FLOOD if self._caught_up else max(FLOOD, self.limits.max_bytes * (self.limits.keep + 1))

    def close(self) -> None:
        """Close the files; the next bite opens them again."""
        for fd in (self._raw, self._log, self._cursor_fd):
            if fd is not None:
                os.close(fd)
        self._raw = self._log = self._cursor_fd = None

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cursor_fd = self._cursor_fd or os.open(self._path("cursor"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open_log()
        raw = os.open(self._path("raw"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take_up(raw)
        except BaseException:
            os.close(raw)
            raise
        self._raw = raw
        self._save()

    def _take_up(self, raw: int) -> None:
        """Set the cursor: where the last collector stood, or where the raw file begins."""
        assert self._log is not None
        known = journal.read_cursor(self._path("cursor"))
        inode, log = os.fstat(raw).st_ino, os.fstat(self._log)
        if known is None or known.raw != inode:
            self._cursor = StampCursor(inode, journal.first_data(raw), log.st_ino, log.st_size)
        elif known.reaches_into(log):
            self._cursor = self._recover(raw, known)
        else:  # nothing of the raw file was in flight
            self._cursor = replace(known, log=log.st_ino, size=log.st_size, note=False)

    def _recover(self, raw: int, known: StampCursor) -> StampCursor:
        """Lines reached the log and the cursor did not: skip as many raw ones. A torn last line is taken back."""
        assert self._log is not None
        ahead = journal.in_flight(self._log, known)
        reach = known.size + len(ahead)
        os.ftruncate(self._log, reach)
        return replace(known, offset=journal.past(raw, known.offset, ahead.count(b"\n")), size=reach)

    def _open_log(self) -> None:
        old, self._log = self._log, None
        if old is not None:
            os.close(old)
        self._log = os.open(self._path("log"), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        head = os.pread(self._log, journal.STAMP, 0)
        self._first = journal.unstamp(head) if head else None
        newest = journal.newest(self._folder.parent.parent, self._folder.name, self._name)
        self._last = max(self._last, newest or 0.0)

    def _follow_raw(self) -> None:
        """A raw file that was replaced or cut short is read from its beginning."""
        assert self._raw is not None
        here = os.fstat(self._raw)
        try:
            there = self._path("raw").stat().st_ino
        except OSError:
            there = here.st_ino
        if there != here.st_ino and here.st_size <= self._cursor.offset:
            os.close(self._raw)
            self._raw = os.open(self._path("raw"), os.O_RDWR | os.O_CLOEXEC)
            self._cursor, self._punched = replace(self._cursor, raw=os.fstat(self._raw).st_ino, offset=0), 0
            self._save()
        elif here.st_size < self._cursor.offset:
            self._cursor, self._punched = replace(self._cursor, offset=0), 0
            self._save()

    def _follow_log(self) -> None:
        """A log or cursor that somebody removed is made again, and so is one that could not be opened after a rotation."""
        if self._log is None or os.fstat(self._log).st_nlink == 0:
            self.remade = True
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_log()
            assert self._log is not None
            log = os.fstat(self._log)
            self._cursor = replace(self._cursor, log=log.st_ino, size=log.st_size, note=False)
            self._save()
        if self._cursor_fd is None or os.fstat(self._cursor_fd).st_nlink == 0:
            old, self._cursor_fd = self._cursor_fd, None
            if old is not None:
                os.close(old)
            self._cursor_fd = os.open(self._path("cursor"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._save()

    def _stamp(self, lines: list[tuple[int, bytes]], now: float) -> None:
        """Append the lines, then move the cursor; rotate when that is due."""
        ages = self._knows_ages(now)
        at = self._next(now)
        block = _block(at, [text for _, text in lines])
        written, error = self._append(block)
        if error:
            # Whole lines that arrived before the disk was full have been seen by readers: they stay.
            lines = lines[: block.count(b"\n", 0, written)]
        if lines:
            self._first = self._first or at
            self._last = at + (len(lines) - 1) * MICRO
            used = sum(size for size, _ in lines)
            self._cursor = replace(self._cursor, offset=self._cursor.offset + used, size=self._cursor.size + written)
            self._save()
        if error:
            raise error
        if self._cursor.size >= self.limits.max_bytes or now - (self._first or at) >= self.limits.max_age:
            self._rotate(now, ages=ages)

    def _knows_ages(self, now: float) -> bool:
        """Whether the age of a file can be told: not before the clock has run steadily for a while, nor soon after it was set."""
        before, boot = self._clocks, self._boot()
        self._clocks = now, boot
        if before is not None and abs((now - before[0]) - (boot - before[1])) > CLOCK_SET:
            self._ages_from = boot + self.limits.keep_age
        return before is not None and boot >= self._ages_from

    def _next(self, now: float) -> float:
        """The next stamp: whole microseconds, later than the last one whatever the clock does."""
        return max(round(now / MICRO), round(self._last / MICRO) + 1) * MICRO

    def _append(self, block: bytes) -> tuple[int, OSError | None]:
        """How many bytes of the block stand in the log now, whole lines all of them, and why it is not the whole block."""
        assert self._log is not None
        at = 0
        try:
            while at < len(block):
                at += os.write(self._log, block[at:])
        except OSError as error:
            at = block.rfind(b"\n", 0, at) + 1
            os.ftruncate(self._log, self._cursor.size + at)
            return at, error
        return at, None

    def _skip(self, size: int) -> None:
        """Count and drop what came too fast, so that half of what may wait is left; never more than `SKIP` in one go."""
        assert self._raw is not None
        until = min(size - self._most // 2, self._cursor.offset + SKIP)
        at = self._cursor.offset
        lines = 0
        while at < until and (data := os.pread(self._raw, BITE, at)):
            used = data.rfind(b"\n") + 1 or len(data)
            lines += data.count(b"\n")
            at += used
        self._dropped += lines
        self.flooded += lines
        self._why_dropped = "they came faster than they can be kept"
        self._cursor = replace(self._cursor, offset=at)
        self._save()
        if not self._holes:  # the only way to give the space back: what arrives in this moment is lost too
            os.ftruncate(self._raw, 0)
            self._cursor = replace(self._cursor, offset=0)
            self._save()

    def _drop(self, lines: list[tuple[int, bytes]]) -> None:
        used = sum(size for size, _ in lines)
        self._dropped += len(lines)
        self._why_dropped = "the disk was full"
        self._cursor = replace(self._cursor, offset=self._cursor.offset + used)
        self._save()

    def _tell_dropped(self, now: float) -> None:
        """Say in the log itself what is missing from it."""
        if not self._dropped:
            return
        self._cursor = replace(self._cursor, note=True)
        self._save()
        at = self._next(now)
        block = f"{journal.stamp(at)} [mcpwatch: {self._dropped} lines were not logged, {self._why_dropped}]\n".encode()
        _, error = self._append(block)
        if error:
            raise error
        self._last, self._dropped = at, 0
        self._first = self._first or at
        self._cursor = replace(self._cursor, size=self._cursor.size + len(block), note=False)
        self._save()

    def _rotate(self, now: float, *, ages: bool) -> None:
        """Give the file its name for good and begin another; then drop what is too many and, where `ages` are known, too old."""
        assert self._log is not None
        assert self._first is not None
        first = os.pread(self._log, journal.STAMP, 0).decode("ascii", "replace")
        self._path("log").rename(self._folder / journal.rotated_name(self._name, first))
        self._first = None
        self._open_log()
        assert self._log is not None
        self._cursor = replace(self._cursor, log=os.fstat(self._log).st_ino, size=0)
        self._save()
        old = journal.files(self._folder, self._name)[:-1]
        for path in old[: max(0, len(old) - self.limits.keep)]:
            path.unlink(missing_ok=True)
        for path in old if ages else ():
            if path.exists() and now - path.stat().st_mtime > self.limits.keep_age:
                path.unlink(missing_ok=True)

    def _free_raw(self) -> None:
        """Give the stamped range back to the disk; without holes, cut a raw file that is wholly stamped."""
        assert self._raw is not None
        until = (self._cursor.offset - 1) // GRAIN * GRAIN
        if until <= self._punched:
            return
        if self._holes and punch_hole(self._raw, self._punched, until - self._punched):
            self._punched = until
        elif until >= ROOM and os.fstat(self._raw).st_size == self._cursor.offset:
            os.ftruncate(self._raw, 0)
            self._cursor = replace(self._cursor, offset=0)
            self._save()

    def _save(self) -> None:
        assert self._cursor_fd is not None
        os.pwrite(self._cursor_fd, journal.cursor_bytes(self._cursor), 0)

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._name}.{suffix}"

    def _words(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{self._folder}: the disk is full; logging stopped, free some space"
        return f"{self._folder}: cannot keep the log of {self._name}: {error.strerror}"


def _block(at: float, texts: list[bytes]) -> bytes:
    """The texts as lines, stamped from `at` on, a microsecond apart. Dates are made once a second, not once a line."""
    first = round(at / MICRO)
    found: list[bytes] = []
    second, head = -1, b""
    for micros, text in enumerate(texts, first):
        if micros // 1_000_000 != second:
            second = micros // 1_000_000
            head = journal.stamp(second)[:20].encode()
        found.append(b"%b%06dZ %b\n" % (head, micros % 1_000_000, text))
    return b"".join(found)


def end_line(path: Path) -> None:
    """Before a new incarnation writes to a raw file: end the line that the last one left open."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")
    finally:
        os.close(fd)
