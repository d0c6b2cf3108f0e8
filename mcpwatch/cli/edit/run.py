"""One edit from its first check to its proof: lock, validate, journal, write, reload, prove, let clients follow; or all taken back.

Owns the order of the steps. What is changed comes in as a function from the old file to the new one, what is proved as another.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mcpwatch.app.paths import config_file
from mcpwatch.cli.control import ControlSettings, call
from mcpwatch.cli.edit import transaction
from mcpwatch.cli.edit.fleet_file import FleetFile, read_fleet_file
from mcpwatch.cli.edit.proof import daemon_on, reload
from mcpwatch.cli.edit.secrets import Hidden
from mcpwatch.cli.edit.steps import Steps
from mcpwatch.cli.edit.transaction import Edit
from mcpwatch.cli.out import say
from mcpwatch.config.importers import literal_secrets
from mcpwatch.model.errors import McpwatchError, NoDaemon

Change = Callable[[FleetFile], FleetFile]
Hide = Callable[[FleetFile], Hidden]
Prove = Callable[[dict[str, Any], Steps], None]
"""Told the status before the edit; raises `McpwatchError` when the fleet does not do as meant."""

_ENV_VALUE = re.compile(r"^([ +-]\s*(?:#\s*)?(?:export\s+)?[A-Za-z_][\w.-]*\s*=).+$", re.MULTILINE)
"""A line of an env file within a diff, also one that is commented out."""


@dataclass(frozen=True, slots=True)
class Work:
    """An edit: `what` in words (`add time`), the `change`, how it is proved, and which secrets go into the env file with it.

    `change` and `hidden` are asked with the text read inside the lock. With `begin`, a file that is not there is made.
    """

    what: str
    path: Path
    change: Change
    prove: Prove
    hidden: Hide = lambda _: Hidden()
    begin: bool = False


def file_in_use(given: Path | None, *, begin: bool = False) -> Path:
    """The file that commands edit: as given, else that of the running watchdog, else the usual one.

    With `begin`, the user's own place where there is none yet; else raises `ConfigError`.
    """
    if given is not None:
        return given
    with contextlib.suppress(NoDaemon, McpwatchError):
        named = str(call("GET", "/status", timeout=5.0)["daemon"]["config"])
        if named:
            return Path(named)
    return config_file(None, begin=begin)


def undo_interrupted() -> None:
    """Take back the edit of a command that was killed, and say so. Costs one look at a file when there is none."""
    state = ControlSettings.paths().root
    file = transaction.interrupted(state)
    if file is None:
        return
    with transaction.locked(state, wait=5.0):
        if transaction.journal(state).exists():
            _undo(state, file)


def _undo(state: Path, file: Path) -> None:
    what, back, left = transaction.take_back(state)
    told = f"{', '.join(back)} put back as it was" if back else "nothing had been written yet"
    changed = f"; left alone, because somebody changed it since: {', '.join(left)}" if left else ""
    print(f"mcpwatch: '{what}' was interrupted: {told}{changed}", file=sys.stderr)  # noqa: T201
    if back:
        with contextlib.suppress(McpwatchError):
            if daemon_on(file) is not None:
                reload()


def carry_out(work: Work, steps: Steps) -> bool:
    """Do it. Returns whether a running watchdog proved it. Raises `McpwatchError` with everything as it was before."""
    state = ControlSettings.paths().root
    with transaction.locked(state):
        if transaction.journal(state).exists():
            _undo(state, work.path)
        before = read_fleet_file(work.path, begin=work.begin)
        transaction.writable(work.path.resolve())
        after, hidden = work.change(before), work.hidden(before)
        after.plan(state, hidden.values)
        edits = [*([hidden.edit] if hidden.edit else []), _edit(before, after)]
        daemon = daemon_on(work.path)
        transaction.begin(state, work.what, edits)
        steps.reached("journal")
        try:
            transaction.make_way(work.path)
            transaction.write(edits)
            steps.tell("edit", f"{work.path} (the old text: {work.path.name}.bak)" if before.there else f"{work.path} (a new file)")
            if daemon is not None:
                reload()
                steps.tell("reload", f"taken over by the watchdog, pid {daemon['daemon']['pid']}")
                work.prove(daemon, steps)
        except BaseException as error:
            _back(state, work.path, steps, error)
            raise
        transaction.keep_old(edits)
        transaction.end(state)
    if daemon is None:
        steps.tell("reload", f"no watchdog runs {work.path}; start it with '{_start(work.path)}'", "skipped")
    return daemon is not None


def _edit(before: FleetFile, after: FleetFile) -> Edit:
    return Edit(str(before.path.absolute()), before.text if before.there else None, after.text, before.mode)


def _start(path: Path) -> str:
    """The command that runs this file; without -c where `up` finds it by itself."""
    with contextlib.suppress(McpwatchError, OSError):
        if config_file(None).samefile(path):
            return "mcpwatch up"
    return f"mcpwatch up -c {path}"


def _back(state: Path, file: Path, steps: Steps, error: BaseException) -> None:
    steps.tell("failed", str(error) or type(error).__name__, "failed")
    _, back, left = transaction.take_back(state)
    with contextlib.suppress(McpwatchError):
        if back and daemon_on(file) is not None:
            reload()
    told = f"{', '.join(back)} put back as it was" if back else "nothing had been changed"
    steps.tell("undo", told + (f"; changed by somebody else since, left alone: {', '.join(left)}" if left else ""), "undone")


def show_diff(work: Work, steps: Steps) -> None:
    """Print what would change, values of secrets masked; write nothing. Raises what the edit would raise."""
    before = read_fleet_file(work.path, begin=work.begin)
    after, hidden = work.change(before), work.hidden(before)
    after.plan(ControlSettings.paths().root, hidden.values)
    edits = [*([hidden.edit] if hidden.edit else []), _edit(before, after)]
    file = _diff(edits[-1], {**_literal(before), **_literal(after), **hidden.values})
    text = (_ENV_VALUE.sub(r"\1********", _diff(hidden.edit, {})) if hidden.edit else "") + file
    if steps.as_json:
        steps.end(ok=True, dry_run=True, diff=text)
    else:
        say(text.rstrip("\n") or "nothing would change")


def _literal(file: FleetFile) -> dict[str, str]:
    """The secrets that stand in plain text in the fleet's file, by their place: lines around a change hold them too."""
    found: dict[str, str] = {}
    for path in literal_secrets(cast("object", file.document)):
        value: Any = file.document
        for step in path:
            value = value[step]
        found[str(path)] = str(value)
    return found


def _diff(edit: Edit, values: Mapping[str, str]) -> str:
    old, new = (edit.old or "").splitlines(keepends=True), edit.new.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, edit.path if edit.old is not None else "/dev/null", edit.path)
    text = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    for value in sorted(values.values(), key=len, reverse=True):
        text = text.replace(value, "********") if value else text
    return text
