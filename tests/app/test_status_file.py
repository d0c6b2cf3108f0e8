"""The status on disk follows the fleet again soon after a disk that stood still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpwatch.app import status
from mcpwatch.model.fact import Fact, MemberChanged


@pytest.mark.anyio
async def test_one_slow_write_holds_up_the_next_for_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "STATUS_EVERY", 0.0)
    monkeypatch.setattr(status, "LONGEST", 0.0)
    monkeypatch.setattr(status, "SHARE", 1e9)
    fact = MemberChanged.__new__(MemberChanged)
    hooks: list[Callable[[Fact], None]] = []
    bus = cast("Any", SimpleNamespace(hook=hooks.append))
    written: asyncio.Queue[None] = asyncio.Queue()
    file = status.StatusFile(cast("Any", None), tmp_path / "status.json", bus)

    async def write() -> None:
        await asyncio.to_thread(lambda: None)
        written.put_nowait(None)

    monkeypatch.setattr(file, "write", write)
    running = asyncio.create_task(file.run())
    async with asyncio.timeout(10):
        for _ in range(2):
            hooks[0](fact)
            await written.get()
    running.cancel()
