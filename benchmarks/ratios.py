"""The promised ratios, beside the last recorded ones: `python -m benchmarks.ratios [--record] [--rounds 15] [--window 10]`.

Runs `benchmarks.supervisors` (mcpwatch, runit, supervisord) and `benchmarks.cli`, each of which measures all sides in one run,
prints every ratio beside its aim and the one in `recorded.json`, and fails only when one has doubled since it was recorded: a busy
machine moves all sides, and a ratio by less. `--record` writes the file. Takes about three minutes; `.ci/bench` runs it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.command import parser

RECORDED = Path(__file__).with_name("recorded.json")
DOUBLED = 2.0
AIMS = {
    "recovery, median: times runit": 1.5,
    "recovery, worst: times our median": 5.0,
    "idle CPU, 10 members: times supervisord": 1.0,
    "idle CPU, 100 members: times supervisord": 1.0,
    "100 members up: times supervisord": 1.2,
    "memory, 10 members: times supervisord": 2.0,
    "status, CPU: times the interpreter": 7.0,
    "--help, CPU: times the interpreter": 8.0,
}
"""What each is meant to be at most."""


def ratios(supervisors: Mapping[str, Any], cli: Mapping[str, Any]) -> dict[str, float]:
    """Every ratio that can be had from what the two benchmarks printed; one whose peer is absent is left out."""
    floor = statistics.median(supervisors["bare_s"]["here"])
    over = {name: [seconds - floor for seconds in times] for name, times in supervisors["recovery_s"].items()}
    rest, own = supervisors["rest"], over["mcpwatch"]
    found = {"recovery, worst: times our median": max(own) / statistics.median(own)}
    if "runit" in over:
        found["recovery, median: times runit"] = statistics.median(own) / statistics.median(over["runit"])
    if "supervisord" in rest:
        for name, size, figure in (
            ("idle CPU, 10 members", "10", "cpu_ms_per_min"),
            ("idle CPU, 100 members", "100", "cpu_ms_per_min"),
            ("100 members up", "100", "up_s"),
            ("memory, 10 members", "10", "rss_mb"),
        ):
            found[f"{name}: times supervisord"] = rest["mcpwatch"][size][figure] / rest["supervisord"][size][figure]
    bare = cli["python -c pass"]
    for name in ("status", "--help"):
        found[f"{name}, CPU: times the interpreter"] = cli[name][1] / bare[1]
    return {name: round(found[name], 2) for name in AIMS if name in found}


def worse(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """The ratios that have at least doubled."""
    return [name for name, ratio in now.items() if name in before and ratio >= DOUBLED * before[name]]


def table(now: Mapping[str, float], before: Mapping[str, float]) -> str:
    """Each ratio, its aim, and the recorded one."""
    rows = [f"| {name} | {ratio:g} | {AIMS[name]:g} | {before.get(name, math.nan):g} |" for name, ratio in now.items()]
    return "\n".join(["| ratio | now | aim | recorded |", "|---|---|---|---|", *rows])


def measured(name: str, *arguments: str) -> Any:
    """What a benchmark printed as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout)


def main() -> int:
    """Measure, compare, print; 1 when a ratio doubled."""
    options = parser("ratios", __doc__)
    options.add_argument("--record", action="store_true", help="write what was measured as the recorded ratios")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--window", type=float, default=10.0, help="seconds at rest that are measured")
    given = options.parse_args()
    peers = ("--only", "mcpwatch", "runit", "supervisord")
    supervisors = measured("supervisors", "--rounds", str(given.rounds), "--window", str(given.window), *peers)
    now = ratios(supervisors, measured("cli", str(given.rounds)))
    before: dict[str, float] = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    print(f"load {os.getloadavg()[0]:.1f}")
    print(table(now, before))
    if given.record:
        RECORDED.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return 0
    for name in (doubled := worse(now, before)):
        print(f"doubled since it was recorded: {name}", file=sys.stderr)
    return 1 if doubled else 0


if __name__ == "__main__":
    raise SystemExit(main())
