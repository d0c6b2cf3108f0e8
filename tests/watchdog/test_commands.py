"""What an operator was told is done stays done, also when this watchdog is killed with its next breath."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.watchdog.fleet import ROOM
from tests.runtimes.bench import sleeper
from tests.watchdog.supervised import supervised

pytestmark = pytest.mark.anyio


class SlowStore(SqliteStore):
    """A store on a disk that takes its time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def flush(self) -> None:
        self.asked.set()
        await self.may.wait()
        await super().flush()


async def test_a_command_is_answered_when_the_next_watchdog_would_know_of_it(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "state.db")
    async with asyncio.timeout(60), supervised(tmp_path, (sleeper(),), store) as fleet:
        steps: tuple[tuple[Literal["stop", "restart"], dict[str, str]], ...] = (("stop", {"down:time": "1"}), ("restart", {}))
        for verb, kept in steps:
            store.asked.clear()
            store.may.clear()
            asked = asyncio.create_task(fleet.command(verb, "time"))
            await store.asked.wait()
            assert not asked.done()
            store.may.set()
            await asked
            other = SqliteStore(tmp_path / "state.db")
            assert {key: value for key, value in other.recall(ROOM).items() if key.startswith("down:")} == kept
            other.close()
    store.close()
