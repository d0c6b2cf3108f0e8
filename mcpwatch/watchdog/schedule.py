"""When checks run: the one door to APScheduler, with the defaults that a watchdog needs.

Interval jobs sit on a fixed grid with a stable offset from the hash of their name, so that they spread, keep their place over
restarts and never drift. The offsets are slots, not points: what shares a slot shares a wake-up of the process. Nothing is skipped
for being late (`misfire_grace_time=None`), late runs fold into one (`coalesce`), and a job never overlaps itself
(`max_instances=1`). It must not know what a job does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from mcpwatch.left_out import without_entry_points
from mcpwatch.model import cron as model

with without_entry_points():  # triggers and job stores of other packages, which nobody can ask for here
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # pyright: ignore[reportMissingTypeStubs]
    from apscheduler.triggers.base import BaseTrigger  # pyright: ignore[reportMissingTypeStubs]

Job = Callable[[float], Awaitable[None]]
"""Called with its lag: seconds between when it was due and now."""


SLOT = 2.0
"""Seconds between two slots, so that a hundred checks do not wake the process a hundred times."""
SLOTS = 15
"""An interval has at least so many slots; in a short one they are narrower."""
CROWD = 16
"""Jobs beyond which a slot is cut in halves, and these again: so many begin at once and no more."""


def offset(name: str, interval: float, jobs: int = 0) -> float:
    """Where in its interval a job runs, in seconds: the same slot for the same name, all slots equally likely.

    Where `jobs` are so many that each slot has a crowd, also at the same place within it, until there are twice as many.
    """
    digest = hashlib.sha256(name.encode()).digest()
    slot = min(SLOT, interval / SLOTS)
    slots = int(interval / slot)
    parts = 1
    while jobs > parts * slots * CROWD:
        parts *= 2
    first = int.from_bytes(digest[:8], "big") * slots // 2**64
    return (first + int.from_bytes(digest[8:16], "big") * parts // 2**64 / parts) * slot


class GridTrigger(BaseTrigger):  # pyright: ignore[reportUntypedBaseClass]
    """Fires at every `offset + k * interval` of the wall clock's grid. A clock step moves at most one run."""

    def __init__(self, name: str, interval: float, jobs: Callable[[], int] = lambda: 0) -> None:
        self._name = name
        self._interval = interval
        self._jobs = jobs

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The first grid point after `now`."""
        place = offset(self._name, self._interval, self._jobs())
        turns = int((now.timestamp() - place) // self._interval) + 1
        due = datetime.fromtimestamp(place + turns * self._interval, UTC)
        if previous_fire_time is not None and due - previous_fire_time < timedelta(seconds=self._interval / 2):
            due += timedelta(seconds=self._interval)
        return due


class CronTrigger(BaseTrigger):  # pyright: ignore[reportUntypedBaseClass]
    """Fires at every minute that a cron expression names, in `to_local`'s time. APScheduler's own counts weekdays from Monday."""

    def __init__(self, expression: str, to_local: model.ToLocal = datetime.astimezone) -> None:
        self._rule = model.parse(expression)
        self._to_local = to_local

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:  # noqa: ARG002 # pyright: ignore[reportIncompatibleMethodOverride]
        """The first matching minute after `now`: what was missed is not made up for, and a clock set back holds nothing up."""
        return self._rule.following(now, self._to_local)


def trigger_of(
    name: str, interval: float | None, cron: str | None, jobs: Callable[[], int] = lambda: 0
) -> GridTrigger | CronTrigger:
    """What fires a job: its cron expression where it has one, else the grid of its interval (default: 30 s)."""
    return CronTrigger(cron) if cron else GridTrigger(name, interval or 30.0, jobs)


class Schedule:
    """Named jobs on one event loop."""

    def __init__(self) -> None:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        self._due: dict[str, datetime | None] = {}

    def start(self) -> None:
        """Begin to fire. Must be called on the running loop."""
        self._scheduler.start()
        for job in self._scheduler.get_jobs():  # now that all are there, each has its place
            self._due[job.id] = job.next_run_time

    def put(self, name: str, job: Job, *, interval: float | None = None, cron: str | None = None) -> None:
        """Add or replace a job. Exactly one of `interval` (seconds) and `cron` (five fields, local time) is given."""
        trigger: Any = trigger_of(name, interval, cron, lambda: len(self._due))
        self._due[name] = None
        self._due[name] = _due(trigger, None)

        async def run() -> None:
            planned = self._due.get(name)
            self._due[name] = _due(trigger, planned)
            lag = max(0.0, (datetime.now(UTC) - planned).total_seconds()) if planned else 0.0
            with contextlib.suppress(asyncio.CancelledError):  # by `stop` alone; APScheduler would log it as an error
                await job(lag)

        self._scheduler.add_job(run, trigger, id=name, replace_existing=True)

    def realign(self) -> None:
        """The wall clock was set: every job gets its next place on the new clock.

        Without this a clock set back by an hour would stop every check for an hour, and one set on would run all of them at once.
        """
        for job in self._scheduler.get_jobs():
            due = self._due[job.id] = _due(job.trigger, None)
            job.modify(next_run_time=due)

    def drop(self, name: str) -> None:
        """Remove a job; one that is not there is no error."""
        self._due.pop(name, None)
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def names(self) -> frozenset[str]:
        """The names of all jobs."""
        return frozenset(cast("str", job.id) for job in self._scheduler.get_jobs())

    def stop(self) -> None:
        """Fire no more. Runs under way are cancelled."""
        if self._scheduler.running:
            self._scheduler.shutdown()


def _due(trigger: Any, previous: datetime | None) -> datetime | None:
    """When the trigger fires next, seen from now."""
    return trigger.get_next_fire_time(previous, datetime.now(UTC))
