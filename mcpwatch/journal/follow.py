"""Following a journal: each stamped line once, from a saved position on, across rotations."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from heapq import merge
from pathlib import Path
from typing import BinaryIO

from mcpwatch.journal.form import STREAMS, Line, directory, rotated_name, stamp, unstamp
from mcpwatch.journal.read import find, newest, parse, settled, stamped, tail

FOLLOW_PAUSE = 0.2
"""Seconds between two looks while following."""


def follow(state: Path, member: str, streams: Iterable[str] = STREAMS, n: int = 10, since: float | None = None) -> Iterator[Line]:
    """The last `n` lines and then every new one, across rotations, for ever. Sleeps between looks: for a terminal."""
    here = {stream: newest(state, member, stream) for stream in streams}
    yield from (line for line in stamped(state, member, tuple(here), n, since) if line.at <= (here[line.stream] or -1.0))
    follower = Follower(state, member, here)
    while True:
        lines = follower.poll()
        yield from lines
        if not lines:
            time.sleep(FOLLOW_PAUSE)


class Follower:
    """Reads on from a position, across rotations. A position is the stamp of the last line read of each stream.

    Holds one open file a stream, so what it is reading survives being rotated or even deleted. Not for two threads at once.
    """

    def __init__(self, state: Path, member: str, after: dict[str, float | None]) -> None:
        """`after`: stream to the stamp after which to read; `None` reads from the beginning."""
        self._state = state
        self._member = member
        self._after: dict[str, float] = {stream: -1.0 if at is None else at for stream, at in after.items()}
        self._open: dict[str, BinaryIO] = {}

    def position(self) -> dict[str, float]:
        """The stamp of the last line given out, by stream: what to save."""
        return {stream: at for stream, at in self._after.items() if at >= 0}

    def poll(self, limit: int = 1000) -> list[Line]:
        """New lines, at most about `limit` of each stream, in the order of their stamps. Does not wait."""
        return list(merge(*(self._poll(stream, limit) for stream in self._after), key=lambda line: line.at))

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _poll(self, stream: str, limit: int) -> list[Line]:
        found: list[Line] = []
        while len(found) < limit:
            file = self._open.get(stream) or self._next(stream, None)
            if file is None:
                return found
            self._open[stream] = file
            found += self._take(file, stream, limit - len(found))
            if len(found) >= limit or not self._finished(file, stream):
                return found
            rest = self._take(file, stream, limit)  # what came between reading and finding it rotated
            found += rest
            if len(rest) >= limit:
                return found
            after = self._next(stream, file)
            if after is None:  # moved away a moment ago: a line may still come to it before there is another
                return found
            file.close()
            self._open[stream] = after
        return found

    def _take(self, file: BinaryIO, stream: str, limit: int) -> list[Line]:
        found: list[Line] = []
        if os.fstat(file.fileno()).st_size < file.tell():  # it was cut short in its place
            file.seek(0)
        while len(found) < limit:
            start = file.tell()
            text = file.readline()
            if not text.endswith(b"\n"):
                file.seek(start)
                break
            line = parse(text, self._member, stream)
            if line and line.at > self._after[stream]:
                found.append(line)
                self._after[stream] = line.at
        return found

    def _finished(self, file: BinaryIO, stream: str) -> bool:
        """Whether the file is no longer the one being written."""
        try:
            return os.fstat(file.fileno()).st_ino != (directory(self._state, self._member) / f"{stream}.log").stat().st_ino
        except OSError:
            return True

    def _next(self, stream: str, done: BinaryIO | None) -> BinaryIO | None:
        """The file that holds the first line after the position, placed just before that line."""

        def look(paths: list[Path]) -> BinaryIO | None:
            return self._first(paths, stream, done)

        return settled(directory(self._state, self._member), stream, look, _close)

    def _first(self, paths: list[Path], stream: str, done: BinaryIO | None) -> BinaryIO | None:
        inode = os.fstat(done.fileno()).st_ino if done else None
        wanted = paths
        if self._after[stream] >= 0:
            name = rotated_name(stream, stamp(self._after[stream]))
            at_or_after = [path for path in paths[:-1] if path.name > name]
            before = [path for path in paths[:-1] if path.name <= name]
            wanted = [*before[-1:], *at_or_after, *paths[-1:]]
        for path in wanted:
            try:
                file = path.open("rb")
            except OSError:
                continue
            here = os.fstat(file.fileno())
            if here.st_ino != inode and (path.name == f"{stream}.log" or _last_stamp(file, here.st_size) > self._after[stream]):
                file.seek(find(file, self._after[stream]) if self._after[stream] >= 0 else 0)
                return file
            file.close()
        return None


def _close(file: BinaryIO | None) -> None:
    if file is not None:
        file.close()


def _last_stamp(file: BinaryIO, size: int) -> float:
    if not size:
        return -1.0
    for text in reversed(tail(file, 1)):
        at = unstamp(text)
        if at is not None:
            return at
    return -1.0
