"""What the tests of this room share: specs, real little programs, and bounded waits on what is really there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from mcpwatch.model.incarnation import Exited, RuntimeEvent
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.process import ProcessRuntime
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.spawn import ProcessSpec

INSTANCE = secrets.token_hex(6)
"""Of this test process alone: others run beside it, and each ends what carries its mark."""
WAIT = 60.0
WITHOUT = [(), ("cgroup",), ("cgroup", "subreaper"), ("pidfd", "cgroup", "subreaper", "procfs")]
"""Sets of kernel features to do without."""

STUBBORN_TREE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def write(name):
    with open(os.path.join(sys.argv[1], name), "w") as file:
        file.write(str(os.getpid()))
def away(name, session, forks):
    for _ in range(forks):
        if os.fork():
            if session == "first":
                return
            os._exit(0)
        session = "next"
    os.setsid()
    write(name)
    time.sleep(600)
if not os.fork():
    write("child"); time.sleep(600)
if not os.fork():
    os.setsid(); write("setsid"); time.sleep(600)
if not os.fork():
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    write("daemon"); time.sleep(600)
write("main")
time.sleep(600)
"""
"""A main process, a plain child, one that called setsid, and a double-forked daemon; all deaf to SIGTERM."""

TREE = ("main", "child", "setsid", "daemon")


def python(*args: str, code: str = "", name: str = "time", stop_signal: str = "SIGTERM", **env: str) -> MemberSpec:
    """A member that runs this Python on `code`."""
    carrier = ProcessSpec.model_validate(
        {"command": sys.executable, "args": ["-S", "-E", "-c", code, *args], "env": env, "stop_signal": stop_signal}
    )
    return MemberSpec(name, "server", "process", carrier, fingerprint="f1")


def sleeper(name: str = "time") -> MemberSpec:
    """A member that does nothing for ten minutes."""
    return MemberSpec(name, "server", "process", ProcessSpec.model_validate({"command": "sleep", "args": [600]}), fingerprint="f1")


def process_runtime(directory: Path, *off: str, instance: str = INSTANCE) -> ProcessRuntime:
    """A process runtime without the features named in `off`."""
    from mcpwatch.runtimes.kernel import detect

    return ProcessRuntime(directory, instance, features=detect(",".join(off)))


@asynccontextmanager
async def running(directory: Path, *off: str, instance: str = INSTANCE) -> AsyncGenerator[ProcessRuntime]:
    """A runtime that leaves nothing behind: whatever carries its mark is ended at the end."""
    runtime = process_runtime(directory, *off, instance=instance)
    try:
        yield runtime
    finally:
        await runtime.owned(())
        await runtime.close()


def alive(pid: int) -> bool:
    """Whether a process lives: a zombie does not."""
    proc = ProcessTable(Features()).look(pid)
    return proc is not None and proc.alive


def marked(instance: str = INSTANCE, member: str = "") -> set[int]:
    """Living processes with our mark."""
    prefix = f"{instance}/{member}"
    return {proc.pid for proc in ProcessTable(Features()).scan().procs.values() if proc.mark.startswith(prefix) and proc.alive}


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait, bounded, until something outside this process is so."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # looking at the machine, not guessing a time
    assert condition(), what


async def pids_in(directory: Path, names: tuple[str, ...] = TREE) -> dict[str, int]:
    """The pids that a program wrote into files of these names."""
    await until(lambda: all((directory / name).is_file() and (directory / name).read_text() for name in names))
    return {name: int((directory / name).read_text()) for name in names}


async def next_exit(events: AsyncIterator[RuntimeEvent]) -> Exited:
    """The next end that a runtime tells."""
    async with asyncio.timeout(WAIT):
        async for event in events:
            if isinstance(event, Exited):
                return event
    raise AssertionError("no more events")


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process that the test started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def start(*argv: str, **env: str) -> subprocess.Popen[bytes]:
    """A process that is not a member, in a session of its own; the test ends it."""
    return subprocess.Popen(argv, start_new_session=True, env={**os.environ, **env})
