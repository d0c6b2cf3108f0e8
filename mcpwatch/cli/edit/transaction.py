"""Edits of files that are all made, or all taken back: also when the command is killed between two of its steps.

Owns the journal `STATE/edits/journal.json` (0600), which holds the old text of each file until the edit is proved, and the lock
beside it that keeps a second command of this fleet out. It must not know what is edited.
See ADR 0081.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mcpwatch.app.files import sweep, write_atomically
from mcpwatch.model.errors import McpwatchError, UsageError
from mcpwatch.model.text import digest

LOCK_WAIT = 300.0
"""Seconds that a command waits for another one that edits the same fleet."""

_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Edit:
    """One file to write: `old` is what it holds now (`None`: it is not there), `new` what it shall hold."""

    path: str
    old: str | None
    new: str
    mode: int = 0o600
    backup: bool = True


class EditFailed(McpwatchError):
    """The file could not be written; everything is as it was."""

    exit_code = 1


def directory(state: Path) -> Path:
    """Where the journal and its lock are."""
    return state / "edits"


def journal(state: Path) -> Path:
    """The journal of an edit that is not proved yet."""
    return directory(state) / "journal.json"


@contextlib.contextmanager
def locked(state: Path, wait: float = LOCK_WAIT) -> Generator[None]:
    """Hold the lock. Raises `McpwatchError` when another command holds it for longer than `wait` seconds."""
    for folder in (state, directory(state)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _flock(directory(state) / "lock", wait):
        sweep(journal(state))
        yield


@contextlib.contextmanager
def _flock(path: Path, wait: float) -> Generator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise McpwatchError(f"{path}: another mcpwatch command edits this fleet; try again when it has ended") from None
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)


def begin(state: Path, what: str, edits: Iterable[Edit]) -> None:
    """Write the journal: from now on a killed command is taken back by the next one. Raises `EditFailed`."""
    body = {"what": what, "edits": [asdict(edit) for edit in edits]}
    try:
        write_atomically(journal(state), json.dumps(body), 0o600)
    except OSError as error:
        raise EditFailed(f"{journal(state)}: cannot be written: {error.strerror}; nothing was changed") from error


def write(edits: Iterable[Edit]) -> None:
    """Write every file. Raises `EditFailed`: the caller then takes it back."""
    for edit in edits:
        path = Path(edit.path).resolve()
        try:
            owner = path.stat() if path.exists() else None
            write_atomically(path, edit.new, edit.mode)
            if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(path, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise EditFailed(f"{edit.path}: cannot be written: {error.strerror}") from error


def keep_old(edits: Iterable[Edit]) -> None:
    """The old text of each file as `NAME.bak` beside it, once the edit is proved. A disk that is full costs the copy only."""
    for edit in edits:
        path = Path(edit.path).resolve()
        if edit.old is not None and edit.backup:
            with contextlib.suppress(OSError):
                write_atomically(_old(path), edit.old, edit.mode)


def _old(path: Path) -> Path:
    """Where the old text of a file is kept."""
    return path.with_name(path.name + ".bak")


def make_way(path: Path) -> None:
    """The directory of a file that is still to be made. Raises `EditFailed`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EditFailed(f"{path.parent}: cannot be made: {error.strerror}") from error


def writable(path: Path) -> None:
    """Raises `UsageError` for a file that its owner made read-only, also for root."""
    with contextlib.suppress(FileNotFoundError):
        if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
            raise UsageError(f"{path}: is read-only; make it writable first (chmod u+w), or edit another file with -c")


def end(state: Path) -> None:
    """The edit counts: forget the journal."""
    journal(state).unlink(missing_ok=True)


def take_back(state: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Undo what the journal says. Returns what it was, the files put back, and those that somebody changed since (left alone).

    Call it with the locks held. Raises `McpwatchError` for a journal that cannot be read or a file that cannot be written.
    """
    try:
        body = json.loads(journal(state).read_text(encoding="utf-8"))
        edits = [Edit(**edit) for edit in body["edits"]]
        back: list[str] = []
        left: list[str] = []
        for edit in edits:
            path = Path(edit.path).resolve()
            for written in (path, _old(path)):
                sweep(written)
            now = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else None
            if now == edit.old:
                continue
            if now is None or digest(now) != digest(edit.new):
                left.append(edit.path)
            elif edit.old is None:
                path.unlink()
                back.append(edit.path)
            else:
                write_atomically(path, edit.old, edit.mode)
                back.append(edit.path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise McpwatchError(f"{journal(state)}: the interrupted edit cannot be taken back: {error}") from error
    end(state)
    return str(body["what"]), tuple(back), tuple(left)


def interrupted(state: Path) -> Path | None:
    """A file of an edit whose command was killed, or `None`: none, or the command still runs. Cheap: one look when all is well."""
    if not journal(state).exists():
        return None
    try:
        with _flock(directory(state) / "lock", 0.0):
            body = json.loads(journal(state).read_text(encoding="utf-8"))
            return Path(body["edits"][0]["path"])
    except FileNotFoundError:
        return None
    except McpwatchError:
        return None
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise McpwatchError(
            f"{journal(state)}: the journal of an interrupted edit cannot be read: {error}; look at it, then remove it"
        ) from error
