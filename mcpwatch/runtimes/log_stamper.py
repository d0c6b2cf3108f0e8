"""One stream of one member: raw bytes in, stamped lines out, rotated by size and age. All of it blocking, all of it restartable.

Owns what a user may write under `logs:`. Knows files and time, not members, inotify or the loop. See `log_collector` for how
"exactly once" is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field

from mcpwatch import journal
from mcpwatch.clock import SystemClock
from mcpwatch.journal import BITE
from mcpwatch.model.spec import Plan
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.stream_files import LoggingFailed, StreamFiles
from mcpwatch.units import Size, Span

FLOOD = 32 << 20
"""Bytes of output not stamped yet beyond which lines are dropped, counted: the member writes faster than lines can be kept."""
SKIP = 32 << 20
"""Bytes that are counted and dropped in one go."""
FLOODED, DISK_FULL = "they came faster than they can be kept", "the disk was full"
"""Why lines are not in the log."""
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


class LogStamper(StreamFiles):
    """The raw file, log files and cursor of one stream. `bite` brings the log on."""

    def __init__(
        self, folder: Path, name: str, limits: RotationLimits, *, holes: bool = True, boot: Callable[[], float] = _boot
    ) -> None:
        """`boot` tells seconds on a clock that cannot be set."""
        super().__init__(folder, name, holes=holes)
        self._boot = boot
        self._clocks: tuple[float, float] | None = None
        """The wall clock and the boot clock when lines were stamped last."""
        self._ages_from = 0.0
        """On the boot clock: before, the times of files are those of a wall clock that was set since."""
        self.limits = limits
        self.flooded = 0
        """Lines dropped in the flood that lasts now; 0 when there is none."""
        self.lines = 0
        """Lines that were written since everything was stamped once, whether they were dropped or not."""
        self._caught_up = False
        """Whether everything was stamped once: what lies there from before is the backlog of a time without a watchdog."""

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
                if not drop:
                    self._tell_dropped(now)
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
    def _most(self) -> int:
        """Bytes that may wait to be stamped; after a time without a watchdog, as many as the log itself would keep."""
        return FLOOD if self._caught_up else max(FLOOD, self.limits.max_bytes * (self.limits.keep + 1))

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
            self.lines += len(lines) if self._caught_up else 0
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
        self.flooded += lines
        self.lines += lines if self._caught_up else 0
        self._cursor = replace(self._cursor, offset=at, dropped=self._cursor.dropped + lines, flood=True)
        self._save()
        if not self._holes:  # the only way to give the space back: what arrives in this moment is lost too
            os.ftruncate(self._raw, 0)
            self._cursor = replace(self._cursor, offset=0)
            self._save()

    def _drop(self, lines: list[tuple[int, bytes]]) -> None:
        used = sum(size for size, _ in lines)
        dropped = self._cursor.dropped + len(lines)
        self._cursor = replace(self._cursor, offset=self._cursor.offset + used, dropped=dropped, flood=False)
        self._save()

    def _tell_dropped(self, now: float) -> None:
        """Say in the log itself what is missing from it."""
        dropped, why = self._cursor.dropped, FLOODED if self._cursor.flood else DISK_FULL
        if not dropped:
            return
        self._cursor = replace(self._cursor, note=True)
        self._save()
        at = self._next(now)
        block = f"{journal.stamp(at)} [mcpwatch: {dropped} lines were not logged, {why}]\n".encode()
        _, error = self._append(block)
        if error:
            raise error
        self._last, self._first = at, self._first or at
        self._cursor = replace(self._cursor, size=self._cursor.size + len(block), note=False, dropped=0)
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


_DEFAULT = RotationLimits()


class MemberLogsSpec(KindSpec):
    """Rotation of the members' logs, for each member and stream."""

    max_size: Size = Field(_DEFAULT.max_bytes, description="A log file that reaches this size is closed and another begun.")
    max_age: Span = Field(_DEFAULT.max_age, description="A log file whose first line is this old is closed and another begun.")
    keep: int = Field(_DEFAULT.keep, ge=0, le=100_000, description="Closed files that are kept of each stream.")
    keep_age: Span = Field(_DEFAULT.keep_age, description="Closed files older than this are deleted.")


SECTION = ("logs", MemberLogsSpec)


def limits_of(plan: Plan) -> RotationLimits:
    """The limits that a plan asks for, or the defaults."""
    spec = plan.section("logs")
    return RotationLimits(spec.max_size, spec.max_age, spec.keep, spec.keep_age) if isinstance(spec, MemberLogsSpec) else _DEFAULT
