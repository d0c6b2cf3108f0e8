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

from mcpwatch.foreign import file as foreign
from mcpwatch.foreign.file import BOM, Unreadable
from mcpwatch.model.errors import ClientFileError

UNSUPPORTED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK})
"""What a file system answers that has no such thing: neither the file's fault nor a reason to leave it alone."""
_EXCHANGE = 2
_AT_FDCWD = -100


class ChangedMeanwhile(Exception):
    """Someone else wrote the file between our reading and our replacing it; theirs is in place."""


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """A file as read: `path` as the client names it, `real` where it is, `data` its bytes (`None`: there is none)."""

    path: Path
    real: Path
    data: bytes | None = field(repr=False)
    status: os.stat_result | None = None

    @property
    def text(self) -> str | None:
        """The text without its byte order mark."""
        return None if self.data is None else self.data.removeprefix(BOM).decode("utf-8")

    def encode(self, text: str) -> bytes:
        """A new text as bytes, with the byte order mark the file had."""
        return (BOM if (self.data or b"").startswith(BOM) else b"") + text.encode("utf-8")


def resolve(path: Path) -> Path:
    """Where `path` really is. Raises `ClientFileError` for a dangling link and a loop."""
    try:
        real = path.resolve(strict=path.is_symlink())
    except (OSError, RuntimeError):
        raise ClientFileError(f"{path}: is a symbolic link that leads nowhere; left alone") from None
    return real


def read(path: Path, real: Path) -> FileSnapshot:
    """The file now. Raises `ClientFileError` for whatever must be left alone."""
    try:
        found = foreign.read(real, follow=False)
    except Unreadable as why:
        raise ClientFileError(f"{path}: {why}; left alone") from None
    if found is None:
        return FileSnapshot(path, real, None)
    why = _hands_off(real, found.status)
    if why:
        raise ClientFileError(f"{path}: {why}; left alone")
    return FileSnapshot(path, real, found.data, found.status)


def _hands_off(real: Path, status: os.stat_result) -> str:
    """Why a file with these rights, owner or links is left alone, or the empty string."""
    if not status.st_mode & 0o222:
        return "is read-only"
    if os.geteuid() != 0 and status.st_uid != os.geteuid():
        return "belongs to root" if status.st_uid == 0 else "belongs to another user"
    if status.st_nlink > 1 and status.st_nlink - 1 != sum(1 for item in leftovers(real) if _is(item, status)):
        return f"has {status.st_nlink} hard links, which replacing it would part"
    return ""


def _is(path: Path, status: os.stat_result) -> bool:
    """Whether `path` is another name of the same file."""
    try:
        return os.path.samestat(path.lstat(), status)
    except OSError:
        return False


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


def replace(before: FileSnapshot, text: str | None, checkpoint: Callable[[str], None] | None = None) -> str:
    """Put `text` in place of the file that was read as `before` (`None` removes it), if it still is as it was read.

    At every moment the name holds the old or the new file, complete. Raises `ChangedMeanwhile`, or `ClientFileError` when the
    disk or a permission forbids it: then the old file is in place. Returns what could not be made sure of after the file was
    replaced, or the empty string. `checkpoint` is told each step, for tests.
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
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise ClientFileError(f"{before.path}: cannot be written: {error.strerror}; left as it was") from None
    unsure = _sync_directory(before.real.parent)
    step("done")
    return unsure


def leftovers(real: Path) -> tuple[Path, ...]:
    """What an earlier writer that was killed left beside the file, or one that is at work has there now."""
    prefix = f".{real.name}.mcpwatch-"
    with suppress(OSError):
        return tuple(item for item in real.parent.iterdir() if item.name.startswith(prefix) and item.name.endswith(".tmp"))
    return ()


def link_of(leftover: Path, real: Path) -> bool:
    """Whether a leftover is the file itself under a second name: its writer was killed between making and removing that."""
    try:
        return leftover.samefile(real)
    except OSError:
        return False


def _nothing(step: str) -> None:
    del step


def _write(temporary: Path, data: bytes, before: FileSnapshot, step: Callable[[str], None]) -> None:
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


def _like(fd: int, before: FileSnapshot) -> None:
    """Give the new file the owner, mode, ACL and attributes of the old one."""
    status = before.status
    assert status is not None
    ours = os.fstat(fd)
    if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    for name in _attributes(before.real):
        try:
            os.setxattr(fd, name, os.getxattr(before.real, name))
        except OSError as error:
            if name == "system.posix_acl_access" or error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise


def _attributes(path: Path) -> list[str]:
    """The names of a file's extended attributes; none where the file system knows none."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return []
        raise


def _swap(before: FileSnapshot, temporary: Path, data: bytes | None, step: Callable[[str], None]) -> None:
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
    if code in UNSUPPORTED:
        return False
    if code == errno.ENOENT:
        raise ChangedMeanwhile
    raise OSError(code, os.strerror(code))


def _sync_directory(directory: Path) -> str:
    """Make the new name durable; in words what kept it from being so. Some file systems know no such thing."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            return f"was written, but {directory} could not be made durable: {error.strerror}; a power cut now may undo it"
    return ""
