"""What a hosted server started ends with it, also what left its session and its parent; what another one started does not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpwatch.gateway.upstream.child import Child, Exit
from mcpwatch.gateway.upstream.spawn import Command

pytestmark = pytest.mark.anyio
BOUND = 20.0
SERVER = """
import os, sys, time
from pathlib import Path
def helper():
    {leave}
    Path(sys.argv[1] + ".new").write_text(str(os.getpid())); os.rename(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(600)
if not os.fork():
    os.closerange(0, 3)
    helper()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("up", flush=True)
if sys.argv[2] == "crash":
    sys.stdin.readline(); os._exit(3)
sys.stdin.read()
"""
LEAVE = {
    "session": "os.setsid()",
    "session and parent": "os.setsid(); os.fork() and os._exit(0)",
    "group": "os.setpgid(0, 0)",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not what():  # noqa: ASYNC110 - processes of others tell nobody
            await asyncio.sleep(0.01)


async def begun(tmp_path: Path, name: str, leave: str, end: str) -> tuple[Child, int, asyncio.Event]:
    """A server with a helper; the helper's pid, and what is set when the server has ended."""
    up, ended, file = asyncio.Event(), asyncio.Event(), tmp_path / f"{name}.pid"

    def gone(_: Exit) -> None:
        ended.set()

    argv = (sys.executable, "-c", SERVER.format(leave=leave), str(file), end)
    child = Child(
        Command("same", argv, (("PATH", os.environ["PATH"]),)), lambda _: up.set(), gone, lambda _head, _tail: None, lambda: None
    )
    await child.start()
    async with asyncio.timeout(BOUND):
        await up.wait()
    return child, int(file.read_text(encoding="utf-8")), ended


@pytest.mark.sample(3)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE.keys())
@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_a_helper_in_a_session_of_its_own_ends_with_the_server_that_started_it_and_with_no_other(
    tmp_path: Path, leave: str, end: str
) -> None:
    one, helper, ended = await begun(tmp_path, "one", leave, end)
    other, others_helper, _ = await begun(tmp_path, "other", leave, "stop")
    if end == "crash":
        one.write(b"end")
        async with asyncio.timeout(BOUND):
            await ended.wait()
        await until(lambda: not alive(helper))
    else:
        await one.stop()
        await until(lambda: not alive(helper))  # killed; the kernel may take a moment
    assert alive(others_helper), "one of the same name, for another client"
    await other.stop()
    await until(lambda: not alive(others_helper))
    await one.stop()
