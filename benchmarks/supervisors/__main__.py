"""Supervisors side by side, in one run: `python -m benchmarks.supervisors [--rounds 15] [--only NAME …] [--json]`.

1. recovery: SIGKILL of a tiny server until its port answers with a new pid, rounds interleaved over all peers and a bare start
   of the same server, whose median is taken off;
2. at rest: CPU of the supervisor's own processes over a window, and their memory, with 10 and 100 children;
3. SIGKILL of the supervisor, then started again: is the same process still there, alone?
4. stop: what of a tree with a runaway session and a double-forked daemon, both deaf to SIGTERM, is alive afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.supervisors.peers import PEERS, TABLE, Peer, wait_for
from tests.e2e.daemon import free_port

SETTLE = 1.3
"""Seconds that a server runs before it is killed again: more than supervisord and runit want to see."""
PATIENCE = 30.0


def answer(port: int) -> int:
    """The pid that answers on a port, 0 when none does."""
    with contextlib.suppress(OSError, ValueError), socket.create_connection(("127.0.0.1", port), 2) as connection:
        return int(connection.recv(32) or b"0")
    return 0


def until_new(port: int, old: int) -> float:
    """Seconds until another pid than `old` answers; infinite when none does in time."""
    start = time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        if answer(port) not in (0, old):
            return time.perf_counter() - start
        time.sleep(0.0001)
    return float("inf")


def compiled(directory: Path) -> str:
    program = directory / "tinyserver"
    subprocess.run(["cc", "-O2", "-o", str(program), str(Path(__file__).with_name("server.c"))], check=True)
    return str(program)


def servers(program: str) -> dict[int, list[str]]:
    """Every living process of the tiny server: pid to its arguments."""
    found: dict[int, list[str]] = {}
    for proc in TABLE.scan().procs.values():
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{proc.pid}/cmdline").read_bytes().decode().split("\0")
            if proc.alive and argv[0] == program:
                found[proc.pid] = argv[1:-1]
    return found


def sweep(peer: Peer, program: str) -> None:
    """End the peer and everything of the tiny server that it left."""
    peer.kill()
    for pid in servers(program):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def bare(program: str) -> float:
    """Seconds from spawn to the first answer, without any supervisor."""
    port = free_port()
    start = time.perf_counter()
    with subprocess.Popen([program, str(port)]) as process:
        while answer(port) != process.pid:
            time.sleep(0.0001)
        took = time.perf_counter() - start
        process.kill()
    return took


def recovery(peers: list[type[Peer]], program: str, home: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, by peer name; `bare` is the server alone."""
    found: dict[str, list[float]] = {"bare": []}
    running: list[tuple[Peer, int]] = []
    for kind in peers:
        port = free_port()
        peer = kind(home / f"recovery-{kind.name}", {"tiny": [program, str(port)]})
        peer.run()
        assert wait_for(lambda port=port: answer(port), PATIENCE), f"{kind.name} did not start its server"
        running.append((peer, port))
        found[kind.name] = []
    try:
        for round_ in range(rounds):
            time.sleep(SETTLE)
            shift = round_ % len(running)
            for peer, port in running[shift:] + running[:shift]:
                found["bare"].append(bare(program))
                old = answer(port)
                if not old:
                    found[peer.name].append(float("inf"))
                    continue
                os.kill(old, signal.SIGKILL)
                found[peer.name].append(until_new(port, old))
    finally:
        for peer, _ in running:
            sweep(peer, program)
    return found


def used(pids: set[int]) -> tuple[float, float, float]:
    """CPU milliseconds, RSS and PSS in MB of these processes together."""
    cpu = rss = pss = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                cpu += int((task / "schedstat").read_text().split()[0]) / 1e6
            text = dict(
                line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if ":" in line
            )
            rss += int(text["Rss"].split()[0]) / 1024
            pss += int(text["Pss"].split()[0]) / 1024
    return cpu, rss, pss


def at_rest(kind: type[Peer], program: str, home: Path, children: int, window: float) -> dict[str, float]:
    """What a peer costs while nothing happens."""
    ports = [free_port() for _ in range(children)]
    peer = kind(home / f"rest-{kind.name}-{children}", {f"m{i}": [program, str(port)] for i, port in enumerate(ports)})
    start = time.perf_counter()
    peer.run()
    try:
        if not wait_for(lambda: all(answer(port) for port in ports), 60):
            return {}
        up = time.perf_counter() - start
        time.sleep(3)
        before = used(peer.own())
        time.sleep(window)
        after = used(peer.own())
        return {"up_s": up, "cpu_ms_per_min": (after[0] - before[0]) * 60 / window, "rss_mb": after[1], "pss_mb": after[2]}
    finally:
        sweep(peer, program)


