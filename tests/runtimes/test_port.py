"""What the kernel tells of ports and of those who listen on them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator

from mcpwatch.runtimes.port import PortWatch
from tests.runtimes.bench import INSTANCE

BRIDGE = """
import socket, subprocess, sys, time
if sys.argv[1] == "listens":
    server = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def bridge(how: str) -> Generator[tuple[int, int]]:
    """An init, below it what may listen, and below that a child: the pids of the first and of the last."""
    words = ["sh", "-c", '"$0" -c "$1" "$2" & wait', sys.executable, BRIDGE, how]
    init = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert init.stdout is not None
        yield init.pid, int(init.stdout.readline())
    finally:
        os.killpg(init.pid, signal.SIGKILL)
        init.wait()
        assert init.stdout is not None
        init.stdout.close()


def test_a_bridge_below_an_init_runs_something_until_its_child_ended_though_nobody_waited_for_it() -> None:
    watch = PortWatch(INSTANCE)
    with bridge("listens") as (init, child):
        assert watch.runs(init)
        assert not watch.runs(init, "0123456789abcdef"), "no container of that name is on this machine"
        assert len(watch.listening(init)) == 1
        os.kill(child, signal.SIGKILL)
        deadline = time.monotonic() + 60.0
        while watch.runs(init):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_does_not_listen_is_no_bridge() -> None:
    with bridge("listens not") as (init, _):
        assert not PortWatch(INSTANCE).runs(init)
