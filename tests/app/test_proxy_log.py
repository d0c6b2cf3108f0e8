"""Listening to a proxy's journal: woken by what is written, at rest while nothing is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpwatch.app import proxy_log
from mcpwatch.app.proxy_log import ProxyLog, ask
from mcpwatch.model.member import Phase


class Followed(ProxyLog):
    """Says when it looked at the plan; there is no proxy in it."""

    looks = 0
    looked = asyncio.Event()

    def _kind(self) -> None:
        self.looks += 1
        self.looked.set()


class Written:
    """A journal with so many lines."""

    def __init__(self, lines: int) -> None:
        self.lines = [SimpleNamespace(text=str(number)) for number in range(lines)]

    def poll(self, limit: int) -> list[SimpleNamespace]:
        taken, self.lines = self.lines[:limit], self.lines[limit:]
        return taken


@pytest.mark.anyio
async def test_it_looks_when_members_wrote_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_log, "IDLE", 3600.0)
    fleet: Any = SimpleNamespace(monitor=SimpleNamespace(proxy=lambda: None))
    log = Followed(fleet, tmp_path)
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


@pytest.mark.anyio
async def test_a_burst_of_lines_is_read_to_its_end_though_nothing_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_log, "IDLE", 3600.0)
    monkeypatch.setattr(proxy_log, "PAUSE", 0.0)
    monkeypatch.setattr(proxy_log, "LINES", 3)
    heard: list[str] = []
    last = asyncio.Event()

    def hint(line: str) -> None:
        heard.append(line)
        if line == "9":
            last.set()

    actor = SimpleNamespace(spec=SimpleNamespace(name="proxy"), state=SimpleNamespace(phase=Phase.STARTING, generation=1))
    fleet: Any = SimpleNamespace(monitor=SimpleNamespace(proxy=lambda: actor))
    log = ProxyLog(fleet, tmp_path)
    monkeypatch.setattr(log, "_kind", lambda: SimpleNamespace(asks="/ready", name="some", hint=hint))
    log._follower = ("proxy", cast("Any", Written(10)))  # pyright: ignore[reportPrivateUsage]
    task = asyncio.get_running_loop().create_task(log.run())
    log.wake()
    async with asyncio.timeout(10):
        await last.wait()
    assert heard == [str(number) for number in range(10)]
    task.cancel()


@pytest.mark.anyio
async def test_a_new_proxy_is_followed_from_the_moment_it_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_log, "PAUSE", 3600.0)  # what is written meanwhile was written after it
    actor = SimpleNamespace(spec=SimpleNamespace(name="proxy"))
    fleet: Any = SimpleNamespace(monitor=SimpleNamespace(proxy=lambda: actor))
    log = ProxyLog(fleet, tmp_path)
    monkeypatch.setattr(log, "_kind", lambda: SimpleNamespace(asks="/ready"))
    task = asyncio.get_running_loop().create_task(log.run())
    log.wake()
    for _ in range(20):
        await asyncio.sleep(0)
    followed = log._follower  # pyright: ignore[reportPrivateUsage]
    assert followed is not None
    assert followed[0] == "proxy"
    task.cancel()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0", b"HTTP/1.0 \r\n\r\n", b"\r\n\r\n", b"HTTP/1.0 OK\r\n\r\n"])
@pytest.mark.anyio
async def test_a_proxy_that_hangs_up_on_a_question_or_answers_nonsense_told_nothing(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(f"http://127.0.0.1:{port}/sse", "/_readyz") == (0, "")
