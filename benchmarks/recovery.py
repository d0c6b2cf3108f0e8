"""From a killed bridge to a proven route: mcpwatch with each proxy kind, beside Docker's own restart policy with an autoheal loop.

Run: `python -m benchmarks.recovery [RUNS] [--only CASE …]` (needs the engine, root and the images of `.ci/parts`).
The same container is killed in each case. Proven means: a tool call through the route came back from the member itself. The peer is
what people bolt on today: `--restart=always` on every container, a health check on each, and a loop that restarts what is unhealthy
every five seconds. Its health checks look at what it can see: that the port answers.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.command import parser
from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, Target
from mcpwatch.model.spec import CheckSpec
from tests.e2e.daemon import free_port
from tests.integration.reference_fleet import IMAGE, TOKEN, Names, bridge, fleet, sweep
from tests.parts import program

PATIENCE = 60.0
"""Seconds after which a route that is still dead counts as never healed."""
AUTOHEAL_SECONDS = 5.0
CHECK = CheckSpec("proof", "mcp", vantages=("route",), timeout=5.0, safe_call=True)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, encoding="utf-8", timeout=60, check=False)
    if done.returncode != 0:
        raise SystemExit(f"docker {' '.join(words[:2])}: {done.stderr}")
    return done.stdout.strip()


def mcpwatch(kind: str) -> float | None:
    """Seconds from the kill to the proven route under mcpwatch, or `None`."""
    names, port, port_inside = Names(), free_port(), free_port()
    member = bridge(names, "fetch", "mcp-server-fetch", ports=[f"{port_inside}:8080"])
    proxy: dict[str, Any] = {"kind": kind, "listen": f"127.0.0.1:{port}"}
    if kind == "tbxark":
        block = {"image": IMAGE, "name": names("proxy"), "entrypoint": ["mcp-proxy"], "networks": [names.network]}
        proxy |= {"docker": block, "auth": {"tokens": [TOKEN]}}
    else:
        member["url"] = f"http://127.0.0.1:{port_inside}/sse"
    if kind == "sparfenyuk":
        proxy["binary"] = str(program("sparfenyuk"))
    config = {
        "version": 1,
        "proxy": proxy,
        "members": {"fetch": member},
        "defaults": {"check": {"interval": "5s", "timeout": "5s", "failure_threshold": 2}},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }
    with tempfile.TemporaryDirectory() as directory, fleet(Path(directory), config, names) as daemon:
        done = daemon.run("drill", "fetch", "--fault", "kill", "--timeout", str(PATIENCE), "--json", timeout=PATIENCE + 30)
        return json.loads(done.stdout)["recovered"]


def autoheal() -> float | None:
    """The same with Docker's restart policy, health checks and an autoheal loop."""
    names, port = Names(), free_port()
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        server = {"transportType": "sse", "url": f"http://{names('fetch')}:8080/sse"}
        body = {
            "mcpProxy": {"baseURL": f"http://127.0.0.1:{port}", "addr": ":9090", "name": "p", "version": "1", "type": "sse"},
            "mcpServers": {"fetch": server},
        }
        (Path(directory) / "config.json").write_text(json.dumps(body), encoding="utf-8")
        health = "python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\""
        always = ("run", "-d", "--restart=always", "--network", names.network, "--health-interval=2s", "--health-retries=2")
        try:
            docker("network", "create", names.network)
            docker(
                *always, "--name", names("fetch"), "--health-cmd", health.format(port=8080),
                IMAGE, "bridge", "--host", "0.0.0.0", "--port", "8080", "--", "mcp-server-fetch",
            )  # fmt: skip
            asyncio.run(_wait_port(names))
            docker(
                *always, "--name", names("proxy"), "--health-cmd", health.format(port=9090), "-p", f"127.0.0.1:{port}:9090",
                "-v", f"{directory}:/config:ro", IMAGE, "mcp-proxy", "-config", "/config/config.json",
            )  # fmt: skip
            target = Target(f"http://127.0.0.1:{port}/fetch/sse", "sse")
            if asyncio.run(_proven(target, PATIENCE)) is None:
                raise SystemExit("the peer's fleet never came up")
            threading.Thread(target=_heal, args=(names, stop), daemon=True).start()
            pid = int(docker("inspect", "-f", "{{.State.Pid}}", names("fetch")))
            began = time.monotonic()
            subprocess.run(["kill", "-9", str(pid)], check=True)
            asyncio.run(_dead(target))
            healed = asyncio.run(_proven(target, PATIENCE))
            return None if healed is None else healed - began
        finally:
            stop.set()
            sweep(names)


def _heal(names: Names, stop: threading.Event) -> None:
    while not stop.wait(AUTOHEAL_SECONDS):
        for container in docker("ps", "-q", "--filter", "health=unhealthy", "--filter", f"name={names.tag}").split():
            docker("restart", container)


async def _wait_port(names: Names) -> None:
    address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", names("fetch"))
    await _proven(Target(f"http://{address}:8080/sse", "sse"), PATIENCE)


async def _proven(target: Target, patience: float) -> float | None:
    prober = Prober()
    try:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if (await prober.probe(CHECK, target, "route")).outcome is Outcome.SUCCESS:
                return time.monotonic()
            await asyncio.sleep(0.2)
        return None
    finally:
        await prober.close()


async def _dead(target: Target) -> None:
    """Wait until the route really is dead, so that its last good answer is not taken for recovery."""
    prober = Prober()
    try:
        while (await prober.probe(CHECK, target, "route")).outcome is Outcome.SUCCESS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # the peer tells nobody
    finally:
        await prober.close()


def main() -> None:
    cases: dict[str, tuple[str, Callable[[], float | None]]] = {
        "autoheal": ("Docker restart=always + autoheal", autoheal),
        **{kind: (f"mcpwatch, {kind}", functools.partial(mcpwatch, kind)) for kind in ("tbxark", "sparfenyuk", "gateway")},
    }
    options = parser("recovery", __doc__)
    options.add_argument("runs", nargs="?", type=int, default=1)
    options.add_argument("--only", nargs="*", choices=cases, default=list(cases))
    given = options.parse_args()
    runs = given.runs
    print(f"{'killed bridge to proven route':<34}{'median':>10}{'worst':>10}   of {runs}, load {os.getloadavg()[0]:.1f}")
    for name, measure in (cases[case] for case in given.only):
        found = [measure() for _ in range(runs)]
        healed = [seconds for seconds in found if seconds is not None]
        if len(healed) < len(found):
            print(f"{name:<34}{'never':>10}{'':>10}   ({len(found) - len(healed)} of {len(found)} not within {PATIENCE:.0f} s)")
        else:
            print(f"{name:<34}{statistics.median(healed):>8.1f} s{max(healed):>8.1f} s")


if __name__ == "__main__":
    main()
