"""Backups of client files: what a file was before each write, for this user only, with retention. Shell.

Kept under the state directory (never beside the file: that may be a git work tree), one directory per file. The oldest, the file
as it was before mcpwatch ever touched it, is kept for good; of the others the newest few.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mcpwatch.clients.ledger import Ledger, digest, dumps, loads
from mcpwatch.foreign.file import BOM
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.time import WallTime, iso

KEEP = 10


@dataclass(frozen=True, slots=True)
class Backup:
    """One earlier state of a file: its bytes (`None`: there was no file) and the ledger that went with it."""

    at: str
    path: Path
    data: bytes | None = field(repr=False)
    ledger: Ledger


class Backups:
    """The backups of one daemon."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self._directory = directory
        self._keep = keep

    def save(self, kind: str, path: Path, data: bytes | None, ledger: Ledger, at: WallTime) -> None:
        """Keep `data`. Raises `ClientFileError`: without a backup nothing is written."""
        folder = self._folder(kind, path)
        stamp = _stamp(at)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if data is not None:
                _private(folder / f"{stamp}.bak", data)
            note = {"path": str(path), "absent": data is None, "sha256": _sum(data), "ledger": dumps(ledger)}
            _private(folder / f"{stamp}.json", json.dumps(note).encode())
        except OSError as error:
            raise ClientFileError(f"{path}: no backup could be made in {folder}: {error.strerror}; left as it was") from None
        self._forget(folder)

    def keep(self, kind: str, path: Path, leftover: Path) -> None:
        """Move in what a killed writer left beside the file: it may be the only copy of something."""
        folder = self._folder(kind, path)
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _private(folder / f"leftover-{leftover.name.rsplit('-', 1)[-1]}", leftover.read_bytes())
            for old in sorted(folder.glob("leftover-*"), key=lambda item: item.stat().st_mtime)[: -self._keep]:
                old.unlink()
        with suppress(OSError):
            leftover.unlink()

    def newest(self, kind: str, path: Path) -> Backup | None:
        """The latest backup of a file that can be read, or `None`."""
        notes = sorted(self._folder(kind, path).glob("*.json"), reverse=True)
        return next((found for note in notes if (found := _load(note))), None)

    def drop(self, kind: str, path: Path, backup: Backup) -> None:
        """Forget a backup that was put back, so that the next undo goes one step further."""
        _remove(self._folder(kind, path) / f"{backup.at}.json")

    def join(self, kind: str, path: Path, since: WallTime) -> None:
        """Make the writes since a time one step back: of their backups only the first stays.

        A write that found the file changed by somebody else begins a step of its own: going back over it would lose that change.
        """
        notes = sorted(note for note in self._folder(kind, path).glob("*.json") if note.stem >= _stamp(since))
        for note in reversed(notes[1:]):
            found = _load(note)
            if found is not None and digest((found.data or b"").removeprefix(BOM).decode("utf-8", "replace")) == found.ledger.file:
                self.drop(kind, path, found)

    def _folder(self, kind: str, path: Path) -> Path:
        return self._directory / f"{kind}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"

    def _forget(self, folder: Path) -> None:
        notes = sorted(folder.glob("*.json"))
        for note in notes[1 : -self._keep] if len(notes) > self._keep + 1 else ():
            _remove(note)


def _remove(note: Path) -> None:
    """Remove a backup; what somebody put in place of its files is left alone, and keeps nobody from the file itself."""
    for part in (note.with_suffix(".bak"), note):
        with suppress(OSError):
            part.unlink()


def _stamp(at: WallTime) -> str:
    """The name of a backup, in the order of time."""
    return iso(at).replace(":", "").replace("-", "")


def _load(note: Path) -> Backup | None:
    try:
        body = json.loads(note.read_text("utf-8"))
        data = None if body["absent"] else note.with_suffix(".bak").read_bytes()
        if body.get("sha256", _sum(data)) != _sum(data):  # cut, or of another hand: what it would bring back was never there
            return None
        return Backup(note.stem, Path(body["path"]), data, loads(body["ledger"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sum(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()


def _private(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
