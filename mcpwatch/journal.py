r"""The journal: members' output on disk, stamped line by line. Owns names, format, reading and following; writes nothing.

Standard library alone and no daemon needed, so that `mcpwatch logs` starts at once and Loki shipping needs no second parser.
`<state>/logs/<member>/` holds, for each stream:

    stdout.raw                          what the member itself appends to, emptied from the front as it is stamped
    stdout.log                          stamped lines, `2026-11-21T04:10:00.123456Z <text>\n`, stamps strictly rising
    stdout.20261121041000123456.log     an older file, named by its first stamp; never changes again
    stdout.cursor                       how far the raw file has been stamped
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import BinaryIO, TypeVar

from mcpwatch.model.time import WallTime

STREAMS = ("stdout", "stderr")
STAMP = 27
"""Characters of a stamp; a space and the text follow."""
LINE_LIMIT = 64 << 10
"""Bytes of text in one line of the journal; a longer one is cut, each part but the last ending with `CONTINUES`."""
CONTINUES = " [continues]"
BLOCK = 64 << 10
FOLLOW_PAUSE = 0.2
"""Seconds between two looks while following."""
TRIES = 10
"""Times files are looked at again that were rotated between listing and opening them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when it was stamped, by whom it was written, what it says (not UTF-8 is replaced)."""

    at: WallTime
    member: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a raw file was stamped: its inode and offset, and the size of the log file that this made.

    `note` is set while the keeper writes a line of its own, which no raw line stands for.
    """

    raw: int = 0
    offset: int = 0
    log: int = 0
    size: int = 0
    note: bool = False


def directory(state: Path, member: str) -> Path:
    """Where a member's output lies."""
    return state / "logs" / member


def members(state: Path) -> list[str]:
    """Every member that has a journal."""
    try:
        return sorted(item.name for item in (state / "logs").iterdir() if item.is_dir())
    except OSError:
        return []


def stamp(at: float) -> str:
    """Epoch seconds as a stamp, with microseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unstamp(text: str | bytes) -> WallTime | None:
    """The stamp at the start of a line as epoch seconds, or `None`."""
    word = (text.decode("ascii", "replace") if isinstance(text, bytes) else text)[:STAMP]
    try:
        return WallTime(datetime.strptime(word, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def rotated_name(stream: str, first: str) -> str:
    """The name a log file gets for good, by the stamp of its first line."""
    return f"{stream}.{''.join(letter for letter in first if letter.isdigit())}.log"


def files(folder: Path, stream: str) -> list[Path]:
    """The log files of a stream, oldest first, the one being written last."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []
    old = sorted(name for name in names if name.startswith(f"{stream}.") and name.endswith(".log") and _digits(name, stream))
    current = [f"{stream}.log"] if f"{stream}.log" in names else []
    return [folder / name for name in (*old, *current)]


def read_cursor(path: Path) -> Cursor | None:
    """The cursor of a stream; `None` when there is none or it is damaged."""
    try:
        text = path.read_bytes().rstrip()
        words = text.split()
        if len(words) != 6 or int(words[5]) != zlib.crc32(b" ".join(words[:5])):
            return None
        raw, offset, log, size, note = (int(word) for word in words[:5])
    except (OSError, ValueError):
        return None
    return Cursor(raw, offset, log, size, bool(note))


def cursor_bytes(cursor: Cursor) -> bytes:
    """A cursor as it stands in its file: always the same length, with a checksum."""
    body = f"{cursor.raw} {cursor.offset} {cursor.log} {cursor.size} {int(cursor.note)}".encode()
    return (body + f" {zlib.crc32(body)}".encode()).ljust(127) + b"\n"


