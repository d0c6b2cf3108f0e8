"""A whole fleet that dies at once, again and again: restarts are spread, none is doubled, and the budgets end it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.checks import Prober
from mcpwatch.clock import SystemClock
from mcpwatch.model.fact import Fact, MemberChanged, MemberStarted
from mcpwatch.model.member import Phase
from mcpwatch.model.spec import MemberSpec, Plan, RestartPolicy
from mcpwatch.runtimes.pace import BURST, RATE
from mcpwatch.runtimes.spawn import ProcessSpec
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.watchdog.fleet import Fleet
from tests.runtimes.bench import marked, running

pytestmark = pytest.mark.anyio

MEMBERS = 24
WAIT = 60.0
POLICY = RestartPolicy(intensity=1, period=3600.0, retry=None)


class Storm:
    """A fleet of processes that do nothing, and when each of them was started."""

    def __init__(self) -> None:
        self.fleet: Fleet
        self.instance = secrets.token_hex(6)
        self.starts: list[tuple[str, int, float]] = []
        self.failed: set[str] = set()
        self._told = asyncio.Event()

    def hear(self, fact: Fact) -> None:
        if isinstance(fact, MemberStarted):
            self.starts.append((fact.member, fact.generation, asyncio.get_running_loop().time()))
        if isinstance(fact, MemberChanged) and fact.new == Phase.FAILED:
            self.failed.add(fact.member)
        self._told.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not condition():
                self._told.clear()
                await self._told.wait()

    def kill_all(self) -> None:
        for actor in self.fleet.actors.values():
            assert actor.incarnation
            assert actor.incarnation.pid
            os.kill(actor.incarnation.pid, signal.SIGKILL)

    def of(self, generation: int) -> list[float]:
        """When the members of a generation were started, each of them once."""
        found = [(name, at) for name, number, at in self.starts if number == generation]
        assert sorted(name for name, _ in found) == sorted(self.fleet.actors)
        return sorted(at for _, at in found)


@asynccontextmanager
async def storm(directory: Path) -> AsyncGenerator[Storm]:
    found = Storm()
    store = SqliteStore(directory / "state.db")
    carrier = ProcessSpec.model_validate({"command": "sleep", "args": [600]})
    specs = tuple(
        MemberSpec(f"m{i}", "server", "process", carrier, fingerprint="f", restart=POLICY, stop_grace=0.1) for i in range(MEMBERS)
    )
    async with running(directory, instance=found.instance) as runtime, asyncio.TaskGroup() as tasks:
        living: set[asyncio.Task[Any]] = set()

        def guard(work: Coroutine[Any, Any, Any], name: str) -> None:
            living.add(tasks.create_task(work, name=name))

        found.fleet = Fleet(lambda _: runtime, Prober(), SystemClock(), found.hear, guard, store)
        try:
            await found.fleet.begin(Plan(members=specs))
            yield found
        finally:
            await found.fleet.stop()
            store.close()
            for task in living:
                task.cancel()


async def test_a_fleet_that_dies_at_once_again_and_again_is_restarted_staggered_once_each_and_then_parked(tmp_path: Path) -> None:
    async with storm(tmp_path) as found:
        for generation in (1, 2):
            await found.until(lambda: len(found.starts) == generation * MEMBERS)  # noqa: B023 - awaited before the next turn
            times = found.of(generation)
            assert times[-1] - times[0] >= (MEMBERS - BURST) / RATE * 0.8
            assert len(marked(found.instance)) == MEMBERS
            found.kill_all()
        await found.until(lambda: len(found.failed) == MEMBERS)
        assert marked(found.instance) == set()
        assert len(found.starts) == 2 * MEMBERS
