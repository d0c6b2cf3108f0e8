"""`doctor`: everything examined, printed with what mends it; with `--fix` the safe ones are mended and examined again."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcpwatch.app.kinds import all_kinds
from mcpwatch.cli import exits
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.doctor import configuration, machine, programs
from mcpwatch.cli.doctor.clients import clients_files
from mcpwatch.cli.doctor.cold_start import ColdStart, cold_starts, too_slow
from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.cli.doctor.shortages import shortages
from mcpwatch.cli.edit.proof import daemon_on
from mcpwatch.cli.edit.run import file_in_use
from mcpwatch.cli.out import say_answer
from mcpwatch.cli.table import coloured, paint
from mcpwatch.config.load import load
from mcpwatch.config.plan import build
from mcpwatch.model.errors import ConfigError, McpwatchError

CHECKS = (
    "file", "secrets", "tokens", "versions", "pins", "cold start", "interpreter", "ports", "engine", "supervisors", "state", "disk",
    "limits", "clock", "names", "certificates", "leftovers", "watchdog", "fleet", "clients",
)  # fmt: skip
"""What is looked at, by the word that a finding carries."""


def doctor(config: Path | None, *, fix: bool, as_json: bool, measure: bool = False) -> int:
    """Examine the fleet. Exits 1 when an error is left, else 0; warnings alone are no failure."""
    found, starts = _examined(config, measure=measure)
    mended: list[tuple[DoctorFinding, str]] = []
    if fix:
        for finding in found:
            if finding.mend is not None:
                try:
                    mended.append((finding, finding.mend()))
                except (OSError, McpwatchError) as error:
                    mended.append((finding, f"could not be mended: {error}"))
        again = (finding for finding in examine(config) if finding.check != "cold start") if mended else ()
        found = [*again, *too_slow(starts)] if mended else found
    shown = {
        "findings": [_plain(finding) for finding in found],
        "mended": [{"what": finding.what, "done": done} for finding, done in mended],
        "cold_starts": [one.plain() for one in starts],
    }
    say_answer(shown, _lines(found, mended, starts), as_json=as_json)
    return exits.UNHEALTHY if any(finding.level == "error" for finding in found) else exits.OK


def examine(config: Path | None) -> list[DoctorFinding]:
    """Everything that is found, the worst first. A missing file is a finding too."""
    return _examined(config)[0]


def _examined(config: Path | None, *, measure: bool = False) -> tuple[list[DoctorFinding], list[ColdStart]]:
    paths = ControlSettings.paths()
    try:
        file = file_in_use(config)
    except ConfigError as error:
        return [DoctorFinding("file", "error", str(error), "there is no fleet without it", "mcpwatch init")], []
    environ = dict(os.environ)
    status = None
    with contextlib.suppress(McpwatchError):
        status = daemon_on(file)
    try:
        loaded = load(file, all_kinds(), environ)
    except ConfigError as error:
        return [DoctorFinding("file", "error", str(error), "'up' and 'reload' refuse the file", f"edit {file}")], []
    plan = None
    if not loaded.faults:
        with contextlib.suppress(ConfigError):
            plan = build(loaded.config, all_kinds(), state_dir=paths.root, world=loaded.world)
    patient = Patient(file, loaded, plan, paths, status, environ)
    starts = cold_starts(patient, measure=measure)
    found = [*_plainly(patient), *too_slow(starts), *asyncio.run(_slowly(patient))]
    return sorted(found, key=lambda finding: (finding.level != "error", CHECKS.index(finding.check))), starts


def _plainly(patient: Patient) -> Iterator[DoctorFinding]:
    for part in (
        configuration.faults, configuration.readable, configuration.tokens, configuration.argv_secrets, configuration.tracked,
        programs.versions, programs.pins, programs.interpreters, programs.engine,
        machine.state_directory, machine.limits, shortages, machine.clock, machine.leftovers, machine.watchdog, clients_files,
    ):  # fmt: skip
        yield from part(patient)


async def _slowly(patient: Patient) -> list[DoctorFinding]:
    return [*await programs.ports(patient), *await machine.names(patient)]


def _plain(finding: DoctorFinding) -> dict[str, Any]:
    return {
        "check": finding.check, "level": finding.level, "what": finding.what, "why": finding.why, "command": finding.command,
        "fixable": finding.mend is not None,
    }  # fmt: skip


def _lines(found: list[DoctorFinding], mended: list[tuple[DoctorFinding, str]], starts: list[ColdStart]) -> Iterator[str]:
    colour = coloured()
    for finding, done in mended:
        yield f"{paint('↺', 'green', on=colour)} {finding.what}: {done}"
    for finding in found:
        mark = paint("✗", "red", on=colour) if finding.level == "error" else paint("!", "yellow", on=colour)
        yield f"{mark} {finding.check}: {finding.what}"
        yield f"    why: {finding.why}"
        yield f"    do:  {finding.command}{'   (or mcpwatch doctor --fix)' if finding.mend else ''}"
    errors = sum(finding.level == "error" for finding in found)
    told = f"{_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}" if found else "nothing found"
    yield f"{told}; looked at {', '.join(CHECKS)}"
    if starts:
        yield f"cold starts beside start_grace: {'; '.join(one.text for one in starts)}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
