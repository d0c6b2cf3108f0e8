"""Listening to a proxy's journal: woken by what is written, at rest while nothing is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpwatch.app import proxy_log
from mcpwatch.app.proxy_log import ProxyLog


class Followed(ProxyLog):
    """Says when it looked at the plan; there is no proxy in it."""

    looks = 0
    looked = asyncio.Event()

    def _kind(self) -> None:
        self.looks += 1
        self.looked.set()


@pytest.mark.anyio
async def test_it_looks_when_members_wrote_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_log, "IDLE", 3600.0)
    fleet: Any = SimpleNamespace(monitor=SimpleNamespace(proxy=lambda: None))
    log = Followed(fleet, cast("Any", None), tmp_path)
    log.looked = asyncio.Event()
    task = asyncio.get_running_loop().create_task(log.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert log.looks == 0
    for number in (1, 2):
        log.looked.clear()
        log.wake()
        async with asyncio.timeout(10):
            await log.looked.wait()
        assert log.looks == number
    task.cancel()
