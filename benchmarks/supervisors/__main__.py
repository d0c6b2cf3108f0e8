"""Supervisors side by side, in one run: `python -m benchmarks.supervisors [--rounds 15] [--only NAME …] [--json]`.

1. recovery: SIGKILL of a tiny server until its port answers with a new pid, rounds interleaved over all peers and a bare start
   of the same server in the same place, whose median is taken off;
2. at rest: CPU of the supervisor's own processes over a window, and their memory, with 10 and 100 children;
3. SIGKILL of the supervisor, then started again: is the same process still there, alone?
4. stop: what of a tree with a runaway session and a double-forked daemon, both deaf to SIGTERM, is alive afterwards.

A peer that cannot be had here says why instead of figures.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.command import parser
from benchmarks.supervisors.measures import Times, after_kill, after_stop, at_rest, recovery
from benchmarks.supervisors.peer import Peer
from benchmarks.supervisors.peers import PEERS
from benchmarks.supervisors.tiny import compiled

Rest = dict[str, dict[int, dict[str, float]]]


def figures(kind: type[Peer], times: Times, bare: Times, rest: Rest) -> list[str]:
    """A peer's cells of the first table."""
    floor = statistics.median(bare[kind.place])
    over = [(seconds - floor) * 1e3 for seconds in times[kind.name]]
    cells = [f"{min(over):.1f}", f"{statistics.median(over):.1f}", f"{max(over):.1f}"]
    for figure in ("cpu_ms_per_min", "rss_mb", "pss_mb", "up_s"):
        found = [rest[kind.name][n].get(figure, float("nan")) for n in sorted(rest[kind.name])]
        cells += [" / ".join(f"{value:.3g}" for value in found) or "-"]
    if restless := sum(size.get("starts", 0) for size in rest[kind.name].values()):
        cells[-1] += f" (not at rest: {restless:.0f} starts meanwhile)"
    return cells


def table(head: list[str], rows: list[list[str]]) -> None:
    rows = [row + [""] * (len(head) - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def main() -> int:
    options = parser("supervisors", __doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--window", type=float, default=20.0, help="seconds at rest that are measured")
    options.add_argument("--children", type=int, nargs="*", default=[10, 100])
    options.add_argument("--only", nargs="*", choices=[kind.name for kind in PEERS], default=[kind.name for kind in PEERS])
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    chosen = [kind for kind in PEERS if kind.name in given.only]
    absent = {kind.name: reason for kind in chosen if (reason := kind.missing())}
    peers = [kind for kind in chosen if kind.name not in absent]
    home = Path(tempfile.mkdtemp(prefix="mwbench-"))
    try:
        program = compiled(home)
        load = os.getloadavg()[0]
        times, bare = recovery(peers, program, home, given.rounds)
        rest = {kind.name: {n: at_rest(kind, program, home, n, given.window) for n in given.children} for kind in peers}
        kills = {kind.name: after_kill(kind, program, home) for kind in peers}
        stops = {kind.name: after_stop(kind, program, home) for kind in peers}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.json:
        found = {"recovery_s": times, "bare_s": bare, "rest": rest, "kill": kills, "stop": stops, "absent": absent}
        print(json.dumps(found))
        return 0
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}, ", end="")
    print(f"Python {platform.python_version()}; {given.rounds} rounds")
    for place, seconds in bare.items():
        print(f"bare start of the server {place}: median {statistics.median(seconds) * 1e3:.2f} ms, taken off below")
    print()
    n = " / ".join(str(children) for children in sorted(given.children))
    head = ["supervisor", "recovery min", "med", "max ms"]
    head += [f"idle CPU ms/min @{n}", f"RSS MB @{n}", f"PSS MB @{n}", f"all up s @{n}"]
    rows = {kind.name: [absent[kind.name]] if kind.name in absent else figures(kind, times, bare, rest) for kind in chosen}
    table(head, [[name, *cells] for name, cells in rows.items()])
    print()
    head = ["supervisor", "killed with SIGKILL and started again", "alive after stop (tree deaf to SIGTERM)"]
    table(head, [[kind.name, kills.get(kind.name) or absent[kind.name], stops.get(kind.name, "")] for kind in chosen])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
