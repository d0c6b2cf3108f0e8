"""Files that hold secrets are looked at: a change is told once, one that is away is waited for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mcpwatch.app.watch import RARELY, SECRETS, watch_secrets
from tests.virtual import VirtualClock, VirtualLoop, run


def test_a_changed_secret_is_told_once_and_one_that_is_away_is_waited_for(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    files = [str(first), str(second)]
    told: list[float] = []

    async def scene(loop: VirtualLoop, clock: VirtualClock) -> None:
        async def changed() -> None:
            told.append(loop.time())

        first.write_text("one", encoding="utf-8")
        second.write_text("one", encoding="utf-8")
        task = asyncio.get_running_loop().create_task(watch_secrets(lambda: files, changed))
        await asyncio.sleep(SECRETS * 3.5)
        assert told == [], "nothing changed"
        first.write_text("another", encoding="utf-8")
        await asyncio.sleep(SECRETS * 3)
        assert len(told) == 1, "once"
        second.unlink()
        await asyncio.sleep(SECRETS * 2)
        assert len(told) == 1, "it is away: there is nothing to read"
        second.write_text("one", encoding="utf-8")
        os.utime(second, ns=(5, 5))
        await asyncio.sleep(SECRETS * 2)
        assert len(told) == 2, "it is back, and may be another"
        files.clear()
        await asyncio.sleep(SECRETS * 2)
        files.append(str(tmp_path / "c"))
        (tmp_path / "c").write_text("new", encoding="utf-8")
        await asyncio.sleep(RARELY * 2)
        assert len(told) == 2, "the plan that names it has read it"
        task.cancel()

    run(scene)


@pytest.mark.parametrize("there", [True, False])
def test_without_such_files_it_is_looked_rarely(there: bool, tmp_path: Path) -> None:
    looked: list[float] = []

    async def scene(loop: VirtualLoop, clock: VirtualClock) -> None:
        def files() -> list[str]:
            looked.append(loop.time())
            return [str(tmp_path)] if there else []

        async def changed() -> None:
            raise AssertionError

        task = asyncio.get_running_loop().create_task(watch_secrets(files, changed))
        await asyncio.sleep(RARELY + 1.0)
        task.cancel()

    run(scene)
    assert len(looked) == (1 + int((RARELY + 1.0) // SECRETS) if there else 2)
