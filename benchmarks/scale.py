"""What a large fleet costs one watchdog: `python -m benchmarks.scale [--members 100 500 1000] [--routes 1000 10000] [--json]`.

Members are idle processes: CPU at rest, memory, the time of a start, of `status`, of a reload that changes one member, and until
every member is adopted after a SIGKILL of the watchdog. Routes are servers of a mock, each checked directly and through the proxy
by a handshake and its tool list every 60 s: CPU, memory, and how late a check began. Prints a row a size and the cost of one more.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.command import parser
from benchmarks.prober.served import mock
from benchmarks.rest.__main__ import cpu, rss
from mcpwatch.watchdog.schedule import offset
from tests.e2e.daemon import Daemon

PATIENCE = 600.0
LOOKS = 2000.0
"""Members or routes for which the whole status may be asked for once a second."""
EVERY = 60.0
"""Seconds between two checks of a route."""
Figures = dict[str, float]


def main() -> None:
    """Measure and print a table for members, and one for routes."""
    options = parser("scale", __doc__)
    options.add_argument("--members", type=int, nargs="*", default=[100, 500, 1000])
    options.add_argument("--routes", type=int, nargs="*", default=[1000, 10_000])
    options.add_argument("--window", type=float, default=60.0, help="seconds that are measured")
    options.add_argument("--settle", type=float, default=10.0, help="seconds before, after the last member is up")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    load = os.getloadavg()[0]
    found = {
        "members": {count: of_members(count, given.window, given.settle) for count in given.members},
        "routes": {count: of_routes(count, given.window, given.settle) for count in given.routes},
    }
    if given.json:
        print(json.dumps(found))
        return
    print(f"load {load:.1f} at the start")
    for what, rows in found.items():
        if rows:
            print("\n" + table(what, rows))


def table(what: str, rows: dict[int, Figures]) -> str:
    """Rows by size, and what the last unit between the smallest and the largest size costs."""
    names = list(next(iter(rows.values())))
    lines = [f"| {what} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {count} | " + " | ".join(f"{row[name]:.4g}" for name in names) + " |" for count, row in rows.items()]
    few, many = min(rows), max(rows)
    if many > few:
        each = [(rows[many][name] - rows[few][name]) / (many - few) for name in names]
        lines.append("| one more | " + " | ".join(f"{cost:.3g}" for cost in each) + " |")
    return "\n".join(lines)


def of_members(count: int, window: float, settle: float) -> Figures:
    """One fleet of idle processes."""
    fleet: dict[str, Any] = {
        "version": 1,
        "proxy": False,
        "members": {
            f"p{n}": {"process": {"command": "sleep", "args": ["100000"]}, "route": False, "stop_grace": "1s"} for n in range(count)
        },
    }
    with watchdog(fleet) as daemon:
        found: Figures = {"up s": timed(daemon, lambda status: running(status, count), count)}
        time.sleep(settle)
        found["CPU ms/min"], found["RSS MiB"] = at_rest(daemon, window)
        found["status ms"] = 1e3 * command(daemon, "status", codes={0, 1})
        one: dict[str, Any] = fleet["members"]["p0"]["process"]
        one["args"] = ["99999"]
        before = next(member["pid"] for member in daemon.status()["members"] if member["name"] == "p0")
        daemon.write(json.dumps({**fleet, "web": False}))
        found["reload ms"] = 1e3 * command(daemon, "reload")
        daemon.wait(lambda status: replaced(status, before, count), "the changed member runs again", PATIENCE)
        assert daemon.process is not None
        pids = {member["name"]: member["pid"] for member in daemon.status()["members"]}
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(30)
        began = time.monotonic()
        daemon.start()
        daemon.wait(lambda status: running(status, count), "all are adopted", PATIENCE)
        found["adopt s"] = time.monotonic() - began
        assert pids == {member["name"]: member["pid"] for member in daemon.status()["members"]}, "a member was restarted"
    return found


def of_routes(count: int, window: float, settle: float) -> Figures:
    """One fleet of servers that are only checked."""
    with tempfile.NamedTemporaryFile() as asked:
        with mock(asked.name) as port:
            url = f"http://127.0.0.1:{port}"
            fleet = {
                "version": 1,
                "proxy": {"kind": "external", "base_url": url},
                "defaults": {"check": {"interval": f"{EVERY:.0f}s"}},
                "members": {f"s{n}": {"url": f"{url}/direct/s{n}/sse"} for n in range(count)},
            }
            with watchdog(fleet) as daemon:
                found: Figures = {
                    "all proven s": timed(daemon, lambda status: status["healthy"] and len(status["routes"]) == count, count)
                }
                time.sleep(settle)
                began = time.time()
                found["CPU ms/min"], found["RSS MiB"] = at_rest(daemon, window)
                ended = time.time()
                found["status ms"] = 1e3 * command(daemon, "status", codes={0, 1})
        seen: list[tuple[str, float]] = json.loads(Path(asked.name).read_text(encoding="utf-8"))
    late = lateness([(path, at) for path, at in seen if began <= at < ended], count)
    return {**found, "late ms, median": statistics.median(late), "p99": late[int(len(late) * 0.99)], "worst": late[-1]}


def lateness(seen: Iterable[tuple[str, float]], count: int) -> list[float]:
    """Milliseconds between when each check was due and when its server was asked, in order."""
    found: list[float] = []
    for path, at in seen:
        subject = path.split("/")[-2]
        vantage = "direct" if path.startswith("/direct/") else "route"
        found.append((at - offset(f"{vantage}:{subject}:mcp", EVERY, 2 * count)) % EVERY * 1e3)
    return sorted(found) or [0.0]


@contextmanager
def watchdog(fleet: dict[str, Any]) -> Generator[Daemon]:
    """A daemon whose slow callbacks are not a failure: they are what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), json.dumps({**fleet, "web": False}))
        daemon.env["MCPWATCH_SLOW_CALLBACK"] = "0"
        try:
            yield daemon
        finally:
            daemon.close()


def timed(daemon: Daemon, until: Callable[[dict[str, Any]], object], count: int) -> float:
    """Seconds from the start of the daemon to a condition, looked at so seldom that looking costs little beside the fleet."""
    began = time.monotonic()
    daemon.start()
    while not until(daemon.status()):
        assert time.monotonic() - began < PATIENCE, f"{count} are not up"
        time.sleep(max(0.02, count / LOOKS))
    return time.monotonic() - began


def running(status: dict[str, Any], count: int) -> bool:
    """Whether all members run."""
    return sum(member["phase"] == "running" for member in status["members"]) == count


def replaced(status: dict[str, Any], pid: int, count: int) -> bool:
    """Whether the first member runs with another pid."""
    return running(status, count) and all(member["pid"] != pid for member in status["members"] if member["name"] == "p0")


def at_rest(daemon: Daemon, window: float) -> tuple[float, float]:
    """CPU milliseconds a minute, and MiB."""
    assert daemon.process is not None
    pid = daemon.process.pid
    before = cpu(pid)
    time.sleep(window)
    return (cpu(pid) - before) * 60e3 / window, rss(pid)


def command(daemon: Daemon, *arguments: str, codes: frozenset[int] | set[int] = frozenset({0})) -> float:
    """Seconds of one command."""
    began = time.monotonic()
    done = daemon.run(*arguments, timeout=PATIENCE)
    assert done.returncode in codes, re.sub(r"\s+", " ", done.stderr)[-500:]
    return time.monotonic() - began


if __name__ == "__main__":
    main()
