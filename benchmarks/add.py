"""How long `mcpwatch add time -- mcp-server-time` takes to a proven route, beside the server's own start; each step apart.

In the same run, in turns: the server alone (spawn, handshake, tool list by the prober), `add` with its trial, `add --no-test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, Target
from mcpwatch.model.spec import CheckSpec
from tests.e2e.daemon import PYTHON, Daemon, free_port, running
from tests.parts import server

FLEET = 'version: 1\nproxy: {{listen: "127.0.0.1:{port}"}}\nmembers: {{}}\nweb: false\n'


def alone(name: str = "mcp-server-time") -> float:
    """Seconds from the spawn of a server to its list of tools."""

    async def probe() -> None:
        prober = Prober()
        try:
            target = Target(transport="stdio", command=(str(server(name)),))
            result = await prober.probe(CheckSpec(name="mcp", timeout=60.0), target, "direct")
            assert result.outcome is Outcome.SUCCESS, result
        finally:
            await prober.close()

    began = time.monotonic()
    asyncio.run(probe())
    return time.monotonic() - began


def added(daemon: Daemon, *options: str) -> tuple[float, dict[str, float]]:
    """Seconds of an `add` from the shell's view, and of each of its steps; the server is removed again."""
    began = time.monotonic()
    done = daemon.run("add", "time", "--json", *options, "--", "mcp-server-time", timeout=170)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert daemon.run("remove", "time", timeout=170).returncode == 0
    return seconds, {step["step"]: step["seconds"] for step in json.loads(done.stdout)["steps"]}


def bare_command() -> float:
    """Seconds of the smallest command of mcpwatch: what an interpreter and its imports cost here."""
    began = time.monotonic()
    subprocess.run([PYTHON, "-m", "mcpwatch", "version"], check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.add", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=7, help="rounds of all ways in turns")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    took: dict[str, list[float]] = {"the server alone": [], "mcpwatch version": [], "add": [], "add --no-test": []}
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="mw-") as place, running(Path(place), FLEET.format(port=free_port())) as daemon:
        daemon.healthy()
        for _ in range(asked.rounds):
            took["the server alone"].append(alone())
            took["mcpwatch version"].append(bare_command())
            seconds, parts = added(daemon)
            took["add"].append(seconds)
            for name, value in parts.items():
                steps.setdefault(name, []).append(value)
            took["add --no-test"].append(added(daemon, "--no-test")[0])
            print({name: round(values[-1], 2) for name, values in took.items()}, file=sys.stderr)
    if asked.json:
        json.dump({"seconds": took, "steps": steps}, sys.stdout)
        return
    own = statistics.median(took["the server alone"])
    print("| way | median s | best | worst | times the server's own start |\n|---|---|---|---|---|")
    for name, values in took.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.2f} | {min(values):.2f} | {max(values):.2f} | {middle / own:.1f} |")
    print("\nsteps of add, median: " + ", ".join(f"{name} {statistics.median(values):.2f} s" for name, values in steps.items()))


if __name__ == "__main__":
    main()
