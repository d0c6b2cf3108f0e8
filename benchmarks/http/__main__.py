"""python -m benchmarks.http [--rounds N] [--calls N]: our HTTP server and client beside libraries (ADR 0074).

Servers: ours, uvicorn on httptools, uvicorn on h11, one application. Clients: ours, httpx, httpcore, against our server.
Every round measures each once, in turn forwards and backwards; shown are medians, and the load, without which they say nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import psutil
import uvloop

from benchmarks.command import parser
from benchmarks.http.client import BODY

SERVERS = ("ours", "httptools", "h11")
CLIENTS = ("ours", "httpx", "httpcore")
HEAD = (
    b"POST /t/mcp HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nContent-Type: application/json\r\n"
    b"Accept: application/json, text/event-stream\r\nMcp-Session-Id: 0123456789abcdef0123456789abcdef\r\n"
)
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
Table = dict[str, dict[str, list[float]]]


async def one(port: int, calls: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(calls):
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(len(BODY)) == BODY
    writer.close()


def serve(kind: str) -> tuple[subprocess.Popen[bytes], int, float]:
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.http.server", kind], stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    return process, port, time.perf_counter() - begun


async def server(kind: str, calls: int, table: Table) -> None:
    process, port, start = serve(kind)
    watched = psutil.Process(process.pid)
    table["start s"][kind].append(start)
    await one(port, 50)
    for at_once in (1, 16):
        before, begun = sum(watched.cpu_times()[:2]), time.perf_counter()
        await asyncio.gather(*(one(port, calls // at_once) for _ in range(at_once)))
        took = time.perf_counter() - begun
        table[f"calls/s @{at_once}"][kind].append(calls / took)
        table[f"cpu ms/call @{at_once}"][kind].append((sum(watched.cpu_times()[:2]) - before) / calls * 1000)
    table["rss MiB"][kind].append(watched.memory_info().rss / 2**20)
    process.kill()
    process.wait()


def client(kind: str, port: int, calls: int, table: Table) -> None:
    for at_once in (1, 16):
        command = [sys.executable, "-m", "benchmarks.http.client", kind, f"http://127.0.0.1:{port}/", str(calls), str(at_once)]
        for row, value in json.loads(subprocess.run(command, capture_output=True, check=True).stdout).items():
            table[row if row in {"import s", "rss MiB"} else f"{row} @{at_once}"][kind].append(value)


def show(title: str, kinds: tuple[str, ...], table: Table) -> None:
    print(f"\n| {title} | " + " | ".join(kinds) + " |\n" + "|---" * (len(kinds) + 1) + "|")
    for row, found in table.items():
        print(f"| {row} | " + " | ".join(f"{statistics.median(found[kind]):.3g}" for kind in kinds) + " |", flush=True)


async def main() -> None:
    options = parser("http", __doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--calls", type=int, default=4000)
    given = options.parse_args()
    servers: Table = defaultdict(lambda: defaultdict(list))
    clients: Table = defaultdict(lambda: defaultdict(list))
    loads = [os.getloadavg()[0]]
    for turn in range(given.rounds):
        step = 1 if turn % 2 == 0 else -1
        for kind in SERVERS[::step]:
            await server(kind, given.calls, servers)
        process, port, _ = serve("ours")
        for kind in CLIENTS[::step]:
            client(kind, port, given.calls // 4, clients)
        process.kill()
        process.wait()
        loads.append(os.getloadavg()[0])
    show("server", SERVERS, servers)
    show("client", CLIENTS, clients)
    print(f"\n{given.rounds} rounds, load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    uvloop.run(main())
