"""The end of a container is told when its last lines are on disk, however late the engine gives them, and never much later."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mcpwatch import journal
from mcpwatch.model.incarnation import Exited
from mcpwatch.runtimes.docker import followed
from mcpwatch.runtimes.docker.events import ContainerEnded
from mcpwatch.runtimes.docker.followed import FollowedContainer, FollowedContainers
from mcpwatch.runtimes.docker.logs import ContainerLogFollower, LogFile

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class LateEngine:
    """An engine that gives a container's one line when it is let."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def logs(self, container: str, stream: str, since: float | None) -> Any:
        del container, stream, since
        return self.Lines(self.may)

    def runs(self, container: str) -> bool:
        del container
        return False

    class Lines:
        """One stream of it."""

        def __init__(self, may: threading.Event) -> None:
            self.may = may

        def __iter__(self) -> Iterator[bytes]:
            self.may.wait()
            yield b"2026-11-30T22:00:00.5Z FATAL: cannot read the secret\n"

        def close(self) -> None:
            self.may.set()


@pytest.mark.parametrize("comes", ["before", "soon", "never"])
async def test_an_end_waits_for_the_last_line_and_no_longer(comes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LAST_WORDS", 0.05 if comes == "never" else 30.0)
    runtime, engine = FollowedContainers(tmp_path, "0" * 12), LateEngine()
    follower = ContainerLogFollower(engine, "c", LogFile(tmp_path / "logs" / "e", "stderr"), "stderr")
    live = FollowedContainer("e", 1, cast("Any", None), "c", followers=(follower,))
    runtime._live["e"] = live
    if comes == "before":
        engine.may.set()
    runtime._ended(ContainerEnded("c", 1, 3, False, None))
    assert runtime._events.empty(), "its log is read first"
    if comes == "soon":
        asyncio.get_running_loop().call_later(0.05, engine.may.set)
    told = await asyncio.wait_for(runtime._events.get(), 30.0)
    assert isinstance(told, Exited)
    assert (told.code, "e" in runtime._live) == (3, False)
    lines = [line.text for line in journal.read(tmp_path, "e", ("stderr",))]
    assert lines == ([] if comes == "never" else ["FATAL: cannot read the secret"])
    follower.close()
