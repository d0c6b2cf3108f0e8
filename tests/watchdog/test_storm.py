"""A whole fleet that dies at once, again and again: restarts are spread, none is doubled, and the budgets end it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpwatch.model.fact import Fact, MemberChanged, MemberStarted
from mcpwatch.model.member import Phase
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.spawn import ProcessSpec
from mcpwatch.runtimes.start_rate import BURST, RATE
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.watchdog.fleet import Fleet
from tests.runtimes.bench import marked
from tests.watchdog.supervised import supervised

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
    try:
        async with supervised(directory, specs, store, found.hear, found.instance) as found.fleet:
            yield found
    finally:
        store.close()


async def test_a_fleet_that_dies_at_once_again_and_again_is_restarted_staggered_once_each_and_then_parked(tmp_path: Path) -> None:
    async with storm(tmp_path) as found:
        for generation in (1, 2):
            await found.until(lambda: len(found.starts) == generation * MEMBERS)  # noqa: B023 - awaited before the next turn
            times = found.of(generation)
            assert times[-1] - times[0] >= (MEMBERS - BURST) / RATE * 0.8
            async with asyncio.timeout(WAIT):  # a mark is seen when the new program is loaded, a moment after its start
                while len(marked(found.instance)) != MEMBERS:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
            found.kill_all()
        await found.until(lambda: len(found.failed) == MEMBERS)
        assert marked(found.instance) == set()
        assert len(found.starts) == 2 * MEMBERS
