"""python -m benchmarks.gateway.replicas [--calls N] [--redis FILE]: what a session costs that is elsewhere than its client asks.

Two of our gateways serve one file. A call in a session of the first is sent to the first (affinity hit) and to the second (passed
on). Beside them what a shared store would add to each message: one read and one write at a Redis on loopback (`--redis` names the
program), by a bare socket. Figures are milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.command import parser
from benchmarks.gateway.load import CALL, Wire
from tests.e2e.daemon import free_port
from tests.gateway.program import TINY, gateway

WARM = 50


async def measure(name: str, calls: int, call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(WARM):
        await call()
    taken: list[float] = []
    for _ in range(calls):
        begun = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - begun) * 1000)
    p99 = statistics.quantiles(taken, n=100)[98]
    print(f"| {name} | {statistics.median(taken):.3f} | {p99:.3f} |", flush=True)


async def replicas(calls: int) -> None:
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("gw-0", "gw-1")}
    settings = {"servers": {"tiny": TINY}, "replicas": urls}
    with ExitStack() as stack:
        for name, url in urls.items():
            listen = {"listen": url.removeprefix("http://")}
            stack.enter_context(gateway(settings | listen, "--replica", name)).wait({"tiny": "running"})
        near, far = (Wire(f"{url}/tiny/mcp", "mcp") for url in urls.values())
        await near.open()
        await far.open()
        far.session = near.session
        numbers = itertools.count(1)
        await measure("where the session is", calls, lambda: near.ask(CALL % next(numbers)))
        await measure("passed on by another replica", calls, lambda: far.ask(CALL % next(numbers)))


async def store(program: str, calls: int) -> None:
    port, value = free_port(), b"x" * 200
    with tempfile.TemporaryDirectory() as directory:
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "yes"]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            reader, writer = await connect(port)

            async def step() -> None:
                writer.write(b"*2\r\n$3\r\nGET\r\n$1\r\ns\r\n")
                await reader.readuntil(b"\r\n")
                await reader.readuntil(b"\r\n")
                writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\ns\r\n$%d\r\n%b\r\n" % (len(value), value))
                await reader.readuntil(b"\r\n")

            writer.write(b"*3\r\n$3\r\nSET\r\n$1\r\ns\r\n$1\r\nx\r\n")
            await reader.readuntil(b"\r\n")
            await measure("a store's share of one message: GET and SET", calls, step)
            writer.close()
        finally:
            server.terminate()
            server.wait(30)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)


async def main() -> None:
    options = parser("gateway.replicas", __doc__)
    options.add_argument("--calls", type=int, default=2000)
    options.add_argument("--redis", type=Path, help="a redis-server; without one its row is left out")
    given = options.parse_args()
    print("| one call, ms | p50 | p99 |\n|---|---|---|")
    await replicas(given.calls)
    if given.redis is not None:
        await store(str(given.redis), given.calls)


if __name__ == "__main__":
    asyncio.run(main())
