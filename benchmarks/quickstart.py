"""From `mcpwatch up` to the first proven route, beside the servers' own start: `python -m benchmarks.quickstart [ROUNDS]`.

The fleet is `examples/quickstart.yaml` on a free port, in a new state directory each time. In turns: each of its servers alone
(spawn, handshake, tool list), and the whole fleet, until the first and until every route is healthy.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.add import alone
from benchmarks.command import parser
from tests.e2e.daemon import Daemon, free_port
from tests.parts import ROOT

SERVERS = ("mcp-server-time", "mcp-server-fetch", "mcp-server-git")


def up() -> tuple[float, float, float]:
    """Seconds until the watchdog answers, until the first route is proven, and until all are."""
    text = (ROOT / "examples" / "quickstart.yaml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="mw-") as place:
        daemon = Daemon(Path(place), text.replace("127.0.0.1:9090", f"127.0.0.1:{free_port()}"))
        began = time.monotonic()
        try:
            daemon.start()
            answers = time.monotonic() - began
            daemon.wait(lambda status: any(route["verdict"] == "healthy" for route in status["routes"]), "a route is proven")
            first = time.monotonic() - began
            daemon.healthy()
            return answers, first, time.monotonic() - began
        finally:
            daemon.close()


def main() -> None:
    """Measure and print a table."""
    options = parser("quickstart", __doc__)
    options.add_argument("rounds", nargs="?", type=int, default=5)
    rounds = options.parse_args().rounds
    load = os.getloadavg()[0]
    took: dict[str, list[float]] = {name: [] for name in (*SERVERS, "the watchdog answers", "first route proven", "all proven")}
    for _ in range(rounds):
        for name in SERVERS:
            took[name].append(alone(name))
        for name, seconds in zip(("the watchdog answers", "first route proven", "all proven"), up(), strict=True):
            took[name].append(seconds)
    own = min(statistics.median(took[name]) for name in SERVERS)
    print(f"load {load:.1f} to {os.getloadavg()[0]:.1f}, {rounds} rounds")
    print("| | median s | best | worst | times the quickest server |\n|---|---|---|---|---|")
    for name, values in took.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.2f} | {min(values):.2f} | {max(values):.2f} | {middle / own:.1f} |")


if __name__ == "__main__":
    main()
