"""What is measured of one gateway, each from its start to its end: calls and handshakes, many servers, recovery."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time

import psutil

from benchmarks.gateway import load
from benchmarks.gateway.peers import ECHO, Peer, Running

READY = 60.0
IDLE = 2.0
CUTS = 1000

Figures = dict[str, float]


async def calls(peer: Peer, wire: str, scale: float) -> Figures:
    """Latency, throughput, CPU per call, handshakes and memory after cut sessions, with one server."""
    running = Running(peer, {"s": ECHO}, wire)
    found: Figures = {}
    try:
        url = running.url("s")
        await load.first_answer(url, wire, READY)
        await load.latency(url, wire, 50)
        times = sorted(await load.latency(url, wire, int(1000 * scale)))
        found[f"{wire} call p50 ms"] = 1000 * times[len(times) // 2]
        found[f"{wire} call p99 ms"] = 1000 * times[int(len(times) * 0.99)]
        for sessions in (1, 10, 50):
            count = int((4000 if peer.quick else 1000) * scale)
            before = running.cpu()
            found[f"{wire} calls/s @{sessions}"] = await load.throughput(url, wire, sessions, count)
            found[f"{wire} cpu ms/call @{sessions}"] = 1000 * (running.cpu() - before) / count
        for clients in (1, 10, 50, 100):
            total = max(clients, int(300 * scale))
            before = running.cpu()
            found[f"{wire} handshakes/s @{clients}"] = await load.handshakes(url, wire, clients, total)
            found[f"{wire} cpu ms/handshake @{clients}"] = 1000 * (running.cpu() - before) / (total - total % clients)
        before_cuts = running.rss()
        await load.cuts(url, wire, int(CUTS * scale))
        found[f"{wire} rss MiB, one server, after the load"] = before_cuts
        found[f"{wire} rss MiB more after {CUTS} cut sessions"] = running.rss() - before_cuts
    finally:
        running.stop()
    return found


async def start(peer: Peer, servers: int, delay: float) -> Figures:
    """Cold start to the first and the last of several servers that take `delay` seconds each; memory and idle CPU then."""
    slow = ["--delay", str(delay)] if delay else []
    running = Running(peer, {f"s{number}": [*ECHO, *slow] for number in range(servers)}, "sse")
    label = f"{servers} servers" + (f" of {delay:g} s" if delay else "")
    found: Figures = {}
    try:
        begun = time.perf_counter()
        ends: list[float] = []

        async def one(url: str) -> None:
            await load.first_answer(url, "sse", READY)
            ends.append(time.perf_counter() - begun)

        await asyncio.gather(*(one(running.url(f"s{number}")) for number in range(servers)))
        found[f"{label}: first s"], found[f"{label}: last s"] = min(ends), max(ends)
        if not delay:
            found[f"{label}: rss MiB"] = running.rss()
            before = running.cpu()
            await asyncio.sleep(IDLE)
            found[f"{label}: idle cpu %"] = 100 * (running.cpu() - before) / IDLE
    finally:
        running.stop()
    return found


async def recovery(rounds: int) -> Figures:
    """SIGKILL of the child of our gateway, to the next answer; and beside it what the server itself needs to start."""
    own = [_own_start() for _ in range(rounds)]
    back: list[float] = []
    for _ in range(rounds):
        running = Running(Peer("mcpwatch"), {"s": ECHO}, "sse")
        try:
            url = running.url("s")
            await load.first_answer(url, "sse", READY)
            wire = load.Wire(url, "sse")
            await wire.open()
            (child,) = psutil.Process(running.process.pid).children()
            child.kill()
            begun = time.perf_counter()
            await wire.call()
            back.append(time.perf_counter() - begun)
            wire.close()
        finally:
            running.stop()
    return {"server's own start ms": 1000 * statistics.median(own), "SIGKILL to next answer ms": 1000 * statistics.median(back)}


def _own_start() -> float:
    begun = time.perf_counter()
    with subprocess.Popen(ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n')
        child.stdin.flush()
        child.stdout.readline()
        return time.perf_counter() - begun
