"""`clean`: remove what mcpwatch made — its containers, services, networks and state directory — after asking. Never configuration.

Containers are told by their label, so that those of others and of other fleets stay.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from mcpwatch.app.paths import StatePaths, state_paths
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.out import say, say_json
from mcpwatch.config.models import NAME_PATTERN
from mcpwatch.model.errors import McpwatchError, NoDaemon, UsageError
from mcpwatch.runtimes.adoption import marks_of
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_table import ProcessTable

MARKS = ("state.db", "lock", "edits", "status.json", "logs", "proxy", "control.sock")
"""Names of which one at least must be there: a directory without any is not a state directory, and is left alone."""


def clean(names: Sequence[str] = (), *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Remove all of it, or the containers and logs of the members named.

    Raises `UsageError` while a watchdog or what it started runs, when nobody can be asked, or for what cannot be removed.
    """
    paths = state_paths(ControlSettings.state_dir)
    with contextlib.suppress(NoDaemon):
        pid = call("GET", "/status", timeout=5.0)["daemon"]["pid"]
        raise UsageError(f"a watchdog (pid {pid}) runs on {paths.root}; stop it first with 'mcpwatch down'")
    if living := _living(paths.instance, names):
        raise UsageError(f"still running: {living}; take them over with 'mcpwatch up' and stop them with 'mcpwatch down' first")
    containers, networks, trouble = _on_engine(paths, names)
    directories = [paths.logs / name for name in dict.fromkeys(names) if _is_name(name) and (paths.logs / name).is_dir()]
    if not names and paths.root.is_dir() and any((paths.root / mark).exists() for mark in MARKS):
        directories = [paths.root]
    engine = [*(f"container {name}" for name in containers), *(f"network {name}" for name in networks)]
    found = [*engine, *(f"directory {directory}" for directory in directories)]
    if not as_json:
        for line in found or ["nothing to remove"]:
            say(f"{'would remove' if dry_run else 'to be removed'}: {line}" if found else line)
        if trouble:
            say(f"no containers looked for: {trouble}")
    if dry_run or not found:
        if as_json:
            say_json({"removed": [], "would_remove": found} if dry_run else {"removed": []})
        return exits.OK
    if not yes and not _agreed():
        raise UsageError("nothing was removed; say --yes to remove without being asked")
    removed = _removed_from_engine(containers, networks)
    for directory in directories:
        _remove(directory)
        removed.append(f"directory {directory}")
    _tell(removed, as_json=as_json)
    return exits.OK


def _living(instance: str, names: Sequence[str]) -> str:
    """Processes of the fleet that no watchdog looks after: without its state nobody would know them again."""
    marks = marks_of(ProcessTable(detect()).scan(), instance)
    return ", ".join(f"{name} (pid {min(pids)})" for name, pids in sorted(marks.items()) if name in names or not names)


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except OSError as error:
        why = "it is a symbolic link; remove it by hand" if directory.is_symlink() else error.strerror
        raise UsageError(f"{directory}: cannot be removed: {why}") from None


def _tell(names: list[str], *, as_json: bool) -> None:
    if as_json:
        say_json({"removed": names})
    elif names:
        say(f"removed: {', '.join(names)}")


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
