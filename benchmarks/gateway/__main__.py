"""python -m benchmarks.gateway [--rounds N] [--only NAME,NAME]: our gateway beside the peers, interleaved, on this machine now.

Every round measures every gateway once; the table shows medians over the rounds, and ratios to TBXark's in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.gateway import load
from tests.parts import PARTS, ROOT

ECHO = [sys.executable, str(Path(__file__).with_name("echo.py"))]
READY = 60.0


@dataclass
class Peer:
    """One gateway: how it is run for these servers, and where each is served on each wire."""

    name: str
    wires: tuple[str, ...] = ("sse", "mcp")

    def start(self, directory: Path, port: int, servers: dict[str, list[str]], wire: str) -> list[str]:
        plain = {name: {"command": command[0], "args": command[1:]} for name, command in servers.items()}
        config = str(directory / "c.json")
        match self.name:
            case "mcpwatch":
                write(directory, {"version": 1, "listen": f"127.0.0.1:{port}", "servers": plain})
                return [sys.executable, "-m", "mcpwatch.gateway", "--config", config]
            case "tbxark":
                kind = "sse" if wire == "sse" else "streamable-http"
                proxy = {
                    "baseURL": f"http://127.0.0.1:{port}",
                    "addr": f"127.0.0.1:{port}",
                    "name": "b",
                    "version": "1",
                    "type": kind,
                }
                write(directory, {"mcpProxy": proxy, "mcpServers": plain})
                return [str(PARTS / "tbxark-a" / "mcp-proxy"), "-config", config]
            case "sparfenyuk":
                write(
                    directory,
                    {"mcpServers": {name: spec | {"enabled": True, "transportType": "stdio"} for name, spec in plain.items()}},
                )
                return [
                    str(PARTS / "sparfenyuk/bin/mcp-proxy"),
                    "--port",
                    str(port),
                    "--named-server-config",
                    str(directory / "c.json"),
                ]
            case _:
                write(directory, {"mcpServers": plain})
                script = Path(__file__).with_name("fastmcp_proxy.py")
                return [str(PARTS / "fastmcp/bin/python"), str(script), config, str(port), wire]

    def url(self, port: int, server: str, wire: str) -> str:
        base = f"http://127.0.0.1:{port}"
        return {"sparfenyuk": f"{base}/servers/{server}/{wire}", "fastmcp": f"{base}/{wire}"}.get(
            self.name, f"{base}/{server}/{wire}"
        )


def write(directory: Path, document: dict[str, Any]) -> None:
    (directory / "c.json").write_text(json.dumps(document))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Running:
    """A gateway process, from its start to its end."""

    def __init__(self, peer: Peer, servers: dict[str, list[str]], wire: str) -> None:
        self.peer, self.wire, self.port = peer, wire, free_port()
        self._directory = tempfile.TemporaryDirectory()
        command = peer.start(Path(self._directory.name), self.port, servers, wire)
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True
        )

    def url(self, server: str) -> str:
        return self.peer.url(self.port, server, self.wire)

    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def rss(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)
        self._directory.cleanup()


Figures = dict[str, float]


async def measure(peer: Peer, wire: str, scale: float) -> Figures:
    """Latency, throughput, CPU and handshakes with one server."""
    running = Running(peer, {"s": ECHO}, wire)
    try:
        url = running.url("s")
        found: Figures = {f"{wire} cold start s": await load.first_answer(url, wire, READY)}
        await load.latency(url, wire, 50)
        times = sorted(await load.latency(url, wire, int(1000 * scale)))
        found[f"{wire} call p50 ms"] = 1000 * times[len(times) // 2]
        found[f"{wire} call p99 ms"] = 1000 * times[int(len(times) * 0.99)]
        for sessions in (1, 10, 50):
            calls = int(4000 * scale) if peer.name in {"mcpwatch", "tbxark"} else int(1000 * scale)
            before = running.cpu()
            found[f"{wire} calls/s @{sessions}"] = await load.throughput(url, wire, sessions, calls)
            if sessions == 10:
                found[f"{wire} cpu ms/call @10"] = 1000 * (running.cpu() - before) / calls
        for clients in (1, 10, 50):
            found[f"{wire} handshakes/s @{clients}"] = await load.handshakes(url, wire, clients, int(200 * scale))
    finally:
        running.stop()
    return found


async def measure_many(peer: Peer, servers: int) -> Figures:
    """Cold start to the first and the last of several servers; memory; idle CPU."""
    running = Running(peer, {f"s{number}": [*ECHO, "--delay", "0.3"] for number in range(servers)}, "sse")
    found: Figures = {}
    try:
        begun = time.perf_counter()
        urls = {running.url(f"s{number}") for number in range(servers)}
        ends: list[float] = []

        async def one(url: str) -> None:
            await load.first_answer(url, "sse", READY)
            ends.append(time.perf_counter() - begun)

        await asyncio.gather(*(one(url) for url in urls))
        found[f"first of {servers} s"], found[f"last of {servers} s"] = min(ends), max(ends)
        found[f"rss MiB, {servers} servers"] = running.rss()
        before = running.cpu()
        await asyncio.sleep(2)
        found[f"idle cpu %, {servers} servers"] = 100 * (running.cpu() - before) / 2
    finally:
        running.stop()
    return found


async def measure_respawn() -> Figures:
    """SIGKILL of the child of our gateway, to the next answer; and the server's own start beside it."""
    own: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        with subprocess.Popen(ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n')
            child.stdin.flush()
            child.stdout.readline()
            own.append(time.perf_counter() - begun)
    running = Running(Peer("mcpwatch"), {"s": ECHO}, "sse")
    back: list[float] = []
    try:
        url = running.url("s")
        await load.first_answer(url, "sse", READY)
        wire = load.Wire(url, "sse")
        await wire.open()
        for _ in range(4):
            for child in psutil.Process(running.process.pid).children():
                child.kill()
            begun = time.perf_counter()
            await wire.call()
            back.append(time.perf_counter() - begun)
        wire.close()
    finally:
        running.stop()
    return {"server's own start ms": 1000 * statistics.median(own), "SIGKILL to next answer ms": 1000 * statistics.median(back)}


def show(results: dict[str, dict[str, list[float]]]) -> None:
    names = list(results)
    rows = list(dict.fromkeys(row for found in results.values() for row in found))
    print("| | " + " | ".join(names) + " | mcpwatch : tbxark |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        medians = {name: statistics.median(results[name][row]) for name in names if results[name].get(row)}
        ratio = (
            f"{medians['mcpwatch'] / medians['tbxark']:.2f}"
            if {"mcpwatch", "tbxark"} <= medians.keys() and medians["tbxark"]
            else ""
        )
        cells = " | ".join(f"{medians[name]:.3g}" if name in medians else "" for name in names)
        print(f"| {row} | {cells} | {ratio} |")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of calls")
    parser.add_argument("--only", default="mcpwatch,tbxark,sparfenyuk,fastmcp")
    parser.add_argument("--many", default="1,10,25", help="numbers of servers for the cold start; empty for none")
    given = parser.parse_args()
    peers = [Peer(name) for name in given.only.split(",")]
    results: dict[str, dict[str, list[float]]] = {peer.name: defaultdict(list) for peer in peers}
    for _ in range(given.rounds):
        for wire in ("sse", "mcp"):
            for peer in peers:
                for row, value in (await measure(peer, wire, given.scale)).items():
                    results[peer.name][row].append(value)
        for count in [int(word) for word in given.many.split(",") if word]:
            for peer in peers:
                if peer.name != "fastmcp":
                    for row, value in (await measure_many(peer, count)).items():
                        results[peer.name][row].append(value)
    for row, value in (await measure_respawn()).items():
        results["mcpwatch"][row].append(value)
    show(results)


if __name__ == "__main__":
    uvloop.run(main())
