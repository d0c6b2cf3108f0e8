"""What a changed configuration does to members whose carrier brings them back by itself: the gateway's, and others'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest

from mcpwatch.checks import Prober
from mcpwatch.clock import SystemClock
from mcpwatch.config.diff import diff
from mcpwatch.model.fact import Fact, MemberStarted
from mcpwatch.model.incarnation import Incarnation, RuntimeEvent
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.model.view import Usage
from mcpwatch.runtimes.external import ExternalMemberSpec
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.watchdog.fleet import Fleet
from tests.watchdog.world_prober import DAEMON

pytestmark = pytest.mark.anyio


class Carrier:
    """A runtime that brings its members back by itself, and remembers what it was asked to start."""

    supervision: Literal["ours", "theirs"] = "theirs"

    def __init__(self, name: str) -> None:
        self.name = name
        self.started: list[str] = []

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        del specs
        return ()

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        self.started.append(spec.fingerprint)
        return Incarnation(spec.name, generation, spec.fingerprint, container="c")

    def number(self, living: Incarnation) -> None:
        del living

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        del spec, grace

    async def resume(self, spec: MemberSpec) -> None:
        del spec

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        await asyncio.Event().wait()
        return
        yield

    def usage(self, member: str) -> Usage | None:
        del member
        return None

    async def close(self) -> None:
        return


@pytest.mark.parametrize(("runtime", "started"), [("kubernetes", ["old", "new"]), ("hosted", ["old"])])
async def test_a_gateway_replaces_what_it_hosts_by_itself_and_nothing_else(runtime: str, started: list[str], tmp_path: Any) -> None:
    carrier, facts, store = Carrier(runtime), asyncio.Queue[Fact](), SqliteStore(tmp_path / "state.db")
    before = Plan(members=(MemberSpec("one", "server", runtime, ExternalMemberSpec(), "old", checks=()),))
    after = replace(before, members=(replace(before.members[0], fingerprint="new"),))
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        living: list[asyncio.Task[Any]] = []

        def guard(work: Coroutine[Any, Any, None], name: str) -> None:
            living.append(tasks.create_task(work, name=name))

        fleet = Fleet(lambda _: carrier, Prober(), SystemClock(), facts.put_nowait, guard, store, daemon=DAEMON)
        await fleet.begin(before)
        while not isinstance(await facts.get(), MemberStarted):
            pass
        fleet.monitor.traits = replace(fleet.monitor.traits, reloads=True)
        await fleet.apply(after, diff(before, after))
        if started == ["old", "new"]:
            while not isinstance(await facts.get(), MemberStarted):
                pass
        assert carrier.started == started
        await fleet.stop()
        for task in living:
            task.cancel()
    store.close()
