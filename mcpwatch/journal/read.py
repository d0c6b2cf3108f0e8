"""Reading a journal: its last lines, or those since a moment, across rotations and up to what no watchdog has stamped yet."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from math import inf, nextafter
from pathlib import Path
from typing import BinaryIO, TypeVar

from mcpwatch.journal.form import (
    BITE,
    STAMP,
    STREAMS,
    Line,
    StampCursor,
    cut,
    directory,
    files,
    first_data,
    in_flight,
    past,
    read_cursor,
    rotated_name,
    stamp,
    unstamp,
)
from mcpwatch.model.time import WallTime

BLOCK = 64 << 10
TRIES = 10
"""Times files are looked at again that were rotated between listing and opening them."""
LATE_BYTES = 256 << 10
"""Bytes of unstamped output read for the last lines of a stream, at least; a member may have written gigabytes."""
LATE_WIDTH = 4 << 10
"""Bytes read for each line that is asked for."""
LATE_TRIES = 3
"""Times a stream is read again whose cursor moved meanwhile; one that still moves is being stamped, and nothing of it is late."""

T = TypeVar("T")


def read(state: Path, member: str, streams: Iterable[str] = STREAMS, n: int | None = 100, since: float | None = None) -> list[Line]:
    """The last `n` lines (all of them with `None`) since a moment, of all streams in the order of their stamps.

    What no watchdog has stamped yet comes last, with the time of the raw file's last change.
    """
    if n is not None and n <= 0:
        return []
    found = [_whole(state, member, stream, n, since) for stream in streams]
    late = sorted((line for whole in found for line in whole.late), key=lambda line: line.at)
    lines = [*merge(*(whole.stamped for whole in found), key=lambda line: line.at), *late]
    return lines if n is None else lines[-n:]


def stamped(state: Path, member: str, streams: Iterable[str], n: int | None, since: float | None) -> list[Line]:
    """As `read`, without what is not stamped yet."""
    lines = list(merge(*(_stamped(state, member, stream, n, since) for stream in streams), key=lambda line: line.at))
    return lines if n is None else lines[-n:] if n > 0 else []


def newest(state: Path, member: str, stream: str) -> float | None:
    """The stamp of the last line of a stream, or `None` when there is none."""
    lines = _last(state, member, stream, 1)
    return lines[-1].at if lines else None


@dataclass(frozen=True, slots=True)
class _Whole:
    """A stream at one moment: each line either stamped or late, none both."""

    stamped: list[Line]
    late: list[Line]


def _whole(state: Path, member: str, stream: str, n: int | None, since: float | None) -> _Whole:
    """Log and raw file are two files: what is read of them belongs together only when the cursor between them stood still."""
    folder = directory(state, member)
    if _empty(folder / f"{stream}.raw"):  # a member that says nothing, or whose every line was stamped by now
        return _Whole(_stamped(state, member, stream, n, since), [])
    path = folder / f"{stream}.cursor"
    found: list[Line] = []
    for _ in range(LATE_TRIES):
        before = read_cursor(path)
        found = _stamped(state, member, stream, n, since)
        edge = found[-1].at if found else -1.0 if since is None else nextafter(since, -inf)
        late = _late(state, member, stream, before, edge, n)
        if read_cursor(path) == before:
            return _Whole(found, [line for line in late if since is None or line.at >= since])
    return _Whole(found, [])


def _empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def _stamped(state: Path, member: str, stream: str, n: int | None, since: float | None) -> list[Line]:
    return _since(state, member, stream, since) if since is not None else _last(state, member, stream, n)


def _late(state: Path, member: str, stream: str, cursor: StampCursor | None, edge: float, n: int | None) -> list[Line]:
    """The last `n` complete lines of the raw file that are not in the log, of which the lines up to `edge` were read."""
    folder = directory(state, member)
    ahead = 0
    if cursor is not None:
        with contextlib.suppress(OSError), (folder / f"{stream}.log").open("rb") as log:
            ahead = sum((unstamp(text) or 0.0) <= edge for text in in_flight(log.fileno(), cursor).split(b"\n")[:-1])
    try:
        with (folder / f"{stream}.raw").open("rb") as raw:
            info = os.fstat(raw.fileno())
            if cursor is None or cursor.raw != info.st_ino:
                offset = first_data(raw.fileno())
            else:
                offset = cursor.offset if cursor.offset <= info.st_size else 0
            offset = past(raw.fileno(), offset, ahead)
            if n is not None:
                offset = _near_end(raw.fileno(), offset, info.st_size, max(LATE_BYTES, n * LATE_WIDTH))
            texts = deque(_cut_from(raw.fileno(), offset), maxlen=n)
    except OSError:
        return []
    at = WallTime(info.st_mtime)
    return [Line(at, member, stream, text.decode("utf-8", "replace")) for text in texts]


def _near_end(raw: int, offset: int, size: int, reach: int) -> int:
    """Where to begin so as to read about `reach` bytes up to `size`: at `offset`, or after an end of a line near there."""
    start = size - reach
    if start <= offset:
        return offset
    return start + os.pread(raw, reach, start).find(b"\n") + 1


def _cut_from(raw: int, offset: int) -> Iterator[bytes]:
    """The complete lines of an open raw file from `offset` on."""
    while lines := cut(os.pread(raw, BITE, offset)):
        yield from (text for _, text in lines)
        offset += sum(used for used, _ in lines)


def parse(text: bytes, member: str, stream: str) -> Line | None:
    """A line of a log file, or `None` when it has no stamp."""
    at = unstamp(text)
    if at is None:
        return None
    return Line(at, member, stream, text[STAMP + 1 :].decode("utf-8", "replace").rstrip("\n"))


def _lines(texts: Iterable[bytes], member: str, stream: str) -> list[Line]:
    return [line for text in texts if (line := parse(text, member, stream))]


def settled(folder: Path, stream: str, look: Callable[[list[Path]], T], drop: Callable[[T], None] = lambda _: None) -> T:
    """What `look` finds in the files of a stream, none of which was renamed meanwhile.

    The file being written is known by its name alone: rotated between listing and opening, it would be skipped. `drop` lets go of
    what was found in vain.
    """
    paths = files(folder, stream)
    for _ in range(TRIES):
        found = look(paths)
        again = files(folder, stream)
        if again == paths:
            return found
        paths = again
        drop(found)
    return look(paths)


def _last(state: Path, member: str, stream: str, n: int | None) -> list[Line]:
    def look(paths: list[Path]) -> list[Line]:
        found: list[Line] = []
        for path in reversed(paths):
            if n is not None and len(found) >= n:
                break
            with contextlib.suppress(OSError), path.open("rb") as file:
                texts = _complete(file) if n is None else tail(file, n - len(found))
                found = _lines(texts, member, stream) + found
        return found

    return settled(directory(state, member), stream, look)


def _complete(file: BinaryIO) -> list[bytes]:
    """The complete lines from where the file stands: a last one without an end was torn, or is being written."""
    lines = file.readlines()
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def tail(file: BinaryIO, n: int) -> list[bytes]:
    """The last `n` complete lines, read backwards."""
    at = file.seek(0, os.SEEK_END)
    data = b""
    while at > 0 and data.count(b"\n") <= n:
        size = min(BLOCK, at)
        at -= size
        file.seek(at)
        data = file.read(size) + data
    whole = data[: data.rfind(b"\n")].split(b"\n") if b"\n" in data else []
    return whole[-n:] if n > 0 else []


def _since(state: Path, member: str, stream: str, since: float) -> list[Line]:
    name = rotated_name(stream, stamp(since))

    def look(paths: list[Path]) -> list[Line]:
        older = [path for path in paths[:-1] if path.name <= name]
        found: list[Line] = []
        for path in [*older[-1:], *(path for path in paths if path not in older)]:
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(find(file, since - 1e-6))
                found += [line for line in _lines(_complete(file), member, stream) if line.at >= since]
        return found

    return settled(directory(state, member), stream, look)


def find(file: BinaryIO, after: float) -> int:
    """The offset of the first line stamped later than `after`, by halving."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > BLOCK:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        at = unstamp(file.readline(STAMP + 1))
        if at is not None and at <= after:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()
    while True:
        start = file.tell()
        text = file.readline()
        at = unstamp(text)
        if not text.endswith(b"\n") or (at is not None and at > after):
            return start
