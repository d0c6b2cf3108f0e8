"""What the watchdog costs while nothing happens: `python -m benchmarks.rest [SECONDS] [--members 10 100] [--named]`.

For 10 and 100 members: that many idle processes supervised, that many servers of a mock checked every 30 s, no gateway. Prints CPU
milliseconds a minute, percent of one core, wake-ups a second (voluntary switches of all threads), memory, and what grew meanwhile:
memory, threads, open files, the state directory; beside supervisord with as many processes where it is installed (`.ci/parts
supervisors`), measured at the same time. `--named` says instead what each wake-up was for, of a traced daemon. A soak of half an
hour is `python -m benchmarks.rest 1800 --members 100`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.command import parser
from benchmarks.prober.served import mock
from benchmarks.supervisors import trace
from tests.e2e.daemon import Daemon
from tests.parts import PARTS

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE = 45.0
"""Seconds until every first probe is over and the grid has its pace."""


Sizes = tuple[float, int, int, float]
"""Memory in MiB, threads, open files, MiB of the state directory."""


def main() -> None:
    """Measure and print a row per size."""
    options = parser("rest", __doc__)
    options.add_argument("seconds", nargs="?", type=float, default=60.0, help="how long is measured")
    options.add_argument("--members", type=int, nargs="*", default=[10, 100])
    options.add_argument("--settle", type=float, default=SETTLE, help="seconds before: until every first probe is over")
    options.add_argument("--named", action="store_true", help="what each wake-up was for")
    given = options.parse_args()
    seconds = given.seconds
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    if not given.named:
        print("| members | CPU ms/min | % of a core | wake-ups a second | RSS MiB | grew MiB, threads, files, MiB on disk", end="")
        print(f" | supervisord CPU ms/min | RSS MiB |  ({seconds:.0f} s)\n" + "|---" * 8 + "|")
    for members in given.members:
        with laid_out(members, traced=given.named) as (daemon, peer):
            time.sleep(given.settle)
            print(names(daemon, seconds) if given.named else row(members, daemon, peer, seconds), flush=True)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


@contextmanager
def laid_out(members: int, *, traced: bool) -> Generator[tuple[Daemon, subprocess.Popen[bytes] | None]]:
    """Both supervisors side by side, with a mock to check."""
    with ExitStack() as end:
        port = end.enter_context(mock())
        place = Path(end.enter_context(tempfile.TemporaryDirectory()))
        peer = None if traced else supervisord(place, members)
        if peer is not None:
            end.callback(peer.wait, 30)
            end.callback(peer.terminate)
        daemon = Daemon(place, fleet(members, port))
        end.callback(daemon.close)
        if traced:
            daemon.wrap = [sys.executable, trace.__file__]
            daemon.env |= {trace.VARIABLE: str(place / "trace"), "MCPWATCH_SLOW_CALLBACK": "0"}
        yield daemon.start(), peer


def row(members: int, daemon: Daemon, peer: subprocess.Popen[bytes] | None, seconds: float) -> str:
    """One size."""
    assert daemon.process is not None
    pids = [daemon.process.pid, *([peer.pid] if peer else [])]
    before, woken, size = [cpu(pid) for pid in pids], wakes(pids[0]), sizes(pids[0], daemon.state)
    time.sleep(seconds)
    used = [(cpu(pid) - was) * 60.0 / seconds for pid, was in zip(pids, before, strict=True)]
    woke = sum(wakes(pids[0]).values()) - sum(woken.values())
    now = sizes(pids[0], daemon.state)
    grew = ", ".join(f"{after - was:+.3g}" for after, was in zip(now, size, strict=True))
    theirs = f"{used[1] * 1000:.0f} | {rss(pids[1]):.0f}" if peer else "not installed | "
    cells = f"{used[0] * 1000:.0f} | {used[0] / 60 * 100:.2f} | {woke / seconds:.2f} | {now[0]:.0f} | {grew}"
    return f"| {members} | {cells} | {theirs} |"


def names(daemon: Daemon, seconds: float) -> str:
    """What woke it, a line each: the first callback after each wait of the loop, and the other threads."""
    assert daemon.process is not None
    file, pid = daemon.directory / "trace", daemon.process.pid
    seen: list[tuple[Counter[str], dict[int, int]]] = []
    for wait in (seconds, 0.0):
        daemon.process.send_signal(trace.ASK)
        while not file.exists() or len(lines := file.read_text(encoding="utf-8").splitlines()) <= len(seen):
            time.sleep(0.05)
        seen.append((Counter(json.loads(lines[-1])["loop"]), wakes(pid)))
        time.sleep(wait)
    threads = dict(one.split(" ", 1) for one in json.loads(lines[-1])["threads"])
    (early, before), (late, after) = seen
    found = late - early
    found.update({f"thread {threads.get(str(one), '?')}": count - before.get(one, 0) for one, count in after.items() if one != pid})
    told = [f"{count / seconds:7.3f} a second: {name}" for name, count in found.most_common() if count]
    return "\n".join([f"{sum(found.values()) / seconds:7.3f} a second in all", *told])


def wakes(pid: int) -> dict[int, int]:
    """Voluntary switches of each thread so far."""
    found: dict[int, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            text = (task / "status").read_text(encoding="utf-8")
            found[int(task.name)] = int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def sizes(pid: int, state: Path) -> Sizes:
    """What may grow."""
    place = Path(f"/proc/{pid}")
    disk = sum(file.stat().st_blocks for file in state.rglob("*") if file.is_file()) * 512 / 2**20
    return rss(pid), len(list((place / "task").iterdir())), len(list((place / "fd").iterdir())), disk


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
