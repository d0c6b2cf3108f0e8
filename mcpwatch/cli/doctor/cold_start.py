"""How long servers that `uvx` or `npx` fetches take to their first answer, beside the grace that they are given.

As the store has it, else as measured on request, from an empty cache; else it is not known. Reads facts; measures as `add` tries.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mcpwatch.cli.doctor.finding import DoctorFinding, Patient
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.proof import durations
from mcpwatch.cli.edit.trial import PREFIX, TRIAL_WAIT, try_member
from mcpwatch.cli.versions import commands
from mcpwatch.foreign.launchers import launched
from mcpwatch.model.errors import McpwatchError, StoreError
from mcpwatch.store.history import read_facts

CARRIED = ("stdio", "process")
"""Keys of a member under which its command and its variables stand."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The slowest start of a member: from its spawn to its first proof. `seconds` is `None` where that is not known."""

    member: str
    launcher: str
    grace: float
    seconds: float | None = None
    how: Literal["recorded", "measured", "cut off", "not known"] = "not known"
    why: str = ""
    """Why it could not be measured."""

    @property
    def text(self) -> str:
        """In a few words."""
        took = "not known" if self.seconds is None else f"{'more than ' * (self.how == 'cut off')}{self.seconds:.1f}s ({self.how})"
        return f"{self.member} {took} of {self.grace:g}s{f': {self.why}' * bool(self.why)}"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def cold_starts(patient: Patient, *, measure: bool = False) -> list[ColdStart]:
    """Every member that is fetched, with its slowest start."""
    graces = {member.name: member.start_grace for member in patient.plan.members if member.want_up} if patient.plan else {}
    found = list[ColdStart]()
    for name, argv in commands(patient.loaded):
        launch = launched(argv)
        if launch is not None and name in graces:
            one = _recorded(ColdStart(name, launch.launcher, graces[name]), patient.paths.store)
            found.append(_measured(one, patient.file) if measure and one.seconds is None else one)
    return found


def too_slow(starts: Iterable[ColdStart]) -> Iterator[DoctorFinding]:
    """Starts that took longer than the member is given now, and those of which nothing is known."""
    for one in starts:
        if one.seconds is None:
            why = f"{one.launcher} downloads at a first start, which is cut off and begun again after {one.grace:g}s"
            what = f"{one.member}: how long a first start takes is not known{f': {one.why}' * bool(one.why)}"
            yield DoctorFinding("cold start", "warning", what, why, "mcpwatch doctor --measure")
        elif one.seconds >= one.grace:
            more = f"{2 * one.seconds:.0f}s"
            yield DoctorFinding(
                "cold start",
                "warning",
                f"{one.member}: a start took {one.text.removeprefix(f'{one.member} ')}, its start_grace",
                "such a start is cut off and begun again",
                f"mcpwatch edit {one.member} start_grace={more}",
            )


def _recorded(one: ColdStart, store: Path) -> ColdStart:
    facts = list[dict[str, object]]()
    if store.exists():
        with contextlib.suppress(StoreError):
            facts = read_facts(store, limit=10_000, member=one.member)
    took = max(durations(facts), default=None)
    if took is None:
        return one
    return ColdStart(one.member, one.launcher, one.grace, took[0], "cut off" if took[1] else "recorded")


def _measured(one: ColdStart, file: Path) -> ColdStart:
    """Start it once from an empty cache, as `add` tries a server."""
    fleet = read_fleet_file(file)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as cache:
        caches = {"UV_CACHE_DIR": f"{cache}/uv", "npm_config_cache": f"{cache}/npm"}
        member = {key: _with_env(value, caches) if key in CARRIED else value for key, value in fleet.as_ours(one.member).items()}
        try:
            wait = max(TRIAL_WAIT, 2 * one.grace)
            trial = try_member(one.member, member, file.absolute().parent, fleet.env_files(), {}, wait)
        except McpwatchError as error:
            return ColdStart(one.member, one.launcher, one.grace, why=f"could not be measured: {str(error).splitlines()[0]}")
    return ColdStart(one.member, one.launcher, one.grace, trial.seconds, "measured")


def _with_env(block: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    return {**block, "env": {**block.get("env", {}), **more}}
