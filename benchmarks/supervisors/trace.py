"""What a watchdog does between a death and the start that follows: a daemon whose every callback is timed.

`python trace.py … up …` is mcpwatch, traced: each start after a death is a line of `MCPWATCH_TRACE` with the times (the machine's
monotonic clock) at which the end was seen, the spawn was called and was done, and what ran before. `killed` notes a death
from outside, `report` sets the worst side by side. At each `ASK` it says in that file what it woke for so far, by name.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import selectors
import signal
import statistics
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

VARIABLE = "MCPWATCH_TRACE"
ASK = signal.SIGRTMIN + 2
"""The signal that asks what it woke for."""
BEFORE = 0.3
"""Seconds before an end that are kept with it."""
Ran = tuple[float, float, float, str]
"""Began, took, processor time of it, name."""
KILLED: dict[int, tuple[float, float]] = {}
"""When somebody was about to kill a process, and the processor time of the watchdog's loop then."""


def killed(pid: int, watchdog: int) -> None:
    """Somebody is about to kill this process."""
    used = int(Path(f"/proc/{watchdog}/task/{watchdog}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    KILLED[pid] = time.monotonic(), used


def report(file: Path, worst: int) -> str:
    """The median of each stretch, and of the slowest starts what ran in between."""
    seen: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = [(KILLED[one["old"]][0], one) for one in seen if one.get("old") in KILLED]
    stretches = {
        "killed to seen": [one["seen"] - at for at, one in found],
        "seen to spawn": [one["spawn"] - one["seen"] for _, one in found],
        "spawn": [one["spawned"] - one["spawn"] for _, one in found],
        "processor of the loop, killed to spawned": [one["cpu"] - KILLED[one["old"]][1] for _, one in found],
    }
    lines = [f"{name}: median {1e3 * statistics.median(t):.2f} ms, worst {1e3 * max(t):.2f}" for name, t in stretches.items()]
    found.sort(key=lambda pair: pair[0] - pair[1]["spawned"])
    for at, one in found[:worst]:
        lines.append(
            f"- {1e3 * (one['spawned'] - at):.1f} ms: seen {1e3 * (one['seen'] - at):.1f}, "
            f"spawn {1e3 * (one['spawn'] - at):.1f}, spawned {1e3 * (one['spawned'] - at):.1f}"
        )
        for began, took, busy, name in one["ran"]:
            if began + took > at and began < one["spawned"] and took > 0.0003:
                lines.append(f"    {1e3 * (began - at):7.1f} took {1e3 * took:6.2f} ms (processor {1e3 * busy:.2f}) {name[:110]}")
    return "\n".join(lines)


def _named(handle: Any) -> str:
    call = handle._callback
    owner: Any = getattr(call, "__self__", None)
    if hasattr(owner, "get_coro"):
        return f"{owner.get_name()} ({owner.get_coro().__qualname__})"
    return getattr(call, "__qualname__", repr(call))


def _say(body: object) -> None:
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(body) + "\n")


def _time_callbacks(ran: deque[Ran], woken: Counter[str]) -> None:
    """Every callback into `ran`, and the first after each wait of the loop into `woken`."""
    handle: Any = asyncio.Handle
    step, select, waited = handle._run, selectors.EpollSelector.select, [False]

    def timed(self: Any) -> None:
        name, began, busy = _named(self), time.monotonic(), time.thread_time()
        woken[name] += waited[0]
        waited[0] = False
        step(self)
        ran.append((began, time.monotonic() - began, time.thread_time() - busy, name))

    def selected(self: Any, timeout: float | None = None) -> Any:
        waited[0] = timeout is None or timeout > 0
        return select(self, timeout)

    handle._run, selectors.EpollSelector.select = timed, selected


def _time_collections(ran: deque[Ran]) -> None:
    begun = [0.0]

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            begun[0] = time.monotonic()
        else:
            name = f"gc, generation {info['generation']}, in {threading.current_thread().name}"
            ran.append((begun[0], time.monotonic() - begun[0], 0.0, name))

    gc.callbacks.append(collected)


def _time_starts(ran: deque[Ran]) -> None:
    from mcpwatch.runtimes import exit_watch, process

    watch: Any = exit_watch.ExitWatch
    ended, spawn = watch._ended, process.spawn
    died: dict[str, tuple[int, float]] = {}

    def seen(self: Any, followed: Any) -> None:
        died[followed.member] = (followed.pid, time.monotonic())
        ended(self, followed)

    def spawned(member: str, *rest: Any) -> int:
        called = time.monotonic()
        pid = spawn(member, *rest)
        if member in died:
            old, at = died.pop(member)
            now = [one for one in ran if one[0] + one[1] > at - BEFORE]
            _say({"old": old, "seen": at, "spawn": called, "spawned": time.monotonic(), "cpu": time.thread_time(), "ran": now})
        return pid

    watch._ended, process.spawn = seen, spawned


def run() -> None:
    """Patch what is measured, and be mcpwatch."""
    from mcpwatch.__main__ import main

    ran: deque[Ran] = deque(maxlen=5000)
    woken: Counter[str] = Counter()
    _time_callbacks(ran, woken)
    _time_collections(ran)
    _time_starts(ran)

    def asked(*_: object) -> None:
        threads = {f"{one.native_id} {one.name}" for one in threading.enumerate()}
        _say({"loop": woken, "threads": sorted(threads)})

    signal.signal(ASK, asked)
    sys.argv = ["mcpwatch", *sys.argv[sys.argv.index("up") :]]
    main()


if __name__ == "__main__":
    run()
