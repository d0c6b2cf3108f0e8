"""One client file on disk: read with care, replaced whole or not at all. Shell; knows no syntax and no client.

Owns: which files are left alone and why; byte order mark, mode, owner, ACL and extended attributes; the replacement itself, by
exchanging names, so that what was replaced can be looked at afterwards and put back if it is not what had been read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mcpwatch.model.errors import ClientFileError

LARGEST = 16 * 1024 * 1024
"""Bytes; a larger file is left alone."""
_BOM = b"\xef\xbb\xbf"
_EXCHANGE = 2
_AT_FDCWD = -100


class ChangedMeanwhile(Exception):
    """Someone else wrote the file between our reading and our replacing it; theirs is in place."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file as read: `path` as the client names it, `real` where it is, `data` its bytes (`None`: there is none)."""

    path: Path
    real: Path
    data: bytes | None = field(repr=False)
    status: os.stat_result | None = None

    @property
    def text(self) -> str | None:
        """The text without its byte order mark."""
        return None if self.data is None else self.data.removeprefix(_BOM).decode("utf-8")

    def encode(self, text: str) -> bytes:
        """A new text as bytes, with the byte order mark the file had."""
        return (_BOM if (self.data or b"").startswith(_BOM) else b"") + text.encode("utf-8")


def resolve(path: Path) -> Path:
    """Where `path` really is. Raises `ClientFileError` for a dangling link and a loop."""
    try:
        real = path.resolve(strict=path.is_symlink())
    except (OSError, RuntimeError):
        raise ClientFileError(f"{path}: is a symbolic link that leads nowhere; left alone") from None
    return real


def read(path: Path, real: Path) -> Snapshot:
    """The file now. Raises `ClientFileError` for whatever must be left alone."""
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Snapshot(path, real, None)
    except OSError as error:
        raise ClientFileError(f"{path}: cannot be read: {error.strerror}; left alone") from None
    status = os.fstat(fd)
    why = _hands_off(status)
    if why:
        os.close(fd)
        raise ClientFileError(f"{path}: {why}; left alone")
    with os.fdopen(fd, "rb") as file:
        try:
            data = file.read(LARGEST + 1)
        except OSError as error:
            raise ClientFileError(f"{path}: cannot be read: {error.strerror}; left alone") from None
    if len(data) > LARGEST:
        raise ClientFileError(f"{path}: is larger than {LARGEST // 1024**2} MiB; left alone")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise ClientFileError(f"{path}: is not UTF-8 text; left alone") from None
    return Snapshot(path, real, data, status)


def _hands_off(status: os.stat_result) -> str:
    """Why a file of this kind, size or ownership is left alone, or the empty string."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size > LARGEST:
        return f"is larger than {LARGEST // 1024**2} MiB"
    if not status.st_mode & 0o222:
        return "is read-only"
    if os.geteuid() != 0 and status.st_uid != os.geteuid():
        return "belongs to root" if status.st_uid == 0 else "belongs to another user"
    if status.st_nlink > 1:
        return f"has {status.st_nlink} hard links, which replacing it would part"
    return ""


def make_directory(path: Path) -> None:
    """Make the directories above `path`, for this user only."""
    for directory in reversed(path.parents):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            if not directory.is_dir():
                raise ClientFileError(f"{path}: {directory} cannot be made: {error.strerror}") from None


def replace(before: Snapshot, text: str | None, checkpoint: Callable[[str], None] | None = None) -> None:
    """Put `text` in place of the file that was read as `before` (`None` removes it), if it still is as it was read.

    At every moment the name holds the old or the new file, complete. Raises `ChangedMeanwhile`, or `ClientFileError` when the
    disk or a permission forbids it: then the old file is in place. `checkpoint` is told each step, for tests.
    """
    step = checkpoint or _nothing
    temporary = before.real.parent / f".{before.real.name}.mcpwatch-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        try:
            data = None if text is None else before.encode(text)
            if data is not None:
                _write(temporary, data, before, step)
            step("written")
            _swap(before, temporary, data, step)
            step("swapped")
            _sync_directory(before.real.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise ClientFileError(f"{before.path}: cannot be written: {error.strerror}; left as it was") from None
    step("done")


def leftovers(real: Path) -> tuple[Path, ...]:
    """What an earlier writer that was killed left beside the file. Only to be called under the lock."""
    prefix = f".{real.name}.mcpwatch-"
    with suppress(OSError):
        return tuple(item for item in real.parent.iterdir() if item.name.startswith(prefix) and item.name.endswith(".tmp"))
    return ()


def _nothing(step: str) -> None:
    del step


def _write(temporary: Path, data: bytes, before: Snapshot, step: Callable[[str], None]) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    step("created")
    with os.fdopen(fd, "wb") as file:
        half = len(data) // 2
        file.write(data[:half])
        file.flush()
        step("half")
        file.write(data[half:])
        file.flush()
        if before.status is not None:
            _like(fd, before)
        os.fsync(fd)


def _like(fd: int, before: Snapshot) -> None:
    """Give the new file the owner, mode, ACL and attributes of the old one."""
    status = before.status
    assert status is not None
    ours = os.fstat(fd)
    if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    if not hasattr(os, "listxattr"):
        return
    for name in os.listxattr(before.real):
        try:
            os.setxattr(fd, name, os.getxattr(before.real, name))
        except OSError as error:
            if name == "system.posix_acl_access" or error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise


def _swap(before: Snapshot, temporary: Path, data: bytes | None, step: Callable[[str], None]) -> None:
    if before.data is None:
        if data is not None:
            try:
                os.link(temporary, before.real)
            except FileExistsError:
                raise ChangedMeanwhile from None
        return
    if data is None:
        before.real.rename(temporary)
        if temporary.read_bytes() != before.data:
            with suppress(FileExistsError):
                os.link(temporary, before.real)
            raise ChangedMeanwhile
        return
    if before.real.read_bytes() != before.data:
        raise ChangedMeanwhile
    step("checked")
    if not _exchange(temporary, before.real):
        temporary.rename(before.real)
        return
    step("exchanged")
    if temporary.read_bytes() == before.data:
        return
    _exchange(temporary, before.real)
    if temporary.read_bytes() != data:
        _exchange(temporary, before.real)
    raise ChangedMeanwhile


_LIBC = ctypes.CDLL(None, use_errno=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step of the kernel; `False` where it cannot (not Linux, or a file system without it)."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    if code == errno.ENOENT:
        raise ChangedMeanwhile
    raise OSError(code, os.strerror(code))


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