def cut(data: bytes) -> list[tuple[int, bytes]]:
    """The complete lines at the start of `data`, as `(bytes used, text)`; long ones in parts. Depends on nothing but the bytes."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while True:
        end = data.find(b"\n", at, at + LINE_LIMIT + 1)
        if end >= 0:
            found.append((end + 1 - at, data[at:end].removesuffix(b"\r")))
            at = end + 1
        elif len(data) - at > LINE_LIMIT:
            size = LINE_LIMIT
            while size > LINE_LIMIT - 4 and data[at + size] & 0xC0 == 0x80:
                size -= 1
            found.append((size, data[at : at + size] + CONTINUES.encode()))
            at += size
        else:
            return found


def read(state: Path, member: str, streams: Iterable[str] = STREAMS, n: int | None = 100, since: float | None = None) -> list[Line]:
    """The last `n` lines (all of them with `None`) since a moment, of all streams in the order of their stamps.

    What no watchdog has stamped yet comes last, with the time of the raw file's last change.
    """
    found: list[list[Line]] = []
    late: list[Line] = []
    for stream in streams:
        stamped = _since(state, member, stream, since) if since is not None else _last(state, member, stream, n)
        found.append(stamped)
        late += _pending(state, member, stream)
    lines = [*merge(*found, key=lambda line: line.at), *sorted(late, key=lambda line: line.at)]
    return lines if n is None else lines[-n:] if n > 0 else []


def newest(state: Path, member: str, stream: str) -> float | None:
    """The stamp of the last line of a stream, or `None` when there is none."""
    lines = _last(state, member, stream, 1)
    return lines[-1].at if lines else None


def follow(state: Path, member: str, streams: Iterable[str] = STREAMS, n: int = 10, since: float | None = None) -> Iterator[Line]:
    """The last `n` lines and then every new one, across rotations, for ever. Sleeps between looks: for a terminal."""
    here = {stream: newest(state, member, stream) for stream in streams}
    yield from (line for line in read(state, member, tuple(here), n, since) if line.at <= (here[line.stream] or -1.0))
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
            file.close()
            del self._open[stream]
            if after is None:
                return found
            self._open[stream] = after
        return found

    def _take(self, file: BinaryIO, stream: str, limit: int) -> list[Line]:
        found: list[Line] = []
        while len(found) < limit:
            start = file.tell()
            text = file.readline()
            if not text.endswith(b"\n"):
                file.seek(start)
                break
            line = _line(text, self._member, stream)
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

        return _settled(directory(self._state, self._member), stream, look, _close)

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
                file.seek(_find(file, self._after[stream]) if self._after[stream] >= 0 else 0)
                return file
            file.close()
        return None


def _digits(name: str, stream: str) -> bool:
    return name.removeprefix(f"{stream}.").removesuffix(".log").isdigit()


def _line(text: bytes, member: str, stream: str) -> Line | None:
    at = unstamp(text)
    if at is None:
        return None
    return Line(at, member, stream, text[STAMP + 1 :].decode("utf-8", "replace").rstrip("\n"))


def _lines(texts: Iterable[bytes], member: str, stream: str) -> list[Line]:
    return [line for text in texts if (line := _line(text, member, stream))]


def _settled(folder: Path, stream: str, look: Callable[[list[Path]], T], drop: Callable[[T], None] = lambda _: None) -> T:
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
                texts = file.readlines() if n is None else _tail(file, n - len(found))
                found = _lines(texts, member, stream) + found
        return found

    return _settled(directory(state, member), stream, look)


def _tail(file: BinaryIO, n: int) -> list[bytes]:
    """The last `n` complete lines, read backwards."""
    at = file.seek(0, os.SEEK_END)
    data = b""
    while at > 0 and data.count(b"\n") <= n:
        size = min(BLOCK, at)
        at -= size
        file.seek(at)
        data = file.read(size) + data
    whole = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
    return whole[-n:] if n > 0 else []


def _since(state: Path, member: str, stream: str, since: float) -> list[Line]:
    name = rotated_name(stream, stamp(since))

    def look(paths: list[Path]) -> list[Line]:
        older = [path for path in paths[:-1] if path.name <= name]
        found: list[Line] = []
        for path in [*older[-1:], *(path for path in paths if path not in older)]:
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(_find(file, since - 1e-6))
                found += [line for line in _lines(file.readlines(), member, stream) if line.at >= since]
        return found

    return _settled(directory(state, member), stream, look)


def _find(file: BinaryIO, after: float) -> int:
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


def _close(file: BinaryIO | None) -> None:
    if file is not None:
        file.close()


def _last_stamp(file: BinaryIO, size: int) -> float:
    if not size:
        return -1.0
    for text in reversed(_tail(file, 1)):
        at = unstamp(text)
        if at is not None:
            return at
    return -1.0


def _pending(state: Path, member: str, stream: str) -> list[Line]:
    """What a raw file holds beyond its cursor: complete lines that nobody has stamped."""
    folder = directory(state, member)
    cursor = read_cursor(folder / f"{stream}.cursor") or Cursor()
    try:
        with (folder / f"{stream}.raw").open("rb") as file:
            info = os.fstat(file.fileno())
            file.seek(cursor.offset if cursor.raw == info.st_ino and cursor.offset <= info.st_size else 0)
            data = file.read(16 * BLOCK).lstrip(b"\0")
    except OSError:
        return []
    at = WallTime(info.st_mtime)
    return [Line(at, member, stream, text.decode("utf-8", "replace")) for _, text in cut(data)]
