"""The tiny server seen from outside: built, found, asked, awaited."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.supervisors.bare import answer
from mcpwatch.runtimes.kernel import Features
from mcpwatch.runtimes.process_table import ProcessTable

TABLE = ProcessTable(Features())
PATIENCE = 30.0
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
GIVEN: set[int] = set()
"""Ports that `free_ports` gave."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, none given twice: a server whose port is taken would be restarted for ever.

    They lie below those that the kernel gives to connections: a client of the benchmark would take one while its server is dead.
    """
    found: list[int] = []
    places = range(10_000, int(RANGE.read_text(encoding="ascii").split()[0]))
    while len(found) < count:
        port = random.choice(places)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in GIVEN:
                GIVEN.add(port)
                found.append(port)
    return found


def compiled(directory: Path) -> str:
    program = directory / "tinyserver"
    subprocess.run(["cc", "-O2", "-o", str(program), str(Path(__file__).with_name("server.c"))], check=True)
    return str(program)


def servers(program: str) -> dict[int, list[str]]:
    """Every living process of it, in containers too: pid to its arguments."""
    found: dict[int, list[str]] = {}
    for proc in TABLE.scan().procs.values():
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{proc.pid}/cmdline").read_bytes().decode().split("\0")
            if proc.alive and argv[0] == program:
                found[proc.pid] = argv[1:-1]
    return found


def until_new(port: int, old: int) -> float:
    """Seconds until another pid than `old` answers; infinite when none does in time."""
    start = time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        if answer(port) not in (0, old):
            return time.perf_counter() - start
        time.sleep(0.0001)
    return float("inf")


def next_death(port: int, pid: int) -> str:
    """Kill the server, which answers under the number it has for itself and has `pid` here; what follows, in words."""
    old = answer(port)
    os.kill(pid, signal.SIGKILL)
    seconds = until_new(port, old)
    return f"next death healed in {seconds * 1e3:.0f} ms" if seconds < PATIENCE else "next death never healed"


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Look every 2 ms until `condition()` or the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
