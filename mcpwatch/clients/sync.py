"""One write to one client: locks, re-reads, renders, backs up, replaces, and says what happened. Shell, in a thread.

The file may change while we work: then everything is read and rendered again, a bounded number of times.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mcpwatch.clients.backups import Backups
from mcpwatch.clients.files import ChangedMeanwhile, FileSnapshot, leftovers, link_of, make_directory, read, replace, resolve
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.locks import locked
from mcpwatch.clients.reconcile import ReconcileResult, Render
from mcpwatch.model.errors import ClientFileError
from mcpwatch.model.time import WallTime

TRIES = 5
"""How often a file that changes under our hands is read again before it is left alone."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to bring up to date. `secret` says that what is written holds a token itself; `ledger` is the present one."""

    kind: str
    path: Path
    render: Render = field(repr=False)
    ledger: Ledger
    lock: Literal["", "mkdir"] = ""
    secret: bool = False
    at: WallTime = WallTime(0)
    backup: bool = True
    deadline: float = math.inf
    """Monotonic seconds after which nothing is written any more: who asked has given up."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a job: `before` and `after` are texts, equal when nothing had to change."""

    outcome: ReconcileResult
    before: str | None = field(repr=False)
    after: str | None = field(repr=False)
    real: Path
    unsure: str = ""
    """What could not be made sure of after the file was replaced."""

    @property
    def changed(self) -> bool:
        """Whether the file differs (or, on a dry run, would differ)."""
        return self.before != self.after

    def diff(self) -> str:
        """The change as a unified diff without context: what is not ours may be secret."""
        old, new = (self.before or "").splitlines(keepends=True), (self.after or "").splitlines(keepends=True)
        import difflib

        lines = difflib.unified_diff(old, new, str(self.real), str(self.real), n=0)
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def preview(job: Job) -> Written:
    """What `sync` would do, writing nothing and taking no lock. Raises `ClientFileError`."""
    return _rendered(job, read(job.path, resolve(job.path)))


def sync(job: Job, backups: Backups, checkpoint: Callable[[str], None] | None = None, looked: Written | None = None) -> Written:
    """Bring the file up to date. Raises `ClientFileError`; then it is as it was.

    `looked` is the preview of a job that renders the same from the same text: while the file reads so, it is not rendered again.
    """
    if not (written := looked or preview(job)).changed:
        return written
    real = resolve(job.path)
    make_directory(real)
    with locked(job.path, real, job.lock):
        _tidy(job, real, backups)
        for _ in range(TRIES):
            before = read(job.path, resolve(job.path))
            known = looked is not None and (looked.before, looked.real) == (before.text, before.real)
            written = looked if looked is not None and known else _rendered(job, before)
            if not written.changed:
                return written
            if job.secret:
                _fit_for_secrets(before)
            if job.backup:
                backups.save(job.kind, job.path, before.data, job.ledger, job.at)
            if time.monotonic() > job.deadline:
                raise ClientFileError(f"{job.path}: took too long to edit; left as it was")
            try:
                unsure = replace(before, written.after, checkpoint)
            except ChangedMeanwhile:
                continue
            return dataclasses.replace(written, unsure=unsure)
    raise ClientFileError(f"{job.path}: its client keeps changing it; left alone for now")


def tidy(job: Job, backups: Backups) -> None:
    """Clear away what a killed writer left beside the file, if anything. Raises `ClientFileError`."""
    real = resolve(job.path)
    if leftovers(real):
        with locked(job.path, real, job.lock):
            _tidy(job, real, backups)


def _tidy(job: Job, real: Path, backups: Backups) -> None:
    for leftover in leftovers(real):
        if link_of(leftover, real):
            leftover.unlink(missing_ok=True)
        else:
            backups.keep(job.kind, job.path, leftover)


def _rendered(job: Job, before: FileSnapshot) -> Written:
    try:
        outcome = job.render(before.text)
    except EditRefused as refusal:
        raise ClientFileError(f"{job.path}: {refusal}; left alone") from None
    return Written(outcome, before.text, outcome.text, before.real)


def _fit_for_secrets(before: FileSnapshot) -> None:
    """A file that is to hold a token must be for its owner only, and must not be about to be committed."""
    if before.status is not None and before.status.st_mode & 0o077:
        raise ClientFileError(f"{before.path}: others can read it, and it would hold a token; run 'chmod 600' on it first")
    for directory in before.real.parents:
        if (directory / ".git").exists():
            raise ClientFileError(f"{before.path}: is in the git work tree {directory}, and it would hold a token; left alone")
