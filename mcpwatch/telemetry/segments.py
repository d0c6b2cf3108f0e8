"""Reading journals from a saved position, byte by byte, across rotations: the files themselves are the spool.

Names and stamps are `mcpwatch.journal`'s. A segment is one file, known by the stamp of its first line, which rotation does not
change. Knows nothing of Loki.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mcpwatch import journal

STAMP_WIDTH = journal.STAMP
LONGEST_READ = 1 << 20
"""Bytes read at once; a longer line is cut there and its rest becomes the next line."""
TRIES = 5
"""Times a segment is looked up again when it was renamed between listing and opening."""

_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True, slots=True, order=True)
class SegmentSource:
    """One stream of one member, in `directory`."""

    member: str
    stream: str
    directory: Path

    @property
    def key(self) -> str:
        """What its position is saved under."""
        return f"{self.member}/{self.stream}"


@dataclass(frozen=True, slots=True)
class Position:
    """What has been taken of a source: all before byte `offset` of `segment`, whose last line had time `last` (ns).

    `size` is how long the segment was when last seen, so that what rotates away unread can be counted.
    """

    segment: str
    offset: int = 0
    last: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a source."""

    id: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines (without line ends) from `start` on, and how many bytes before it are gone for ever."""

    start: Position
    lines: tuple[bytes, ...] = ()
    ended: bool = False
    """The last line has no line end: it was torn, or cut for its length."""
    lost: int = 0


def sources(state: Path) -> list[SegmentSource]:
    """Every stream of every member's journal, in a stable order."""
    folders = ((member, journal.directory(state, member)) for member in journal.members(state))
    return [
        SegmentSource(member, stream, folder)
        for member, folder in folders
        for stream in journal.STREAMS
        if journal.files(folder, stream)
    ]


def segments(source: SegmentSource) -> list[Segment]:
    """The files of a source that hold anything, oldest first; none when they change faster than they can be listed.

    The file being written is known by its content, so a rotation between listing and reading would hide the rotated one:
    what was listed counts only when the names are still the same afterwards.
    """
    paths = journal.files(source.directory, source.stream)
    for _ in range(TRIES):
        found = [segment for path in paths if (segment := _segment(path))]
        again = journal.files(source.directory, source.stream)
        if again == paths:
            return found
        paths = again
    return []


def read(source: SegmentSource, position: Position | None) -> Chunk | None:
    """The next lines of `source` after `position` (`None`: from the oldest line there is); `None` when there are none."""
    for _ in range(TRIES):
        try:
            return _read(source, position)
        except FileNotFoundError:
            continue
    return None


def backlog(source: SegmentSource, position: Position | None) -> int:
    """Bytes of `source` after `position`."""
    left = 0
    for segment in segments(source):
        if position is None or segment.id > position.segment:
            left += segment.size
        elif segment.id == position.segment:
            left += max(0, segment.size - position.offset)
    return left


class Stamps:
    """Reads stamps; remembers the last second, because lines come in runs."""

    def __init__(self) -> None:
        self._second = b""
        self._nanoseconds = 0

    def __call__(self, line: bytes) -> int | None:
        """Nanoseconds since the epoch that `line` begins with, or `None`."""
        if line[:19] != self._second:
            if not _STAMP.match(line):
                return None
            self._second = line[:19]
            self._nanoseconds = int(datetime.fromisoformat(line[:19].decode() + "+00:00").timestamp()) * 1_000_000_000
        elif line[26:27] != b"Z" or not line[20:26].isdigit():
            return None
        return self._nanoseconds + int(line[20:26]) * 1000


def segment_id(line: bytes) -> str:
    """What a segment is known by whose first line begins so: the digits of its stamp, zeros when it has none."""
    return re.sub(rb"\D", b"", line[:STAMP_WIDTH]).decode() if _STAMP.match(line) else "0" * 20


def _segment(path: Path) -> Segment | None:
    try:
        size = path.stat().st_size
        name = _digits(path) or (_first(path) if size else "")
    except OSError:
        return None
    return Segment(name, path, size) if name and size else None


def _read(source: SegmentSource, position: Position | None) -> Chunk | None:
    found = segments(source)
    if not found:
        return None
    lost = 0
    if position is None:
        later = found
    else:
        later = [segment for segment in found if segment.id > position.segment]
        present = next((segment for segment in found if segment.id == position.segment), None)
        if present is not None:
            chunk = _take(present, position, closed=bool(later))
            if chunk is not None:
                return chunk
        else:
            lost = max(0, position.size - position.offset)
    last = position.last if position else 0
    for number, segment in enumerate(later):
        chunk = _take(segment, Position(segment.id, 0, last), closed=number + 1 < len(later))
        if chunk is not None:
            return Chunk(chunk.start, chunk.lines, chunk.ended, lost)
    return Chunk(Position(position.segment, position.size, last, position.size), lost=lost) if lost and position else None


def _take(segment: Segment, position: Position, *, closed: bool) -> Chunk | None:
    """Whole lines of one file; of a closed one also a last line without an end. Raises `FileNotFoundError` when it was renamed."""
    if segment.size <= position.offset:
        return None
    with segment.path.open("rb") as file:
        if not _digits(segment.path) and segment_id(file.read(STAMP_WIDTH)) != segment.id:
            raise FileNotFoundError(segment.path)
        file.seek(position.offset)
        data = file.read(LONGEST_READ)
        size = os.fstat(file.fileno()).st_size
    start = Position(segment.id, position.offset, position.last, size)
    whole = data.rfind(b"\n") + 1
    if whole:
        return Chunk(start, tuple(data[: whole - 1].split(b"\n")))
    if data and (closed or len(data) == LONGEST_READ):
        return Chunk(start, (data,), ended=True)
    return None


def _first(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(STAMP_WIDTH)
    return segment_id(head) if len(head) == STAMP_WIDTH else ""


def _digits(path: Path) -> str:
    """The id that stands in the name of a rotated file; nothing for the one being written."""
    middle = path.name.split(".")[1:-1]
    return middle[0] if middle else ""
