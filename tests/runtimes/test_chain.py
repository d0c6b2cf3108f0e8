"""Processes that fork and exit faster than anybody can look: no signal to a number reaches them, one to their group does."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.runtimes.bench import WITHOUT, kill, next_exit, process_runtime, python, running, until

pytestmark = pytest.mark.anyio

CHAIN = """
import os, sys, time
own = sys.argv[2] == "own"
if not os.fork():
    if own:
        os.setsid()
    held = os.open(os.path.join(sys.argv[1], "held"), os.O_WRONLY)
    os.write(held, b"%d " % os.getpgrp())
    for _ in range(1000 if own else 4000):
        if os.fork():
            os._exit(0)
        time.sleep(0.005 if own else 0.0005)
    os.write(held, b"0 ")
    os._exit(0)
time.sleep(600)
"""
"""A child that for some seconds is another process every half millisecond, or every five where its session is its own."""

WAYS = [  # without /proc, a look is too slow to see such a chain go away
    (off, session) for off in WITHOUT for session in ("its parent's", "own") if session != "own" or "procfs" not in off
]
NAMES = [f"{session}, without {'+'.join(off) or 'nothing'}" for off, session in WAYS]
EACH_WAY = pytest.mark.parametrize(("off", "session"), WAYS, ids=NAMES)


class Held:
    """A pipe that every process of a chain holds open: it ends when the last of them is gone."""

    def __init__(self, directory: Path) -> None:
        path = directory / "held"
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.group = 0

    async def begun(self) -> None:
        """Return when the chain runs."""
        await until(lambda: bool(self._read()) or self.group > 0, "the chain runs")

    async def ended(self) -> None:
        """Return when nobody holds it any more. It must not have ended by itself."""
        await until(lambda: self._read() == b"", "nobody of the chain is left")
        assert self.group, "it was ended"

    def close(self) -> None:
        """Whatever the test found, the chain does not outlive it."""
        os.close(self._fd)
        if self.group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, signal.SIGKILL)

    def _read(self) -> bytes | None:
        try:
            data = os.read(self._fd, 64)
        except BlockingIOError:
            return None
        self.group = int(data.split()[-1]) if data else self.group
        return data


@pytest.fixture
def held(tmp_path: Path) -> Generator[Held]:
    made = Held(tmp_path)
    yield made
    made.close()


@pytest.mark.sample(1)
@EACH_WAY
async def test_a_stop_ends_a_chain_of_processes(tmp_path: Path, held: Held, off: tuple[str, ...], session: str) -> None:
    async with running(tmp_path, *off) as runtime:
        spec = python(str(tmp_path), session, code=CHAIN)
        await runtime.start(spec, 1)
        await held.begun()
        await runtime.stop(spec, 0.2)
        await held.ended()


@pytest.mark.sample(1)
@EACH_WAY
async def test_a_sudden_death_ends_a_chain_of_processes(tmp_path: Path, held: Held, off: tuple[str, ...], session: str) -> None:
    async with running(tmp_path, *off) as runtime:
        spec = python(str(tmp_path), session, code=CHAIN)
        living = await runtime.start(spec, 1)
        await held.begun()
        assert living.pid
        kill(living.pid)
        await next_exit(runtime.watch())
        await runtime.start(python(code="import time; time.sleep(600)"), 2)
        await held.ended()


@pytest.mark.sample(1)
@EACH_WAY
async def test_an_adopted_member_is_stopped_with_its_chain(tmp_path: Path, held: Held, off: tuple[str, ...], session: str) -> None:
    spec = python(str(tmp_path), session, code=CHAIN)
    first = process_runtime(tmp_path, *off)
    await first.start(spec, 1)
    await held.begun()
    await first.close()
    async with running(tmp_path, *off) as runtime:
        assert len(await runtime.owned((spec,))) == 1
        await runtime.stop(spec, 0.2)
        await held.ended()
