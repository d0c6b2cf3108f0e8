"""`export`: reads the fleet's file, renders one format, writes the directory whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mcpwatch.cli import exits
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.export import compose, kubernetes, quadlet, systemd
from mcpwatch.cli.export.parts import HEADING
from mcpwatch.cli.export.service import ExportedFleet, fleet
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.versions import old_for_export
from mcpwatch.model.errors import ConfigError, UsageError

Format = Literal["compose", "quadlet", "systemd", "kubernetes"]
FORMATS: Mapping[Format, Callable[[ExportedFleet], dict[str, str]]] = {
    "compose": compose.files,
    "quadlet": quadlet.files,
    "systemd": systemd.files,
    "kubernetes": kubernetes.files,
}


def export(form: Format, directory: Path, config: Path | None, *, force: bool, as_json: bool) -> int:
    """Write the fleet. Raises `UsageError` rather than mix with other files."""
    path = file_in_use(config)
    found, texts = rendered(form, path)
    if not found.proxy.route:
        why = "".join(f"; {name}: {reason}" for name, reason in found.left)
        raise UsageError(f"{path}: has no server to export{why or '; add one with: mcpwatch add NAME -- COMMAND'}")
    try:
        _replace(directory.absolute(), texts, force=force)
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: cannot be written: {error.strerror or error}") from error
    written = {"directory": str(directory), "files": sorted(texts), "left": [{"member": n, "why": w} for n, w in found.left]}
    say_answer(written, _told(form, directory, found, len(texts)), as_json=as_json)
    return exits.OK


def _told(form: Format, directory: Path, found: ExportedFleet, files: int) -> Iterator[str]:
    yield f"wrote {files} files into {directory}; begin with {directory / 'README.md'}"
    yield from (f"! {service.name}: {note}" for service in (*found.services, found.proxy) for note in service.notes)
    yield from (f"! {old.what}: {old.program.lacks}" for old in old_for_export(form, os.environ))
    yield from (f"! {name}: not taken along: {why}" for name, why in found.left)


def rendered(form: Format, path: Path) -> tuple[ExportedFleet, dict[str, str]]:
    """The fleet in a file, and the texts of one format by path. Raises `ConfigError`."""
    file = read_fleet_file(path)
    if faults := file.faults():
        raise ConfigError(*faults)
    found = fleet(file.document, {name: _written(file.as_ours(name)) for name in file.members})
    return found, FORMATS[form](found)


def _written(member: Mapping[str, Any]) -> dict[str, Any]:
    """A key without a value is as good as none."""
    return {key: value for key, value in member.items() if value is not None}


def _replace(directory: Path, texts: Mapping[str, str], *, force: bool) -> None:
    """Write the texts, then put them where the directory is. Env files that were filled in there stay.

    Raises `UsageError` for a directory that is not replaced, and `OSError`.
    """
    _refuse_others(directory, force=force)
    directory.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    fresh = place / "new"
    try:
        for name, text in sorted(texts.items()):
            path = fresh / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
        for filled in (one for one in sorted(directory.rglob("*.env")) if one.is_file()):
            kept = fresh / filled.relative_to(directory)
            kept.parent.mkdir(exist_ok=True, parents=True)
            shutil.copy2(filled, kept, follow_symlinks=False)
        fresh.chmod(0o755)
        if directory.exists():
            directory.rename(place / "old")
        fresh.rename(directory)
    finally:
        if (place / "old").exists() and not directory.exists():
            (place / "old").rename(directory)
        shutil.rmtree(place, ignore_errors=True)


def _refuse_others(directory: Path, *, force: bool) -> None:
    """Raises `UsageError` for what is not a directory, or holds something; with `force`, something other than an earlier export."""
    if not directory.exists():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise UsageError(f"{directory}: is not a directory; choose another")
    if not any(directory.iterdir()):
        return
    if not force:
        raise UsageError(f"{directory}: is not empty; choose another directory, or replace it with --force")
    index = directory / "README.md"
    if not index.is_file() or not index.read_bytes().startswith(HEADING.encode()):
        raise UsageError(f"{directory}: holds other files than an export, which --force would remove; choose another directory")
