"""Reading a file that somebody else owns: bounded, never blocking, decoded, and refused in words that name the reason.

Owns what is no text for us (a pipe, a device, too large, not UTF-8) and the byte order mark. Knows no syntax.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 8 * 1024 * 1024
"""Bytes; a larger file is not read. The standard library's JSON parser holds the interpreter about 100 ms for so much."""
BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Unreadable(Exception):
    """Why a file is not read, as a predicate in one line ("is not UTF-8 text"); it names neither the file nor its content."""


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file as read: its bytes, and its status from the same open descriptor."""

    data: bytes = field(repr=False)
    status: os.stat_result

    @property
    def text(self) -> str:
        """The text without its byte order mark."""
        return self.data.removeprefix(BOM).decode("utf-8")


def read(path: Path, largest: int = LARGEST, *, follow: bool = True) -> ForeignFile | None:
    """The file, or `None` when there is none. Raises `Unreadable` for whatever is no UTF-8 text of at most `largest` bytes.

    `follow` says whether a symbolic link as the last step is followed.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise Unreadable("is not a regular file")
    with os.fdopen(fd, "rb") as file:
        if status.st_size > largest:
            raise Unreadable(_too_large(largest))
        try:
            data = file.read(largest + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None
    if len(data) > largest:
        raise Unreadable(_too_large(largest))
    if data.startswith(_UTF16):
        raise Unreadable("is UTF-16, not UTF-8 text")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None
    return ForeignFile(data, status)


def _too_large(largest: int) -> str:
    return f"is larger than {largest // 1024**2} MiB"