def after_kill(kind: type[Peer], program: str, home: Path) -> str:
    """What is there when a killed supervisor was started again."""
    port = free_port()
    starts = home / f"starts-{kind.name}"
    os.environ["TINY_STARTS"] = str(starts)
    peer = kind(home / f"kill-{kind.name}", {"tiny": [program, str(port)]})
    peer.run()
    try:
        assert wait_for(lambda: answer(port), PATIENCE)
        first = answer(port)
        peer.kill()
        served = answer(port) == first
        before = starts.stat().st_size
        peer.run()
        time.sleep(6)
        copies = starts.stat().st_size - before
        mine = [pid for pid, argv in servers(program).items() if argv[:1] == [str(port)]]
        now = answer(port)
        words = (
            "adopted" if now == first and not copies else "restarted" if now != first else f"orphan, {copies} copies tried the port"
        )
        words += "" if len(mine) == 1 else f", {len(mine)} alive"
        if not served:
            words = f"died with it, {words}"
        if now == first:
            os.kill(first, signal.SIGKILL)
            seconds = until_new(port, first)
            words += f"; next death healed in {seconds * 1e3:.0f} ms" if seconds < PATIENCE else "; next death never healed"
        return words
    finally:
        sweep(peer, program)


def after_stop(kind: type[Peer], program: str, home: Path) -> str:
    """What of a tree lives after a stop."""
    port = free_port()
    peer = kind(home / f"stop-{kind.name}", {"tiny": [program, str(port), "tree"]})
    peer.run()
    try:
        assert wait_for(lambda: answer(port) and len(servers(program)) >= 3, PATIENCE)
        main = answer(port)
        peer.stop_all()
        wait_for(lambda: not servers(program), 3)
        left = servers(program)
        return (
            ", ".join(["main"] * (main in left) + [f"{len(set(left) - {main})} of its descendants"] * bool(set(left) - {main}))
            or "nobody"
        )
    finally:
        sweep(peer, program)


def shown(peers: list[type[Peer]], times: dict[str, list[float]], rest: dict[str, dict[int, dict[str, float]]]) -> list[list[str]]:
    """Rows of the first table."""
    floor = statistics.median(times["bare"])
    rows: list[list[str]] = []
    for kind in peers:
        over = [(seconds - floor) * 1e3 for seconds in times[kind.name]]
        cells = [f"{min(over):.1f}", f"{statistics.median(over):.1f}", f"{max(over):.1f}"]
        for figure in ("cpu_ms_per_min", "rss_mb", "pss_mb", "up_s"):
            figures = [rest[kind.name][n].get(figure, float("nan")) for n in sorted(rest[kind.name])]
            cells += [" / ".join(f"{value:.3g}" for value in figures) or "-"]
        rows.append([kind.name, *cells])
    return rows


def table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--window", type=float, default=20.0, help="seconds at rest that are measured")
    parser.add_argument("--children", type=int, nargs="*", default=[10, 100])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [kind for kind in PEERS if not options.only or kind.name in options.only]
    for kind in chosen:
        if kind.missing():
            print(f"{kind.name}: left out: {kind.missing()}", file=sys.stderr)
    peers = [kind for kind in chosen if not kind.missing()]
    home = Path(tempfile.mkdtemp(prefix="mwbench-"))
    try:
        program = compiled(home)
        load = os.getloadavg()[0]
        times = recovery(peers, program, home, options.rounds)
        rest = {kind.name: {n: at_rest(kind, program, home, n, options.window) for n in options.children} for kind in peers}
        kills = {kind.name: after_kill(kind, program, home) for kind in peers}
        stops = {kind.name: after_stop(kind, program, home) for kind in peers}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        print(json.dumps({"recovery_s": times, "rest": rest, "kill": kills, "stop": stops}))
        return 0
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f} at the start, Python {platform.python_version()}")
    floor = statistics.median(times["bare"]) * 1e3
    print(f"bare start of the server: median {floor:.2f} ms, taken off below; {options.rounds} rounds\n")
    n = " / ".join(str(children) for children in sorted(options.children))
    head = [
        "supervisor",
        "recovery min",
        "med",
        "max ms",
        f"idle CPU ms/min @{n}",
        f"RSS MB @{n}",
        f"PSS MB @{n}",
        f"all up s @{n}",
    ]
    table(head, shown(peers, times, rest))
    print()
    rows = [[kind.name, kills[kind.name], stops[kind.name]] for kind in peers]
    table(["supervisor", "killed with SIGKILL and started again", "alive after stop (tree deaf to SIGTERM)"], rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
