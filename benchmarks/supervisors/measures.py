"""What is measured of every peer; `__main__` says how."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.supervisors.bare import answer
from benchmarks.supervisors.peer import Peer
from benchmarks.supervisors.tiny import free_ports, next_death, servers, until_new, wait_for
from tests.e2e.daemon import free_port

SETTLE = 1.3
"""Seconds that a server runs before it is killed again: more than supervisord and runit want to see."""
REST = 8.0
"""Seconds after the start of all servers before rest is measured: what every supervisor still does with them is over then."""
Times = dict[str, list[float]]


def sweep(peer: Peer, program: str) -> None:
    """End the peer and everything of the tiny server that it left."""
    peer.kill()
    for pid in servers(program):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def recovery(peers: list[type[Peer]], program: str, home: Path, rounds: int) -> tuple[Times, Times]:
    """Seconds of every round by peer, and of every bare start by place."""
    found: Times = {kind.name: [] for kind in peers}
    bare: Times = {kind.place: [] for kind in peers}
    running: list[tuple[Peer, int]] = []
    with ExitStack() as end:
        for kind in peers:
            port = free_port()
            peer = kind(home / f"recovery-{kind.name}", {"tiny": [program, str(port)]})
            end.callback(sweep, peer, program)
            peer.boot()
            peer.run()
            assert wait_for(lambda port=port: answer(port)), f"{kind.name} did not start its server"
            running.append((peer, port))
        for round_ in range(rounds if running else 0):
            time.sleep(SETTLE)
            shift = round_ % len(running)
            for peer, port in running[shift:] + running[:shift]:
                bare[peer.place].append(peer.bare(program))
                old = answer(port)
                if not old:
                    found[peer.name].append(float("inf"))
                    continue
                os.kill(peer.real(old), signal.SIGKILL)
                found[peer.name].append(until_new(port, old))
    return found, bare


def counted(file: Path) -> Path:
    """From now on every start of the server adds a byte to this file."""
    os.environ["TINY_STARTS"] = str(file)
    return file


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
    """What a peer costs while nothing happens; `starts` says when something did: servers that were started meanwhile."""
    ports, starts = free_ports(children), counted(home / f"starts-{kind.name}-{children}")
    peer = kind(home / f"rest-{kind.name}-{children}", {f"m{i}": [program, str(port)] for i, port in enumerate(ports)})
    try:
        peer.boot()
        start = time.perf_counter()
        peer.run()
        if not wait_for(lambda: all(answer(port) for port in ports), 60):
            return {}
        up = time.perf_counter() - start
        time.sleep(REST)
        started, before = starts.stat().st_size, used(peer.own())
        time.sleep(window)
        after = used(peer.own())
        cpu = (after[0] - before[0]) * 60 / window
        meanwhile = starts.stat().st_size - started
        return {"up_s": up, "cpu_ms_per_min": cpu, "rss_mb": after[1], "pss_mb": after[2], "starts": meanwhile}
    finally:
        sweep(peer, program)
        del os.environ["TINY_STARTS"]


def after_kill(kind: type[Peer], program: str, home: Path) -> str:
    """What is there when a killed supervisor was started again."""
    port = free_port()
    starts = counted(home / f"starts-{kind.name}")
    peer = kind(home / f"kill-{kind.name}", {"tiny": [program, str(port)]})
    try:
        peer.boot()
        peer.run()
        assert wait_for(lambda: answer(port))
        if words := peer.unkillable(program, port):
            return words
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
        return f"{words}; {next_death(port, first)}" if now == first else words
    finally:
        sweep(peer, program)
        del os.environ["TINY_STARTS"]


def after_stop(kind: type[Peer], program: str, home: Path) -> str:
    """What of a tree lives after a stop."""
    port = free_port()
    peer = kind(home / f"stop-{kind.name}", {"tiny": [program, str(port), "tree"]})
    try:
        peer.boot()
        peer.run()
        assert wait_for(lambda: answer(port) and len(servers(program)) >= 3)
        main = peer.real(answer(port))
        peer.stop_all()
        wait_for(lambda: not servers(program), 3)
        left = servers(program)
        return (
            ", ".join(["main"] * (main in left) + [f"{len(set(left) - {main})} of its descendants"] * bool(set(left) - {main}))
            or "nobody"
        )
    finally:
        sweep(peer, program)
