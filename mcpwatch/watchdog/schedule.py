"""When checks run: the one door to APScheduler, with the defaults that a watchdog needs.

Interval jobs sit on a fixed grid with a stable offset from the hash of their name, so that they spread, keep their place over
restarts and never drift. The offsets are slots, not points: what shares a slot shares a wake-up of the process and one job of
APScheduler (ADR 0141). Nothing is skipped for being late (`misfire_grace_time=None`), late runs fold into one (`coalesce`), and a
job never overlaps itself. It must not know what a job does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from mcpwatch.left_out import without_entry_points
from mcpwatch.model import cron as model

with without_entry_points():  # triggers and job stores of other packages, which nobody can ask for here
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # pyright: ignore[reportMissingTypeStubs]
    from apscheduler.triggers.base import BaseTrigger  # pyright: ignore[reportMissingTypeStubs]

_log = logging.getLogger("mcpwatch.schedule")

Job = Callable[[float], Coroutine[Any, Any, None]]
"""Called with its lag: seconds between when it was due and now."""


SLOT = 2.0
"""Seconds between two slots, so that a hundred checks do not wake the process a hundred times."""
SLOTS = 15
"""An interval has at least so many slots; in a short one they are narrower."""
CROWD = 16
"""Jobs beyond which a slot is cut in halves, and these again: so many begin at once and no more."""
INTERVAL = 30.0
"""Seconds of a job that names neither an interval nor a rule."""


def parts_of(interval: float, jobs: int) -> int:
    """Into how many parts each slot of an interval (seconds) is cut where there are so many jobs."""
    slots = int(interval / min(SLOT, interval / SLOTS))
    parts = 1
    while jobs > parts * slots * CROWD:
        parts *= 2
    return parts


def offset(name: str, interval: float, jobs: int = 0) -> float:
    """Where in its interval a job runs, in seconds: the same slot for the same name, all slots equally likely.

    Where `jobs` are so many that each slot has a crowd, also at the same place within it, until there are twice as many.
    """
    digest = hashlib.sha256(name.encode()).digest()
    slot = min(SLOT, interval / SLOTS)
    slots, parts = int(interval / slot), parts_of(interval, jobs)
    first = int.from_bytes(digest[:8], "big") * slots // 2**64
    return (first + int.from_bytes(digest[8:16], "big") * parts // 2**64 / parts) * slot


class GridTrigger(BaseTrigger):  # pyright: ignore[reportUntypedBaseClass]
    """Fires at every `offset + k * interval` of the wall clock's grid. A clock step moves at most one run."""

    def __init__(self, name: str, interval: float, jobs: Callable[[], int] = lambda: 0) -> None:
        self._name = name
        self._interval = interval
        self._jobs = jobs
        self._place: tuple[int, float] = (-1, 0.0)
        """Among how many jobs its place was looked for, and that place."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The first grid point after `now`."""
        jobs = self._jobs()
        if self._place[0] != jobs:
            self._place = jobs, offset(self._name, self._interval, jobs)
        place = self._place[1]
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
    return CronTrigger(cron) if cron else GridTrigger(name, interval or INTERVAL, jobs)


@dataclass(slots=True)
class _Slot:
    """What is due at the same moments: one job of the scheduler, however many checks begin in it."""

    trigger: GridTrigger | CronTrigger
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    due: datetime | None = None


class Schedule:
    """Named jobs on one event loop."""

    def __init__(self) -> None:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        self._jobs: dict[str, tuple[Job, float | None, str | None]] = {}
        """By name what is called, its interval and its cron expression."""
        self._slots: dict[str, _Slot] = {}
        self._slot_of: dict[str, str] = {}
        self._cut: dict[float, int] = {}
        """Into how many parts the slots of each interval are cut."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._begun = False

    def start(self) -> None:
        """Begin to fire. Must be called on the running loop."""
        self._begun = True
        self._place_all()  # now that all are there, each has its place
        self._scheduler.start()

    def put(self, name: str, job: Job, *, interval: float | None = None, cron: str | None = None) -> None:
        """Add or replace a job. Exactly one of `interval` (seconds) and `cron` (five fields, local time) is given."""
        self._leave(name)
        self._jobs[name] = (job, interval, cron)
        if self._begun and not self._cut_anew():
            self._place(name)

    def realign(self) -> None:
        """The wall clock was set: every job gets its next place on the new clock.

        Without this a clock set back by an hour would stop every check for an hour, and one set on would run all of them at once.
        """
        for key, slot in self._slots.items():
            slot.due = _due(slot.trigger, None)
            if (job := self._scheduler.get_job(key)) is not None:
                job.modify(next_run_time=slot.due)

    def drop(self, name: str) -> None:
        """Remove a job; one that is not there is no error."""
        if self._jobs.pop(name, None) is not None:
            self._leave(name)
            self._cut_anew()

    def names(self) -> frozenset[str]:
        """The names of all jobs."""
        return frozenset(self._jobs)

    def stop(self) -> None:
        """Fire no more. Runs under way are cancelled."""
        for task in self._running.values():
            task.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown()

    def _cut_anew(self) -> bool:
        """Whether the slots are cut into other parts now that there are more or fewer jobs: then everything is placed anew."""
        other = any(parts_of(interval, len(self._jobs)) != parts for interval, parts in self._cut.items())
        if other:
            self._place_all()
        return other

    def _place_all(self) -> None:
        self._cut.clear()
        for name in [*self._slot_of]:
            self._leave(name)
        for name in self._jobs:
            self._place(name)

    def _place(self, name: str) -> None:
        """Put a job into the slot that is its own."""
        job, interval, cron = self._jobs[name]
        key, jobs = cron or "", len(self._jobs)
        if not cron:
            every = interval or INTERVAL
            self._cut[every] = parts_of(every, jobs)
            key = f"{every!r}+{offset(name, every, jobs)!r}"
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(trigger_of(name, interval, cron, lambda: jobs))
            slot.due = _due(slot.trigger, None)
            self._scheduler.add_job(self._fire, slot.trigger, (slot,), id=key, next_run_time=slot.due)
        slot.jobs[name], self._slot_of[name] = job, key

    def _leave(self, name: str) -> None:
        """Take a job out of its slot, and the slot away when it was the last."""
        key = self._slot_of.pop(name, None)
        if key is None:
            return
        del self._slots[key].jobs[name]
        if not self._slots[key].jobs:
            del self._slots[key]
            if self._scheduler.get_job(key) is not None:  # a rule that names no further moment ends by itself
                self._scheduler.remove_job(key)

    async def _fire(self, slot: _Slot) -> None:
        """Begin everything that is due, each in a task of its own, but nothing that still runs."""
        planned, slot.due = slot.due, _due(slot.trigger, slot.due)
        lag = max(0.0, (datetime.now(UTC) - planned).total_seconds()) if planned else 0.0
        for name, job in slot.jobs.items():
            if name not in self._running:
                task = self._running[name] = asyncio.get_running_loop().create_task(job(lag), name=name)
                task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._running[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", name, exc_info=error)


def _due(trigger: Any, previous: datetime | None) -> datetime | None:
    """When the trigger fires next, seen from now."""
    return trigger.get_next_fire_time(previous, datetime.now(UTC))
