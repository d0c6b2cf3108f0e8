"""What a command costs, beside the interpreter that runs it: `python -m benchmarks.cli [ROUNDS] [--members 10] [--json]`.

Rounds are interleaved over `python -c pass`, the fast commands and one that needs the whole program (`version`), against a daemon
with so many idle members. Prints the medians of wall time and of processor time, and both as ratios to `python -c pass`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import parser
from tests.e2e.daemon import running

PROGRAM = str(Path(sys.executable).with_name("mcpwatch"))
BARE = "python -c pass"
COMMANDS: dict[str, list[str]] = {
    BARE: [sys.executable, "-c", "pass"],
    "status": [PROGRAM, "status"],
    "status --json": [PROGRAM, "status", "--json"],
    "--help": [PROGRAM, "--help"],
    "version": [PROGRAM, "version"],
}
Cost = tuple[float, float]
"""Milliseconds of wall time and of processor time."""


def cost(argv: list[str], env: dict[str, str]) -> Cost:
    """One run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took * 1e3, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def measure(rounds: int, members: int) -> dict[str, Cost]:
    """The medians of every command."""
    idle = {f"p{n}": {"process": {"command": "sleep", "args": ["100000"]}, "route": False} for n in range(members)}
    found: dict[str, list[Cost]] = {name: [] for name in COMMANDS}
    fleet = json.dumps({"version": 1, "proxy": False, "members": idle})
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), fleet) as daemon:
        daemon.wait(lambda status: all(one["phase"] == "running" for one in status["members"]), "all run")
        for _ in range(rounds):
            for name, argv in COMMANDS.items():
                found[name].append(cost(argv, daemon.env))
    return {name: (statistics.median(c[0] for c in costs), statistics.median(c[1] for c in costs)) for name, costs in found.items()}


def main() -> None:
    """Measure and print."""
    options = parser("cli", __doc__)
    options.add_argument("rounds", nargs="?", type=int, default=25)
    options.add_argument("--members", type=int, default=10)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    found = measure(given.rounds, given.members)
    if given.json:
        print(json.dumps(found))
        return
    bare = found[BARE]
    print(f"load {os.getloadavg()[0]:.1f}, {given.members} members, medians of {given.rounds}")
    print("| command | wall ms | CPU ms | wall, times the interpreter | CPU, times |\n|---|---|---|---|---|")
    for name, (wall, cpu) in found.items():
        print(f"| `{name}` | {wall:.1f} | {cpu:.1f} | {wall / bare[0]:.1f} | {cpu / bare[1]:.1f} |")


if __name__ == "__main__":
    main()
