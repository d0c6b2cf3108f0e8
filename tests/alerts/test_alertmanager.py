"""A real Alertmanager (Debian's) hears of alerts, groups them, keeps them while they fire, and lets them go at their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification
from mcpwatch.model.time import WallTime
from tests.alerts.receivers import notification, receiving, worker
from tests.parts import program

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.needs("alertmanager"), pytest.mark.needs("amtool")]
SOON = 30.0

CONFIG = """
route: {{receiver: page, group_by: [cluster], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: page, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""


@dataclass
class Running:
    """One Alertmanager."""

    url: str

    async def query(self, *more: str) -> list[dict[str, Any]]:
        """What `amtool alert query` shows."""
        argv = (str(program("amtool")), "--alertmanager.url", self.url, "--output", "json", "alert", "query", *more)
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return json.loads(out)


@asynccontextmanager
async def alertmanager(directory: Path, page: str) -> AsyncGenerator[Running]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (directory / "config.yml").write_text(CONFIG.format(url=page), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(program("alertmanager")),
        f"--config.file={directory / 'config.yml'}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        stdout=subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(SOON):
            async for line in process.stderr:
                if b"Listening on" in line or b"address=127.0.0.1" in line:
                    break
        drained = asyncio.create_task(process.stderr.read())
        yield Running(f"http://127.0.0.1:{port}")
        drained.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def about(name: str, now: float, state: AlertState) -> Notification:
    told = notification(state, id=f"down:{name}", subject=name, member=name, since=WallTime(now - 60), fired_at=WallTime(now))
    item = AlertSnapshot(
        **{slot: getattr(told.items[0], slot) for slot in AlertSnapshot.__slots__ if slot != "resolved_at"}, resolved_at=None
    )
    if state is AlertState.RESOLVED:
        item = AlertSnapshot(
            **{slot: getattr(item, slot) for slot in AlertSnapshot.__slots__ if slot != "resolved_at"},
            resolved_at=WallTime(now - 1),
        )
    return Notification(told.id, "am", told.reason, state, told.group, WallTime(now), (item,))


async def test_alertmanager_receives_groups_and_resolves(tmp_path: Path):
    async with receiving() as page, alertmanager(tmp_path, page.url) as running:
        made = worker("alertmanager", {"url": running.url, "interval": 60, "labels": {"cluster": "home"}})
        now = made._clock.wall()  # pyright: ignore[reportPrivateUsage]
        for name in ("fetch", "time"):
            assert await made.attempt(about(name, now, AlertState.FIRING)) is None
        shown = await running.query()
        assert {one["labels"]["member"] for one in shown} == {"fetch", "time"}
        assert {one["labels"]["alertname"] for one in shown} == {"McpwatchDown"}
        assert shown[0]["annotations"]["summary"].endswith("is down: the member is down")

        (first, *_) = await page.received(1)
        assert {one["labels"]["member"] for one in first.json["alerts"]} == {"fetch", "time"}, "one page for both"

        await made.notifier.state(about("fetch", now, AlertState.FIRING).items, WallTime(now))
        assert len(await running.query()) == 2, "said again, it is the same alert"

        for name in ("fetch", "time"):
            assert await made.attempt(about(name, now, AlertState.RESOLVED)) is None
        assert await running.query() == []
        resolved: set[str] = set()
        count = 1
        async with asyncio.timeout(SOON):
            while resolved != {"fetch", "time"}:
                count += 1
                last = (await page.received(count))[-1].json["alerts"]
                resolved |= {one["labels"]["member"] for one in last if one["status"] == "resolved"}
        await made.notifier.close()
