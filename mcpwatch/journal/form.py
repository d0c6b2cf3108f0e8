r"""The files of a journal: their names, the form of a line, the cursor, and how raw output is cut into lines.

`<state>/logs/<member>/` holds, for each stream:

    stdout.raw                          what the member itself appends to, emptied from the front as it is stamped
    stdout.log                          stamped lines, `2026-11-21T04:10:00.123456Z <text>\n`, stamps strictly rising
    stdout.20261121041000123456.log     an older file, named by its first stamp; never changes again
    stdout.cursor                       how far the raw file has been stamped
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mcpwatch.model.time import WallTime

STREAMS = ("stdout", "stderr")
STAMP = 27
"""Characters of a stamp; a space and the text follow."""
LINE_LIMIT = 64 << 10
"""Bytes of text in one line of the journal; a longer one is cut, each part but the last ending with `CONTINUES`."""
CONTINUES = " [continues]"
NOTE, FLOOD, DROPPED = 1, 2, 2
"""Two bits in the last number of a cursor, and where the count of dropped lines begins in it."""
BITE = 512 << 10
"""Bytes of raw output taken in one go: what bounds memory, and how long one member can keep others waiting."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when it was stamped, which stream wrote it, what it says (not UTF-8 is replaced)."""

    at: WallTime
    member: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class StampCursor:
    """How far a raw file was stamped: its inode and offset, and the size of the log file that this made.

    `note` is set while the collector writes a line of its own, which no raw line stands for. `dropped` lines before `offset` are
    in no log, and no log says so yet; `flood` says that they came too fast, not that the disk was full.
    """

    raw: int = 0
    offset: int = 0
    log: int = 0
    size: int = 0
    note: bool = False
    dropped: int = 0
    flood: bool = False

    def reaches_into(self, log: os.stat_result) -> bool:
        """Whether what this log file holds beyond `size` was raw lines: not after a rotation, nor amid the collector's own line."""
        return self.log == log.st_ino and not self.note and self.size <= log.st_size


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
    word = text[:STAMP]
    word = word.decode("ascii", "replace") if isinstance(word, bytes) else word
    if len(word) != STAMP or word[10] != "T" or word[19] != "." or word[26] != "Z":
        return None
    try:
        return WallTime(datetime.fromisoformat(word).timestamp())
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


def read_cursor(path: Path) -> StampCursor | None:
    """The cursor of a stream; `None` when there is none or it is damaged."""
    try:
        text = path.read_bytes().rstrip()
        words = text.split()
        if len(words) != 6 or int(words[5]) != zlib.crc32(b" ".join(words[:5])):
            return None
        raw, offset, log, size, state = (int(word) for word in words[:5])
    except (OSError, ValueError):
        return None
    return StampCursor(raw, offset, log, size, bool(state & NOTE), state >> DROPPED, bool(state & FLOOD))


def cursor_bytes(cursor: StampCursor) -> bytes:
    """A cursor as it stands in its file: always the same length, with a checksum.

    An earlier version takes any state but 0 for a note, which is right: nothing is in flight while dropped lines are untold.
    """
    state = NOTE * cursor.note | FLOOD * cursor.flood | cursor.dropped << DROPPED
    body = f"{cursor.raw} {cursor.offset} {cursor.log} {cursor.size} {state}".encode()
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


def in_flight(log: int, cursor: StampCursor) -> bytes:
    """The complete lines that the open log file has beyond its cursor: stamped already, whatever the cursor says of the raw file.

    Lines are appended first and the cursor is written then, so a reader between the two, and whoever comes after a SIGKILL between
    them, must count these.
    """
    info = os.fstat(log)
    if not cursor.reaches_into(info):
        return b""
    data = b""
    while more := os.pread(log, info.st_size - cursor.size - len(data), cursor.size + len(data)):
        data += more
    return data[: data.rfind(b"\n") + 1]


def past(raw: int, offset: int, count: int) -> int:
    """The offset in an open raw file after the next `count` lines from `offset` on, or after as many as there are."""
    while count and (lines := cut(os.pread(raw, BITE, offset))[:count]):
        offset += sum(used for used, _ in lines)
        count -= len(lines)
    return offset


def first_data(raw: int) -> int:
    """Where the holes at the front of a raw file end: without a cursor, it was stamped at least up to there."""
    try:
        return os.lseek(raw, 0, os.SEEK_DATA)
    except (OSError, AttributeError):
        return 0


def _digits(name: str, stream: str) -> bool:
    return name.removeprefix(f"{stream}.").removesuffix(".log").isdigit()
