"""One write to one client: locks, re-reads, renders, backs up, replaces, and says what happened. Shell, in a thread.

The file may change while we work: then everything is read and rendered again, a bounded number of times.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mcpwatch.clients.backups import Backups
from mcpwatch.clients.files import ChangedMeanwhile, Snapshot, leftovers, make_directory, read, replace, resolve
from mcpwatch.clients.formats.path import EditRefused
from mcpwatch.clients.ledger import Ledger
from mcpwatch.clients.locks import locked
from mcpwatch.clients.reconcile import Outcome, Render
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


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a job: `before` and `after` are texts, equal when nothing had to change."""

    outcome: Outcome
    before: str | None = field(repr=False)
    after: str | None = field(repr=False)
    real: Path

    @property
    def changed(self) -> bool:
        """Whether the file differs (or, on a dry run, would differ)."""
        return self.before != self.after

    def diff(self) -> str:
        """The change as a unified diff without context: what is not ours may be secret."""
        old, new = (self.before or "").splitlines(keepends=True), (self.after or "").splitlines(keepends=True)
        lines = difflib.unified_diff(old, new, str(self.real), str(self.real), n=0)
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def preview(job: Job) -> Written:
    """What `sync` would do, writing nothing and taking no lock. Raises `ClientFileError`."""
    return _rendered(job, read(job.path, resolve(job.path)))


def sync(job: Job, backups: Backups, checkpoint: Callable[[str], None] | None = None) -> Written:
    """Bring the file up to date. Raises `ClientFileError`; then it is as it was."""
    if _settled(job):
        return preview(job)
    real = resolve(job.path)
    make_directory(real)
    with locked(job.path, real, job.lock):
        for leftover in leftovers(real):
            backups.keep(job.kind, job.path, leftover)
        for _ in range(TRIES):
            before = read(job.path, resolve(job.path))
            written = _rendered(job, before)
            if not written.changed:
                return written
            if job.secret:
                _fit_for_secrets(before)
            if job.backup:
                backups.save(job.kind, job.path, before.data, job.ledger, job.at)
            try:
                replace(before, written.after, checkpoint)
            except ChangedMeanwhile:
                continue
            return written
    raise ClientFileError(f"{job.path}: its client keeps changing it; left alone for now")


def _settled(job: Job) -> bool:
    """Whether there is nothing to write, judged without a lock: most looks end here."""
    return not preview(job).changed


def _rendered(job: Job, before: Snapshot) -> Written:
    try:
        outcome = job.render(before.text)
    except EditRefused as refusal:
        raise ClientFileError(f"{job.path}: {refusal}; left alone") from None
    return Written(outcome, before.text, outcome.text, before.real)


def _fit_for_secrets(before: Snapshot) -> None:
    """A file that is to hold a token must be for its owner only, and must not be about to be committed."""
    if before.status is not None and before.status.st_mode & 0o077:
        raise ClientFileError(f"{before.path}: others can read it, and it would hold a token; run 'chmod 600' on it first")
    for directory in before.real.parents:
        if (directory / ".git").exists():
            raise ClientFileError(f"{before.path}: is in the git work tree {directory}, and it would hold a token; left alone")
