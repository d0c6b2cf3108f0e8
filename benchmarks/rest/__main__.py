"""What the watchdog costs while nothing happens: `python -m benchmarks.rest [SECONDS] [--members 10 100]`.

For 10 and 100 members: that many idle processes supervised, that many servers of a mock checked every 30 s, no gateway. Prints CPU
milliseconds per minute, percent of one core and RSS of the daemon, beside supervisord with as many processes where it is installed
(`.ci/parts supervisors`), measured at the same time. `--memory`: instead, what each room adds to a process that imports one after
the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import parser
from tests.e2e.daemon import running
from tests.parts import PARTS

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE = 45.0
"""Seconds until every first probe is over and the grid has its pace."""


def main() -> None:
    """Measure and print a row per size."""
    options = parser("rest", __doc__)
    options.add_argument("seconds", nargs="?", type=float, default=60.0, help="how long is measured")
    options.add_argument("--members", type=int, nargs="*", default=[10, 100])
    options.add_argument("--settle", type=float, default=SETTLE, help="seconds before: until every first probe is over")
    options.add_argument("--memory", action="store_true", help="only what each room weighs")
    given = options.parse_args()
    if given.memory:
        by_room()
        return
    seconds = given.seconds
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    print(f"| members | mcpwatch CPU ms/min | % of a core | RSS MiB | supervisord CPU ms/min | RSS MiB |  ({seconds:.0f} s)")
    print("|---|---|---|---|---|---|")
    for members in given.members:
        print(row(members, seconds, given.settle), flush=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


ROOMS = (
    "asyncio", "pydantic", "httpx", "mcpwatch.registry", "mcpwatch.watchdog.fleet", "mcpwatch.runtimes", "mcpwatch.proxies",
    "mcpwatch.store.sqlite", "mcpwatch.alerts.service", "mcpwatch.clients.service", "mcpwatch.telemetry.service",
    "mcpwatch.web.serve", "mcpwatch.web.site", "mcpwatch.app.daemon", "mcpwatch.cli.main", "mcpwatch.app.kinds",
    "mcpwatch.config.load",
)  # fmt: skip
"""In the order in which a daemon would import them; the last two only read configurations."""
WEIGH = """
import importlib, sys
from benchmarks.rest.__main__ import weight
import mcpwatch.__main__
print("| after importing | RSS MiB | PSS MiB | modules |\\n|---|---|---|---|")
for name in sys.argv[1:]:
    importlib.import_module(name)
    print("| {} | {:.1f} | {:.1f} | {} |".format(name, *weight("self"), len(sys.modules)))
"""


def by_room() -> None:
    """Import room after room in a fresh process, and print what it weighs then. This file's own imports are in the first row."""
    subprocess.run([sys.executable, "-c", WEIGH, *ROOMS], check=True)


def weight(pid: int | str) -> tuple[float, float]:
    """RSS and PSS of a process, MiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines())
    found = {words[0]: int(words[1]) / 1024 for words in lines if words[0] in {"Rss:", "Pss:"}}
    return found["Rss:"], found["Pss:"]


def row(members: int, seconds: float, settle: float) -> str:
    """One size, both supervisors side by side."""
    mock = subprocess.Popen([sys.executable, "-m", "benchmarks.prober.mock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert mock.stdout is not None
    port = int(mock.stdout.readline().split()[-1])
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            peer = supervisord(place, members)
            try:
                with running(place, fleet(members, port)) as daemon:
                    time.sleep(settle)
                    assert daemon.process is not None
                    pids = [daemon.process.pid, *([peer.pid] if peer else [])]
                    before = [cpu(pid) for pid in pids]
                    time.sleep(seconds)
                    used = [(cpu(pid) - was) * 60.0 / seconds for pid, was in zip(pids, before, strict=True)]
                    sizes = [rss(pid) for pid in pids]
            finally:
                if peer:
                    peer.terminate()
                    peer.wait(30)
    finally:
        assert mock.stdin is not None
        mock.stdin.close()
        mock.wait(10)
    theirs = f"{used[1] * 1000:.0f} | {sizes[1]:.0f}" if len(used) > 1 else "not installed | "
    return f"| {members} | {used[0] * 1000:.0f} | {used[0] / 60 * 100:.2f} | {sizes[0]:.0f} | {theirs} |"


def fleet(members: int, port: int) -> str:
    """So many idle processes, and as many servers to check."""
    idle = {f"p{n}": {"process": {"command": "sleep", "args": ["100000"]}, "route": False} for n in range(members)}
    checked = {f"s{n}": {"url": f"http://127.0.0.1:{port}/s{n}/sse"} for n in range(members)}
    return json.dumps({"version": 1, "proxy": False, "members": {**idle, **checked}})


def supervisord(place: Path, members: int) -> subprocess.Popen[bytes] | None:
    """The peer with as many idle processes, in the foreground; `None` where it is not installed."""
    program = PARTS / "supervisors" / "bin" / "supervisord"
    if not program.exists():
        return None
    programs = "".join(f"[program:p{n}]\ncommand=sleep 100000\n" for n in range(members))
    file = place / "supervisord.conf"
    file.write_text(f"[supervisord]\nnodaemon=true\nlogfile={place}/sd.log\npidfile={place}/sd.pid\n{programs}", encoding="utf-8")
    return subprocess.Popen([program, "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cpu(pid: int) -> float:
    """Seconds of processor time a process has used (its children not counted)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
