"""Deaths healed while other work goes on, beside runit in the same rounds: `python -m benchmarks.deaths [ROUNDS] [--only NAME …]`.

SIGKILL of a tiny server until its port answers with a new pid, less the median of a bare start of it. Four situations: ten members;
the same just adopted by a watchdog that was started after a SIGKILL; a hundred members; ten members while a hundred servers are
checked every second. `--trace` says of the worst rounds what the loop did between the death and the start.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.command import parser
from benchmarks.prober.served import mock
from benchmarks.supervisors import trace
from benchmarks.supervisors.bare import answer
from benchmarks.supervisors.measures import sweep
from benchmarks.supervisors.peer import Peer
from benchmarks.supervisors.peers import Mcpwatch, Runit
from benchmarks.supervisors.tiny import compiled, free_ports, until_new, wait_for

SITUATIONS = {"plain": 10, "adopted": 10, "a hundred members": 100, "a hundred checks": 10}
"""How many members each has."""
CHECKED = 100
AGE = 1.3
"""Seconds that a server runs before it is killed: more than runit wants to see."""
PAUSE = (0.15, 0.35)
"""Seconds between two deaths."""
WORST = 5
"""Rounds that are told with `--trace`."""
Rounds = dict[str, list[float]]


def situation(name: str, program: str, home: Path, rounds: int, traced: Path | None) -> Rounds:
    """Milliseconds above a bare start of every round, by supervisor."""
    count = SITUATIONS[name]
    bare: list[float] = []
    with ExitStack() as end:
        url = f"http://127.0.0.1:{end.enter_context(mock())}" if name == "a hundred checks" else ""
        peers = [begun(kind, name, program, home, end) for kind in (Runit, Mcpwatch) if not kind.missing()]
        own, ports = peers[-1]
        assert isinstance(own, Mcpwatch)
        own.checked = {f"s{n}": {"url": f"{url}/s{n}/sse"} for n in range(CHECKED if url else 0)}
        own.traced = traced
        over: Rounds = {peer.name: [] for peer, _ in peers}
        for peer, ports in peers:
            peer.run()
            assert wait_for(lambda ports=ports: all(answer(port) for port in ports)), f"{peer.name} did not start its servers"
        time.sleep(5 * AGE)
        for number in range(rounds):
            place = number % count
            if name == "adopted" and place == 0:
                adopted(own, ports)
            for peer, held in peers:
                bare.append(peer.bare(program))
                over[peer.name].append(healed(held[place], own))
                time.sleep(random.uniform(*PAUSE))
            if place == count - 1:
                time.sleep(AGE)
    floor = statistics.median(bare)
    return {who: [(seconds - floor) * 1e3 for seconds in times] for who, times in over.items()}


def begun(kind: type[Peer], name: str, program: str, home: Path, end: ExitStack) -> tuple[Peer, list[int]]:
    """A supervisor that is about to run, swept away at the end, and the ports of its servers."""
    ports = free_ports(SITUATIONS[name])
    peer = kind(home / f"{kind.name}-{name.replace(' ', '-')}", {f"m{n}": [program, str(port)] for n, port in enumerate(ports)})
    end.callback(sweep, peer, program)
    return peer, ports


def adopted(peer: Mcpwatch, ports: list[int]) -> None:
    """Kill the watchdog and start it again; returns when it has adopted every server."""
    before = [answer(port) for port in ports]
    peer.kill()
    peer.run()
    assert wait_for(lambda: peer.watches(len(ports))), "the servers were not adopted"
    assert [answer(port) for port in ports] == before, "a server was started again"


def healed(port: int, watchdog: Peer) -> float:
    """Kill the server behind a port; seconds until another answers there."""
    old = answer(port)
    assert watchdog.process is not None
    trace.killed(old, watchdog.process.pid)
    os.kill(old, signal.SIGKILL)
    return until_new(port, old)


def row(name: str, found: Rounds) -> str:
    """A line of the table."""
    own, their = found[Mcpwatch.name], found.get(Runit.name)
    middle = statistics.median(own)
    cells = [name, f"{middle:.1f}", f"{max(own):.1f}", f"{max(own) / middle:.1f}"]
    cells += (
        [f"{statistics.median(their):.1f}", f"{max(their):.1f}", f"{middle / statistics.median(their):.2f}"] if their else ["-"] * 3
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print a row a situation."""
    options = parser("deaths", __doc__)
    options.add_argument("rounds", nargs="?", type=int, default=50)
    options.add_argument("--only", nargs="*", choices=SITUATIONS, default=list(SITUATIONS))
    options.add_argument("--trace", action="store_true")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mwbench-"))
    found: dict[str, Any] = {}
    told: dict[str, str] = {}
    try:
        program = compiled(home)
        load = os.getloadavg()[0]
        for name in given.only:
            file = home / f"trace-{len(found)}" if given.trace else None
            found[name] = situation(name, program, home, given.rounds, file)
            if file is not None:
                told[name] = trace.report(file, WORST)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.json:
        json.dump(found, sys.stdout)
        return
    print(f"load {load:.1f} to {os.getloadavg()[0]:.1f}, {given.rounds} rounds, ms above a bare start")
    print("| situation | median | worst | worst, times median | runit median | worst | median, times runit |")
    print("|---" * 7 + "|")
    for name in given.only:
        print(row(name, found[name]))
    for name, words in told.items():
        print(f"\n{name}:\n{words}")


if __name__ == "__main__":
    main()
