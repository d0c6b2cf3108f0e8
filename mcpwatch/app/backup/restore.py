"""Restoring a backup on this machine: all of it, or nothing. What stands in the way is refused, or moved aside with `force`."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mcpwatch.app.backup.archive import Archive, BackupError, Item
from mcpwatch.app.files import write_bytes_atomically
from mcpwatch.app.paths import StatePaths

ASIDE = ".before-restore"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written: the configuration, the other files, what was moved aside, what the archive did not hold."""

    config: Path
    files: tuple[Path, ...]
    moved: tuple[Path, ...]
    left_out: tuple[str, ...]


def restore(archive: Archive, config: Path | None, paths: StatePaths, *, force: bool) -> Restored:
    """Write every file of a verified archive. `config`: where the configuration goes; default: where it was.

    Raises `BackupError`, and then nothing was changed, when a file is there already (without `force`) or cannot be written.
    """
    target = (config or Path(archive.manifest.config)).absolute()
    original = Path(archive.manifest.config)
    places = {item: _place(item, target, original) for item in archive.files if item.base != "state"}
    state = {item: data for item, data in archive.files.items() if item.base == "state"}
    in_the_way = [path for path in places.values() if path.exists()] + ([paths.root] if _used(paths.root) else [])
    if in_the_way and not force:
        names = ", ".join(str(path) for path in in_the_way)
        raise BackupError(f"{names}: is there already; nothing was changed. With --force it is moved aside to *{ASIDE}")
    fresh = _state(state, paths)
    moved: list[Path] = []
    written: list[Path] = []
    try:
        for path in in_the_way:
            _move(path, _aside(path))
            moved.append(path)
        for item, path in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(path, archive.files[item], item.mode)
            written.append(path)
        if paths.root.exists():
            paths.root.rmdir()
        fresh.rename(paths.root)
    except OSError as error:
        _back(written, moved)
        shutil.rmtree(fresh, ignore_errors=True)
        raise BackupError(f"{error.filename}: cannot be written: {error.strerror}; everything is as it was") from error
    return Restored(
        target, (*written, *(paths.root / item.path for item in state)), tuple(_aside(p) for p in moved), archive.manifest.left_out
    )


def _place(item: Item, target: Path, original: Path) -> Path:
    if item.base == "absolute":
        return Path(item.path)
    return target if item.path == original.name else target.parent / item.path


def _used(root: Path) -> bool:
    return root.is_dir() and any(root.iterdir())


def _state(files: dict[Item, bytes], paths: StatePaths) -> Path:
    """A new state directory beside the place of the real one, complete."""
    try:
        paths.root.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{paths.root.name}-", dir=paths.root.parent))
        for item, data in files.items():
            path = fresh / item.path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(item.mode)
        fresh.chmod(0o700)
    except OSError as error:
        raise BackupError(f"{error.filename}: cannot be written: {error.strerror}; nothing was changed") from error
    return fresh


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ASIDE)


def _move(path: Path, aside: Path) -> None:
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    elif aside.exists():
        aside.unlink()
    os.rename(path, aside)  # noqa: PTH104 - never across file systems: the state directory stays whole


def _back(written: list[Path], moved: list[Path]) -> None:
    for path in written:
        with contextlib.suppress(OSError):
            path.unlink()
    for path in moved:
        with contextlib.suppress(OSError):
            os.rename(_aside(path), path)  # noqa: PTH104
