"""A real fleet of real processes, without the app around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcpwatch.checks import Prober
from mcpwatch.clock import SystemClock
from mcpwatch.model.fact import Fact
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.watchdog.fleet import Fleet
from tests.runtimes.bench import INSTANCE, running
from tests.watchdog.world_prober import DAEMON


@asynccontextmanager
async def supervised(
    directory: Path,
    specs: tuple[MemberSpec, ...],
    store: SqliteStore,
    hear: Callable[[Fact], None] = lambda _: None,
    instance: str = INSTANCE,
) -> AsyncGenerator[Fleet]:
    """A fleet that has begun; stopped at the end. `hear` gets its facts."""
    async with running(directory, instance=instance) as runtime, asyncio.TaskGroup() as tasks:
        living: set[asyncio.Task[Any]] = set()

        def guard(work: Coroutine[Any, Any, None], name: str) -> None:
            living.add(tasks.create_task(work, name=name))

        fleet = Fleet(lambda _: runtime, Prober(), SystemClock(), hear, guard, store, daemon=DAEMON)
        try:
            await fleet.begin(Plan(members=specs))
            yield fleet
        finally:
            await fleet.stop()
            for task in living:
                task.cancel()
