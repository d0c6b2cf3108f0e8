"""What the doctor finds: a subject, what is wrong, why that matters, and the command that mends it. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mcpwatch.app.paths import StatePaths
from mcpwatch.config.load import Loaded
from mcpwatch.model.spec import Plan

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that is wrong. `mend` does what `command` says, where that is safe without being asked; it tells what it did."""

    check: str
    level: Level
    what: str
    why: str
    command: str
    mend: Callable[[], str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the file and what it says, the state directory, the status of a running watchdog (`None`: none runs).

    `plan` is `None` for a file with faults; `environ` is the environment that commands would be found in.
    """

    file: Path
    loaded: Loaded | None
    plan: Plan | None
    paths: StatePaths
    status: Mapping[str, Any] | None
    environ: Mapping[str, str] = field(repr=False)
