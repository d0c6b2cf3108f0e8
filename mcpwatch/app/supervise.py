"""Services of the daemon, kept running: one that fails is started again after a growing pause, and is told as down meanwhile.

Owns: when a service counts as down, the pauses, the facts. Must not know what a service does. A service that returns has ended on
purpose and is not started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Troubled
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import ServiceDown
from mcpwatch.ports import Publish

FIRST_PAUSE = 1.0
"""Seconds before a failed service is started again at first; doubled with each failure in a row."""
LONGEST_PAUSE = 30.0
"""Seconds of pause at most: below the time after which a loop counts as hung, as the self-watch is a service too."""
WELL_AFTER = 5.0
"""Seconds that a service started again must run before it is told as well: longer than two ticks, so that it has done something."""

Run = Callable[[], Coroutine[Any, Any, None]]


class ServiceSupervisor:
    """Runs services by name. `down` is what does not run now, and why."""

    def __init__(
        self,
        publish: Publish,
        clock: Clock,
        *,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        well_after: float = WELL_AFTER,
    ) -> None:
        """The pauses are in seconds."""
        self._publish = publish
        self._clock = clock
        self._first = first
        self._longest = longest
        self._well_after = well_after
        self._down: dict[str, ServiceDown] = {}

    @property
    def down(self) -> tuple[ServiceDown, ...]:
        """Every service that has failed and does not run again yet."""
        return tuple(self._down.values())

    def reason(self, name: str) -> str:
        """Why what this service shows is not known now; empty while it runs."""
        found = self._down.get(name)
        return f"not known: the {name} service is down since it failed: {found.reason}" if found else ""

    async def keep(self, name: str, run: Run) -> None:
        """Run a service until it returns or this is cancelled; start it again whenever it fails."""
        loop = asyncio.get_running_loop()
        pause = self._first
        while True:
            begun = loop.time()
            well = loop.call_later(self._well_after, self._recovered, name)
            try:
                await run()
                return
            except Exception as error:  # noqa: BLE001 - the last line of defence: the watchdog must not be the outage
                reason = _words(error)
            finally:
                well.cancel()
            if loop.time() - begun > self._longest:
                pause = self._first
            self._failed(name, reason, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._longest)

    def _failed(self, name: str, reason: str, pause: float) -> None:
        before = self._down.get(name)
        since = before.since if before else self._clock.wall()
        self._down[name] = ServiceDown(name, reason, since)
        text = f"{name} failed: {reason}; it is down, and is started again in {pause:g}s"
        self._publish(Troubled(at=self._clock.wall(), text=text, level="error", subject=name))

    def _recovered(self, name: str) -> None:
        if self._down.pop(name, None) is not None:
            self._publish(Troubled(at=self._clock.wall(), text=f"{name} runs again", subject=name, cleared=True))


class GuardedTasks:
    """The tasks of the daemon: the failure of one is told and never takes the watchdog down."""

    def __init__(
        self, group: asyncio.TaskGroup, supervisor: ServiceSupervisor, publish: Publish, wall: Callable[[], WallTime]
    ) -> None:
        self._group = group
        self._supervisor = supervisor
        self._publish = publish
        self._wall = wall
        self._living: set[asyncio.Task[None]] = set()

    def guard(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        """A task that runs once."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - the last line of defence: the watchdog must not be the outage
                text = f"{name} failed: {type(error).__name__}: {error}"
                self._publish(Troubled(at=self._wall(), text=text, level="error", subject=name))

        task = self._group.create_task(guarded(), name=name)
        self._living.add(task)
        task.add_done_callback(self._living.discard)
        return task

    def keep(self, name: str, run: Run) -> None:
        """A service: started again with backoff when it fails."""
        self.guard(self._supervisor.keep(name, run), name)

    def cancel(self) -> None:
        """Cancel all that still run."""
        for task in tuple(self._living):
            task.cancel()


def _words(error: BaseException) -> str:
    """The first error of a group, as `TypeName: message`."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    return f"{type(found).__name__}: {found}"
