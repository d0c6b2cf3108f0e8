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
from mcpwatch.app.paths import state_paths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.table import coloured, size, table
from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import ConfigError, NoDaemon, UsageError
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
    paths, path = state_paths(ControlSettings.state_dir), file_in_use(config)
    plan = load_plan(path, all_kinds(), dict(os.environ), paths.root)
    where = directory or _directory(plan.section("backup"), path)
    archive = make(source_of(path, plan, paths), where, secret, WallTime(time.time()))
    gone = prune(where, keep) if keep else []
    manifest = unpack(archive).manifest
    if as_json:
        say_json(
            {"path": str(archive), "files": len(manifest.items), "left_out": manifest.left_out, "removed": [str(p) for p in gone]}
        )
        return exits.OK
    say(f"wrote {archive} ({size(archive.stat().st_size)}, {len(manifest.items)} files{', secrets encrypted' if secret else ''})")
    if manifest.left_out:
        say(f"left out, because they hold secrets: {', '.join(manifest.left_out)}; take them in with --secrets")
    if gone:
        say(f"removed {len(gone)} older")
    return exits.OK


def _directory(spec: object, config: Path) -> Path:
    paths = state_paths(ControlSettings.state_dir)
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
    if as_json:
        say_json(rows)
        return exits.OK
    cells = [
        (row["path"], row["made_at"] or "damaged", size(row["bytes"]), str(row["files"]), "yes" if row["secrets"] else "no")
        for row in rows
    ]
    for line in table(("ARCHIVE", "MADE", "SIZE", "FILES", "SECRETS"), cells, colour=coloured()) if rows else ["no backups yet"]:
        say(line)
    return exits.OK


def _where(directory: Path | None, config: Path | None) -> Path:
    paths = state_paths(ControlSettings.state_dir)
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
    if as_json:
        say_json({
            "path": str(path), "made_at": manifest.made_at, "mcpwatch": manifest.mcpwatch, "config": manifest.config,
            "files": [item.name for item in manifest.items], "left_out": manifest.left_out, "locked": archive.locked,
        })  # fmt: skip
        return exits.OK
    rest = "; its secrets were not opened: give --passphrase-file" if archive.locked else ""
    say(f"{path}: whole, {len(archive.files)} of {len(manifest.items)} files verified, made {manifest.made_at}{rest}")
    return exits.OK


def _opened(path: Path, file: Path | None) -> Archive:
    """The archive; the passphrase is asked for only when it has secrets."""
    archive = unpack(path)
    secret = passphrase(file, ask=True) if archive.locked else None
    return unpack(path, secret) if secret is not None else archive


def restore(path: Path, config: Path | None, file: Path | None, *, plain: bool, force: bool, dry_run: bool, as_json: bool) -> int:
    """Restore a fleet from an archive. Raises `BackupError` with nothing changed."""
    paths = state_paths(ControlSettings.state_dir)
    if not dry_run:
        with contextlib.suppress(NoDaemon):
            pid = call("GET", "/status", timeout=5.0)["daemon"]["pid"]
            raise UsageError(f"a watchdog (pid {pid}) runs on {paths.root}; stop it first with 'mcpwatch down'")
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
    if as_json:
        say_json({
            "config": str(done.config), "state_dir": str(paths.root), "files": len(done.files),
            "moved_aside": [str(one) for one in done.moved], "left_out": done.left_out,
        })  # fmt: skip
        return exits.OK
    for moved in done.moved:
        say(f"moved aside: {moved}")
    missing = [*done.left_out, *(item.name for item in archive.manifest.items if item.secret and archive.locked)]
    if missing:
        say(f"not restored, because the archive holds them not or locked: {', '.join(missing)}; put them there yourself")
    say(f"restored {len(done.files)} files; next: mcpwatch up -c {done.config}")
    return exits.OK
