"""Making a backup: what belongs into it, gathered while the fleet runs on. The store is copied by SQLite's online backup.

Owns which files of the state directory count: all but logs, records of what runs, locks, sockets and earlier backups.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcpwatch import __version__
from mcpwatch.app.backup.archive import BackupError, Base, Item, Manifest, pack, unpack
from mcpwatch.app.files import write_bytes_atomically
from mcpwatch.app.paths import StatePaths
from mcpwatch.config.load import read_document
from mcpwatch.foreign.document import Value
from mcpwatch.model.spec import Plan
from mcpwatch.model.time import WallTime, iso

PREFIX, SUFFIX = "mcpwatch-", ".tar.gz"
_LEFT = frozenset({"logs", "run", "lock", "control.sock", "edits", "mcpwatch.log"})
"""Names in the state directory that belong to this moment of this machine, not to the fleet."""
_STORE = ("state.db", "state.db-wal", "state.db-shm")


@dataclass(frozen=True, slots=True)
class BackupSource:
    """What is backed up: the configuration, the files of variables it names (absolute), every secret value of the plan."""

    config: Path
    env_files: Sequence[Path]
    secrets: Sequence[str]
    paths: StatePaths


def source_of(config: Path, plan: Plan, paths: StatePaths) -> BackupSource:
    """What belongs into a backup of the fleet in this file. Raises `ConfigError` when it cannot be read."""
    base = config.absolute().parent
    names = dict.fromkeys(_named_files(read_document(config).data))
    files = [base / Path(name).expanduser() for name in names]
    return BackupSource(config, [path for path in files if path.is_file()], plan.secrets, paths)


def _named_files(value: Value, key: str = "") -> Iterator[str]:
    """The files that the configuration names under keys such as `env_file` and `ca_file`."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _named_files(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _named_files(item, key)
    elif isinstance(value, str) and key.endswith("_file"):
        yield value


def create(source: BackupSource, directory: Path, passphrase: str | None, now: WallTime) -> Path:
    """Write an archive and verify it as written; its path. Raises `BackupError`.

    Without a passphrase files with secrets are left out and named; a configuration that holds some itself is refused.
    """
    files: list[tuple[Item, bytes]] = []
    left: list[str] = []
    for item, data in _gathered(source):
        if not item.secret or passphrase is not None:
            files.append((item, data))
        elif item.base == "config" and item.path == source.config.name:
            raise BackupError(
                f"{source.config}: holds secrets in plain text; back it up with --secrets, or move them to its env_file"
            )
        else:
            left.append(item.path if item.base == "absolute" else item.name)
    manifest = Manifest(iso(now), __version__, str(source.config.absolute()), str(source.paths.root), (), tuple(left))
    stamp = iso(now).replace(":", "").replace("-", "").split(".")[0]
    path = directory / f"{PREFIX}{stamp}Z{SUFFIX}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes_atomically(path, pack(manifest, files, passphrase), 0o600)
    except OSError as error:
        raise BackupError(f"{path}: cannot be written: {error.strerror}") from error
    unpack(path)
    return path


def _gathered(source: BackupSource) -> Iterator[tuple[Item, bytes]]:
    base = source.config.absolute().parent
    yield _item(source, "config", source.config.name, source.config)
    for path in source.env_files:
        inside = path.absolute().is_relative_to(base)
        name = str(path.absolute().relative_to(base) if inside else path.absolute())
        secret = not path.name.endswith((".pem", ".crt"))
        yield _item(source, "config" if inside else "absolute", name, path, secret=secret)
    if source.paths.store.exists():
        data = _store(source.paths.store)
        yield Item("state", source.paths.store.name, 0o600, _holds(data, source.secrets)), data
    for path in sorted(_state_files(source.paths)):
        yield _item(source, "state", str(path.relative_to(source.paths.root)), path)


def _item(source: BackupSource, base: Base, name: str, path: Path, *, secret: bool = False) -> tuple[Item, bytes]:
    try:
        data, mode = path.read_bytes(), path.stat().st_mode & 0o777
    except OSError as error:
        raise BackupError(f"{path}: cannot be read: {error.strerror}; no backup was made") from error
    return Item(base, name, mode, secret or _holds(data, source.secrets)), data


def _holds(data: bytes, secrets: Sequence[str]) -> bool:
    return any(secret and secret.encode() in data for secret in secrets)


def _state_files(paths: StatePaths) -> Iterator[Path]:
    for folder, names, files in os.walk(paths.root):
        here = Path(folder)
        if here == paths.root:
            names[:] = [name for name in names if name not in _LEFT]
        names[:] = [name for name in names if here / name != paths.backups]
        for name in files:
            path = here / name
            left = here == paths.root and (name in _LEFT or name in _STORE)
            if not left and path.is_file() and not path.is_symlink() and not name.endswith(".sock"):
                yield path


def _store(path: Path) -> bytes:
    """A consistent copy of the store, taken while another process writes it. Raises `BackupError`."""
    with tempfile.TemporaryDirectory(prefix="mcpwatch-backup-") as scratch:
        copy = Path(scratch) / "state.db"
        try:
            reader, writer = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30), sqlite3.connect(copy)
            try:
                reader.backup(writer, pages=2000)
                writer.execute("PRAGMA journal_mode=DELETE")
            finally:
                reader.close()
                writer.close()
        except sqlite3.Error as error:
            raise BackupError(f"{path}: cannot be copied: {error}") from error
        return copy.read_bytes()


def known(directory: Path) -> list[Path]:
    """The archives in a directory, the newest first."""
    return sorted(directory.glob(f"{PREFIX}*{SUFFIX}"), reverse=True)


def prune(directory: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` archives; those that were removed."""
    gone = known(directory)[keep:]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone
