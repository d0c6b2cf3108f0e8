"""`backup create|list|verify|restore`: what the options mean, where the passphrase comes from, and what is printed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from mcpwatch.app.backup.archive import Archive, BackupError, unpack
from mcpwatch.app.backup.create import create as make
from mcpwatch.app.backup.create import known, prune, source_of
from mcpwatch.app.backup.restore import restore as put_back
from mcpwatch.app.backup.schedule import BackupSpec
from mcpwatch.app.kinds import all_kinds
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, refuse_while_running
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.out import say, say_answer
from mcpwatch.cli.table import coloured, size, table
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import ConfigError, UsageError
from mcpwatch.model.time import WallTime

VARIABLE = "MCPWATCH_BACKUP_PASSPHRASE"


def passphrase(file: Path | None, *, ask: bool, twice: bool = False) -> str | None:
    """From the file, else the environment, else a terminal when `ask`. Raises `UsageError` for an empty one."""
    found = None
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise UsageError(f"--passphrase-file {file}: cannot read it: {error.strerror}") from None
    elif VARIABLE in os.environ:
        found = os.environ[VARIABLE]
    elif ask and sys.stdin.isatty():
        import typer

        found = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice))
    if found is not None and not found:
        raise UsageError("the passphrase is empty")
    return found


def create(
    config: Path | None, directory: Path | None, *, secrets: bool, file: Path | None, keep: int | None, as_json: bool
) -> int:
    """Make a backup and verify it. Exit 0 with its path."""
    secret = passphrase(file, ask=True, twice=True) if secrets else None
    if secrets and secret is None:
        raise UsageError(f"--secrets needs a passphrase: --passphrase-file FILE, or {VARIABLE} in the environment")
    paths, path = ControlSettings.paths(), file_in_use(config)
    plan = load_plan(path, all_kinds(), dict(os.environ), paths.root)
    where = directory or _directory(plan.section("backup"), path)
    archive = make(source_of(path, plan, paths), where, secret, WallTime(time.time()))
    gone = prune(where, keep) if keep else []
    manifest = unpack(archive).manifest
    made = {"path": str(archive), "files": len(manifest.items), "left_out": manifest.left_out, "removed": [str(p) for p in gone]}
    sealed = ", secrets encrypted" if secret else ""
    lines = [f"wrote {archive} ({size(archive.stat().st_size)}, {len(manifest.items)} files{sealed})"]
    if manifest.left_out:
        lines.append(f"left out, because they hold secrets: {', '.join(manifest.left_out)}; take them in with --secrets")
    say_answer(made, [*lines, f"removed {len(gone)} older"] if gone else lines, as_json=as_json)
    return exits.OK


def _directory(spec: object, config: Path) -> Path:
    paths = ControlSettings.paths()
    return spec.directory(config.absolute().parent, paths) if isinstance(spec, BackupSpec) else paths.backups


def list_(directory: Path | None, config: Path | None, *, as_json: bool) -> int:
    """Print the archives of a directory, the newest first."""
    rows: list[dict[str, Any]] = []
    for path in known(_where(directory, config)):
        try:
            archive = unpack(path)
            manifest = archive.manifest
            row = {"made_at": manifest.made_at, "files": len(manifest.items), "secrets": archive.locked, "fault": ""}
        except BackupError as error:
            row = {"made_at": "", "files": 0, "secrets": False, "fault": str(error)}
        rows.append({"path": str(path), "bytes": path.stat().st_size, **row})
    cells = [
        (row["path"], row["made_at"] or "damaged", size(row["bytes"]), str(row["files"]), "yes" if row["secrets"] else "no")
        for row in rows
    ]
    lines = table(("ARCHIVE", "MADE", "SIZE", "FILES", "SECRETS"), cells, colour=coloured()) if rows else ["no backups yet"]
    say_answer(rows, lines, as_json=as_json)
    return exits.OK


def _where(directory: Path | None, config: Path | None) -> Path:
    paths = ControlSettings.paths()
    if directory is not None:
        return directory
    with contextlib.suppress(ConfigError):
        path = file_in_use(config)
        return _directory(load_plan(path, all_kinds(), dict(os.environ), paths.root).section("backup"), path)
    return paths.backups


def verify(path: Path, file: Path | None, *, as_json: bool) -> int:
    """Verify an archive as far as it can be opened. Raises `BackupError` (exit 1) for a damaged one."""
    archive = _opened(path, file)
    manifest = archive.manifest
    found = {
        "path": str(path), "made_at": manifest.made_at, "mcpwatch": manifest.mcpwatch, "config": manifest.config,
        "files": [item.name for item in manifest.items], "left_out": manifest.left_out, "locked": archive.locked,
    }  # fmt: skip
    rest = "; its secrets were not opened: give --passphrase-file" if archive.locked else ""
    whole = f"{path}: whole, {len(archive.files)} of {len(manifest.items)} files verified, made {manifest.made_at}{rest}"
    say_answer(found, [whole], as_json=as_json)
    return exits.OK


def _opened(path: Path, file: Path | None) -> Archive:
    """The archive; the passphrase is asked for only when it has secrets."""
    archive = unpack(path)
    secret = passphrase(file, ask=True) if archive.locked else None
    return unpack(path, secret) if secret is not None else archive


def restore(path: Path, config: Path | None, file: Path | None, *, plain: bool, force: bool, dry_run: bool, as_json: bool) -> int:
    """Restore a fleet from an archive. Raises `BackupError` with nothing changed."""
    paths = ControlSettings.paths()
    if not dry_run:
        refuse_while_running()
    archive = _opened(path, file)
    if archive.locked and not plain:
        raise UsageError(
            f"{path}: holds secrets: give --passphrase-file FILE or {VARIABLE}, or restore without them by --without-secrets"
        )
    if dry_run:
        for item in archive.files:
            say(f"would write {item.name}")
        return exits.OK
    done = put_back(archive, config, paths, force=force)
    found = {
        "config": str(done.config), "state_dir": str(paths.root), "files": len(done.files),
        "moved_aside": [str(one) for one in done.moved], "left_out": done.left_out,
    }  # fmt: skip
    lines = [f"moved aside: {moved}" for moved in done.moved]
    missing = [*done.left_out, *(item.name for item in archive.manifest.items if item.secret and archive.locked)]
    if missing:
        lines.append(f"not restored, because the archive holds them not or locked: {', '.join(missing)}; put them there yourself")
    say_answer(found, [*lines, f"restored {len(done.files)} files; next: mcpwatch up -c {done.config}"], as_json=as_json)
    return exits.OK
