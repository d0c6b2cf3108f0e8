"""The files of one stream of one member: raw output, log and cursor, opened, followed when they are replaced, and given back.

Nothing is stamped here. A stream that was cut at any moment is taken up where its cursor says. Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from pathlib import Path

from mcpwatch import journal
from mcpwatch.journal import StampCursor
from mcpwatch.runtimes.kernel import punch_hole

GRAIN = 4096
"""Holes are punched on this grain, and never over the last byte taken: the next start reads whether it ended a line."""
ROOM = 1 << 20
"""Bytes that a raw file may hold where holes cannot be punched: cutting it can lose a line just being written, so it is rare."""


class LoggingFailed(Exception):
    """Logging cannot go on for now; the message says why and what to do."""


class StreamFiles:
    """Three files under one name in a folder."""

    def __init__(self, folder: Path, name: str, *, holes: bool) -> None:
        self._folder = folder
        self._name = name
        self._raw: int | None = None
        self._log: int | None = None
        self._cursor_fd: int | None = None
        self._cursor = StampCursor()
        self._first: float | None = None
        self._last = 0.0
        self.remade = False
        """Whether the log was missing and made again since this was last set to false: its folder may be another one now."""
        self._punched = 0
        self._holes = holes

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
        if known is not None and known.note:
            known = self._noted(known, log)
            log = os.fstat(self._log)
        if known is None or known.raw != inode:
            fresh = StampCursor(inode, journal.first_data(raw), log.st_ino, log.st_size)
            self._cursor = fresh if known is None else replace(fresh, dropped=known.dropped, flood=known.flood)
        elif known.reaches_into(log):
            self._cursor = self._recover(raw, known)
        else:  # nothing of the raw file was in flight
            self._cursor = replace(known, log=log.st_ino, size=log.st_size)

    def _noted(self, known: StampCursor, log: os.stat_result) -> StampCursor:
        """The last collector ended while it wrote that lines were dropped: that is told when its line is whole, and only then."""
        assert self._log is not None
        known = replace(known, note=False)
        if known.log != log.st_ino or known.size > log.st_size:
            return known
        told = os.pread(self._log, log.st_size - known.size, known.size)
        if told.endswith(b"\n"):
            return replace(known, size=log.st_size, dropped=0)
        os.ftruncate(self._log, known.size)
        return known

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
        """A raw file that was replaced or cut short is read from its beginning; one that was moved away gets its name back.

        As long as nothing was written to another one of its name, the member goes on in the one that it has.
        """
        assert self._raw is not None
        here = os.fstat(self._raw)
        try:
            there = self._path("raw").stat()
        except OSError:
            there = here
            with contextlib.suppress(OSError):
                os.link(f"/proc/self/fd/{self._raw}", self._path("raw"), src_dir_fd=self._raw)  # else the link itself is meant
        if there.st_ino != here.st_ino and there.st_size and here.st_size <= self._cursor.offset:
            os.close(self._raw)
            self._raw = os.open(self._path("raw"), os.O_RDWR | os.O_CLOEXEC)
            self._cursor, self._punched = replace(self._cursor, raw=os.fstat(self._raw).st_ino, offset=0), 0
            self._save()
        elif here.st_size < self._cursor.offset:
            self._cursor, self._punched = replace(self._cursor, offset=0), 0
            self._save()

    def _follow_log(self) -> None:
        """A log or cursor that somebody removed or moved away is made again, and one that could not be opened after a rotation.

        One that lies there in its place is gone on with, and so is a log that was cut short.
        """
        if self._log is None or self._gone(self._log, "log") or os.fstat(self._log).st_size < self._cursor.size:
            self.remade = True
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_log()
            assert self._log is not None
            log = os.fstat(self._log)
            self._cursor = replace(self._cursor, log=log.st_ino, size=log.st_size, note=False)
            self._save()
        if self._cursor_fd is None or self._gone(self._cursor_fd, "cursor"):
            old, self._cursor_fd = self._cursor_fd, None
            if old is not None:
                os.close(old)
            self._cursor_fd = os.open(self._path("cursor"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._save()

    def _gone(self, fd: int, suffix: str) -> bool:
        """Whether an open file is no longer the one of its name."""
        try:
            return not os.path.samestat(self._path(suffix).stat(), os.fstat(fd))
        except OSError:
            return True

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
