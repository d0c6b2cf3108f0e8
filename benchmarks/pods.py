"""What many pods cost one watchdog: `python -m benchmarks.pods [--members 10 1000] [--window 60] [--settle 20]`.

Members are Deployments of one pod each on a real API server with its controllers (the part `kubernetes`); kwok plays the nodes.
They are watched and not checked by MCP. Prints how long until all run, then at rest CPU, memory, and calls to the API server a
minute, as the server's own audit log counts them.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import parser
from benchmarks.scale import Figures, at_rest, running, table, timed, watchdog
from tests.runtimes.kubernetes.cluster import Cluster, cluster

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": ["system:serviceaccount:many:mcpwatch"]}, {"level": "None"}],
}
"""Only what the watchdog asks, as the service account it runs as."""


def main() -> None:
    """Measure and print a row a size."""
    options = parser("pods", __doc__)
    options.add_argument("--members", type=int, nargs="*", default=[10, 1000])
    options.add_argument("--window", type=float, default=60.0, help="seconds that are measured")
    options.add_argument("--settle", type=float, default=20.0, help="seconds before, after the last pod runs")
    given = options.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    print(table("pods", {count: measured(count, given.window, given.settle) for count in given.members}))
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def measured(count: int, window: float, settle: float) -> Figures:
    """One fleet of pods."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "audit.json").write_text(json.dumps(POLICY), encoding="utf-8")
        audit = (f"--audit-policy-file={home / 'audit.json'}", f"--audit-log-path={home / 'audit.log'}")
        with cluster(home / "plane", *audit) as plane, watchdog(fleet(plane, home, count)) as daemon:
            found: Figures = {"all run s": timed(daemon, lambda status: running(status, count), count)}
            time.sleep(settle)
            asked = calls(home)
            spent, found["RSS MiB"] = at_rest(daemon, window)
            found["CPU ms/min"], found["% of a core"] = spent, spent / 600
            found["calls/min"] = (calls(home) - asked) * 60.0 / window
            found["calls to start"] = asked
            assert len(plane.call("GET", "/api/v1/namespaces/many/pods")["items"]) == count
        return found


def fleet(plane: Cluster, home: Path, count: int) -> dict[str, Any]:
    """So many members, and nodes for their pods."""
    plane.namespace("many")
    plane.account("many", "mcpwatch")
    for number in range(count // 500 + 1):
        plane.node(f"many-{number}")
    kubeconfig = plane.access(home / "kubeconfig", {"token": plane.token("many", "mcpwatch")}, "many")
    member = {"kubernetes": {"image": "x", "kubeconfig": kubeconfig, "logs": False}, "route": False, "start_grace": "20m"}
    return {"version": 1, "proxy": False, "members": {f"p{number}": member for number in range(count)}}


def calls(home: Path) -> int:
    """What the watchdog asked of the server so far: each request once, also a watch that goes on."""
    file = home / "audit.log"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return len({json.loads(line)["auditID"] for line in lines})


if __name__ == "__main__":
    main()
