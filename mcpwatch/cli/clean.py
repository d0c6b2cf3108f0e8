"""`clean`: remove what mcpwatch made — its containers, services, networks and state directory — after asking. Never configuration.

Containers are told by their label, so that those of others and of other fleets stay.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Generator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mcpwatch.app.backup.create import known
from mcpwatch.app.paths import StatePaths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, refuse_while_running
from mcpwatch.cli.out import say, say_answer, say_json
from mcpwatch.config.models import NAME_PATTERN
from mcpwatch.model.errors import McpwatchError, UsageError
from mcpwatch.runtimes.adoption import marks_of
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_table import ProcessTable

OURS = (
    "backups", "control.sock", "edits", "lock", "logs", "mcp.sock", "mcpwatch.log", "proxy", "rotation.json", "run", "spool",
    "state.db*", "status.json", ".*.mcpwatch-*",
)  # fmt: skip
"""Patterns of what mcpwatch itself makes in a state directory; whatever else is there stays."""
MARKS = ("state.db", "lock", "edits", "status.json", "logs", "proxy", "control.sock")
"""Names of which one at least must be there: a directory without any is not a state directory, and is left alone."""


def clean(names: Sequence[str] = (), *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Remove all of it, or the containers and logs of the members named.

    Raises `UsageError` while a watchdog or what it started runs, when nobody can be asked, or for what cannot be removed.
    """
    paths = ControlSettings.paths()
    refuse_while_running()
    if living := _living(paths.instance, names):
        raise UsageError(f"still running: {living}; take them over with 'mcpwatch up' and stop them with 'mcpwatch down' first")
    containers, networks, trouble = _on_engine(paths, names)
    directories = [paths.logs / name for name in dict.fromkeys(names) if _is_name(name) and (paths.logs / name).is_dir()]
    foreign: list[Path] = []
    if not names and paths.root.is_dir() and any((paths.root / mark).exists() for mark in MARKS):
        directories, foreign = [paths.root], _foreign(paths.root)
    engine = [*(f"container {name}" for name in containers), *(f"network {name}" for name in networks)]
    found = [*engine, *(f"directory {directory}" for directory in directories)]
    if not as_json:
        for line in found or ["nothing to remove"]:
            say(f"{'would remove' if dry_run else 'to be removed'}: {line}" if found else line)
        for line in _notes(paths, directories, foreign):
            say(line)
        if trouble:
            say(f"no containers looked for: {trouble}")
    if dry_run or not found:
        if as_json:
            say_json({"removed": [], **({"would_remove": found} if dry_run else {}), **_left(foreign)})
        return exits.OK
    if not yes and not _agreed():
        raise UsageError("nothing was removed; say --yes to remove without being asked")
    removed = _removed_from_engine(containers, networks)
    for directory in directories:
        _remove(directory, kept=foreign)
        removed.append(f"directory {directory}")
    say_answer({"removed": removed, **_left(foreign)}, [f"removed: {', '.join(removed)}"], as_json=as_json)
    return exits.OK


def _living(instance: str, names: Sequence[str]) -> str:
    """Processes of the fleet that no watchdog looks after: without its state nobody would know them again."""
    marks = marks_of(ProcessTable(detect()).scan(), instance)
    return ", ".join(f"{name} (pid {min(pids)})" for name, pids in sorted(marks.items()) if name in names or not names)


def _foreign(root: Path) -> list[Path]:
    """What is in the state directory and not of mcpwatch."""
    return sorted(one for one in root.iterdir() if not any(fnmatch(one.name, pattern) for pattern in OURS))


def _left(foreign: Sequence[Path]) -> dict[str, list[str]]:
    return {"left": [str(one) for one in foreign]} if foreign else {}


def _notes(paths: StatePaths, directories: Sequence[Path], foreign: Sequence[Path]) -> Generator[str]:
    """What whoever says yes should know of the state directory: whose choice it was, which backups are in it, what stays."""
    if paths.root not in directories:
        return
    if ControlSettings.state_dir is None and not os.environ.get("MCPWATCH_STATE_DIR"):
        yield f"{paths.root} is the state directory because no other was named; name one with --state-dir"
    if backups := len(known(paths.backups)):
        yield f"with it {backups} backup{'s' * (backups != 1)} of the fleet in {paths.backups}"
    if any((paths.root / "backups" / "clients").glob("*")):
        yield "with it what 'mcpwatch clients undo' needs: AI clients keep the routes that mcpwatch wrote into their files"
    for one in foreign:
        yield f"left: {one}: not made by mcpwatch"


def _remove(directory: Path, kept: Sequence[Path]) -> None:
    """Remove a directory, but for what is kept in it. Raises `UsageError`."""
    try:
        if not kept:
            shutil.rmtree(directory)
        for one in sorted(directory.iterdir()) if kept else ():
            if one in kept:
                continue
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            else:
                one.unlink()
    except OSError as error:
        why = "it is a symbolic link; remove it by hand" if directory.is_symlink() else error.strerror
        raise UsageError(f"{directory}: cannot be removed: {why}") from None


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    import typer

    return typer.confirm("Remove all of this?", default=False)


@contextlib.contextmanager
def _engine() -> Generator[Any]:
    from mcpwatch.runtimes.docker.engine import Engine

    engine = Engine()
    engine.connect()
    try:
        yield engine
    finally:
        engine.close()


def _is_name(name: str) -> bool:
    """Whether it can be the name of a member: no way into another directory."""
    return re.fullmatch(NAME_PATTERN, name) is not None and name not in {".", ".."}


def _on_engine(paths: StatePaths, names: Sequence[str]) -> tuple[list[str], list[str], str]:
    """Names of this fleet's containers and networks on the engine, and why it was not asked, if so.

    With `names` only the containers of those members.
    """
    try:
        with _engine() as engine:
            mine = engine.mine(paths.instance)
            if names:
                return [one.name for one in mine if one.labels and one.labels.member in names], [], ""
            return [one.name for one in mine], engine.networks(paths.instance), ""
    except McpwatchError as error:
        return [], [], str(error)


def _removed_from_engine(containers: list[str], networks: list[str]) -> list[str]:
    if not containers and not networks:
        return []
    with _engine() as engine:
        for name in containers:
            engine.remove(name)
        for name in networks:
            engine.remove_network(name)
    return [*(f"container {name}" for name in containers), *(f"network {name}" for name in networks)]
