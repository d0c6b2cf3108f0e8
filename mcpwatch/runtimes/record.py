"""What is known of a member's latest incarnation, on disk: `<state>/run/<runtime>/<member>.json`, overwritten in place.

A process is written before the spawn (intent) and again after it (pid, start ticks, boot), so that a watchdog killed anywhere in
between leaves either a record or a marked process that the next one finds. A container or pod is written when it lives: its label
keeps the generation it was created for, also when it is started again, and is believed only without a record. Holds no secret.
Not flushed to the platter: it only has to survive the watchdog's death, and after a power cut no process it names is alive.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import quote

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.lock import clear_way

VERSION = 1
BLOCK = 2048
"""Bytes that a record is padded to; it is written in one call, so a SIGKILL leaves the old or the new one. (A rename over the old
file, the usual way, makes ext4 write out at once: 0.5 ms on a quiet disk, many on a busy one, three times in every restart.)"""
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Record:
    """One member's latest incarnation. `pid` is `None` between intent and spawn; `ended` once its end was seen."""

    member: str
    generation: int
    fingerprint: str = ""
    boot: str = ""
    pid: int | None = None
    ticks: int = 0
    started_at: float = 0.0
    restarts: int = 0
    ended: bool = False
    planned: bool = False
    container: str = ""
    """The container, or the run of a pod, that this is."""
    version: int = VERSION


_FIELDS = tuple(item.name for item in fields(Record))


class Records:
    """The records of one runtime in one state directory."""

    def __init__(self, directory: Path, runtime: str) -> None:
        self._directory = directory / "run" / runtime
        self._old = directory / runtime

    def any(self) -> bool:
        """Whether anything was ever started from this state directory."""
        self._take_in()
        return next(self._directory.glob("*.json"), None) is not None

    def load(self) -> dict[str, Record]:
        """All readable records by member. A broken or newer one is left out: what runs is found by its mark anyway."""
        self._take_in()
        found: dict[str, Record] = {}
        try:
            paths = sorted(self._directory.glob("*.json"))
        except OSError:
            return found
        for path in paths:
            try:
                record = Record(**json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError):
                continue
            if record.version == VERSION:
                found[record.member] = record
        return found

    def write(self, record: Record) -> Record:
        """Replace the member's record. Raises `RuntimeFailed` when the state directory cannot be written."""
        path = self._path(record.member)
        text = json.dumps({name: getattr(record, name) for name in _FIELDS}).encode()
        text = text.ljust(-(-len(text) // BLOCK) * BLOCK - 1) + b"\n"
        try:
            try:
                fd = os.open(path, _WRITE, 0o600)
            except (FileNotFoundError, NotADirectoryError):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                fd = os.open(path, _WRITE, 0o600)
            except IsADirectoryError:
                clear_way(path)
                fd = os.open(path, _WRITE, 0o600)
            try:
                os.pwrite(fd, text, 0)
                if os.fstat(fd).st_size != len(text):
                    os.ftruncate(fd, len(text))
            finally:
                os.close(fd)
        except OSError as error:
            raise RuntimeFailed(
                f"{record.member}: cannot write {path}: {error.strerror}; free or repair the state directory"
            ) from error
        return record

    def note(self, record: Record, **changes: object) -> Record:
        """The record with `changes`, written if that is possible; what is lost with a full disk is found by scanning."""
        changed = replace(record, **changes)  # pyright: ignore[reportArgumentType]
        try:
            return self.write(changed)
        except RuntimeFailed:
            return changed

    def drop(self, member: str) -> None:
        """Forget a member that is no longer in the plan."""
        with contextlib.suppress(OSError):
            self._path(member).unlink()

    def _take_in(self) -> None:
        """What an earlier version kept of containers and pods, `<state>/<runtime>/<member>.json`, unless there is newer; once."""
        with contextlib.suppress(OSError, RuntimeFailed):  # what cannot be kept now stays where it is
            for path in sorted(self._old.glob("*.json")) if self._old.is_dir() else ():
                with contextlib.suppress(ValueError, TypeError, LookupError):
                    said = json.loads(path.read_bytes())
                    old = Record(str(said["member"]), int(said["generation"]), container=str(said["container"]))
                    if not self._path(old.member).exists():
                        self.write(old)
                path.unlink()
            self._old.rmdir()

    def _path(self, member: str) -> Path:
        return self._directory / f"{quote(member, safe='')}.json"
