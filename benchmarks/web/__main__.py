"""What the status page costs: `python -m benchmarks.web [ROUTES]`. Prints the figures that README.md here records.

One process serves a fleet of data (no members run) over real HTTP on loopback; clients are in a process of their own, so the CPU
told is the server's alone. Then two real daemons, with the page and without, are compared by resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx

from mcpwatch.checks.prober import Prober
from mcpwatch.model.fact import MemberChanged
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.web.objectives.hour import HOUR, Hour, to_json
from mcpwatch.web.serve import PageServer, listen_tcp
from tests.e2e.daemon import free_port, running
from tests.gateway.program import TINY, gateway
from tests.telemetry.fleet import names, probed
from tests.web.room import Room

PAGES = 20
VIEWERS = 200
PARTS = ("pages", "viewers", "memory")
_NUMBERS = itertools.count(1)
FACTS_A_SECOND = 10
SECONDS = 20.0


def filled(room: Room, routes: tuple[str, ...]) -> None:
    """Thirty days of hours for every route."""
    now = int(room.clock.at // HOUR)
    for number in range(now - 720, now):
        for name in routes:
            hour = Hour(3590.0, 10.0 if (number + len(name)) % 50 == 0 else 0.0, 0.0, {300: 100, 320: 5})
            while room.store._queue.qsize() > 15_000:  # pyright: ignore[reportPrivateUsage]
                time.sleep(0.01)
            room.store.measure(number, name, (hour.good, hour.bad, hour.announced), to_json(hour))
    for name in routes:
        room.bus.publish(probed(name, vantage="route", at=room.clock.at))


def ask(address: str, path: str, report: multiprocessing.Queue[list[float]]) -> None:
    """Fetch a page some times: first byte, whole page (seconds), size (bytes)."""
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(PAGES + 1):
            begin = time.perf_counter()
            with client.stream("GET", path) as answer:
                first, size = 0.0, 0
                for piece in answer.iter_raw():
                    first = first or time.perf_counter() - begin
                    size += len(piece)
            report.put([first, time.perf_counter() - begin, float(size)])


def view(address: str, count: int, seconds: float, report: multiprocessing.Queue[list[float]]) -> None:
    """Hold so many streams open and count what comes."""

    async def one(client: httpx.AsyncClient) -> int:
        got = 0
        async with client.stream("GET", "/live") as answer:
            async for line in answer.aiter_lines():
                got += line.startswith("data:")
        return got

    async def all_() -> None:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(base_url=address, timeout=None, limits=limits) as client:
            tasks = [asyncio.create_task(one(client)) for _ in range(count)]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_())
    report.put([float(count)])


async def measured(routes: int, parts: set[str]) -> dict[str, object]:
    """The figures of one fleet: `pages`, `viewers`."""
    found: dict[str, object] = {"routes": routes}
    with tempfile.TemporaryDirectory() as place:
        room = Room(Path(place), *names(routes))
        filled(room, names(routes) if "pages" in parts else ())
        await room.store.flush()
        listener = listen_tcp("127.0.0.1:0")
        host, port = listener.getsockname()[:2]
        address = f"http://{host}:{port}"
        served = PageServer(room.app, listener, limit=1024)
        running_ = [asyncio.create_task(served.run()), asyncio.create_task(room.web.site.run())]
        await asyncio.sleep(0.5)
        if "pages" in parts:
            for word, path in (
                ("page", "/"),
                ("public", "/public"),
                ("route", "/route/member7"),
                ("objectives", "/objectives"),
                ("status", "/api/v1/status"),
            ):
                found[word] = await _pages(address, path)
        if "viewers" in parts:
            with gateway({"servers": {"tiny": TINY}}) as served_by:
                served_by.wait({"tiny": "running"})
                found["viewers"] = await _viewers(address, room, f"{served_by.url}/tiny/sse")
        served.stop()
        for task in running_:
            task.cancel()
        room.close()
    return found


async def _probes(url: str, until: asyncio.Event) -> list[float]:
    """Probe a real server from this process, over and over: how long each took (seconds). What fails counts as its deadline."""
    prober, took = Prober(), list[float]()
    check, target = CheckSpec(name="mcp", timeout=10.0), Target(url=url)
    while not until.is_set():
        took.append((await prober.probe(check, target, "direct")).seconds)
        await asyncio.sleep(0.05)
    await prober.close()
    return took


async def _pages(address: str, path: str) -> dict[str, float]:
    report: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    reader = multiprocessing.Process(target=ask, args=(address, path, report))
    reader.start()
    first = await asyncio.to_thread(report.get)
    begin = time.process_time()
    rows = [await asyncio.to_thread(report.get) for _ in range(PAGES)]
    spent = time.process_time() - begin
    await asyncio.to_thread(reader.join)
    middle = sorted(rows)[PAGES // 2]
    return {
        "cold_ms": round(first[1] * 1000, 1),
        "first_byte_ms": round(middle[0] * 1000, 1),
        "whole_ms": round(middle[1] * 1000, 1),
        "kib": round(middle[2] / 1024, 1),
        "cpu_ms": round(spent / PAGES * 1000, 1),
    }


async def _viewers(address: str, room: Room, probed_url: str) -> dict[str, object]:
    """CPU of the server with so many open pages and so many facts a second; probes of the same process before and meanwhile."""
    alone = await _probing(probed_url, SECONDS / 2)
    report: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = multiprocessing.Process(target=view, args=(address, VIEWERS, SECONDS * 1.5 + 8, report))
    reader.start()
    while len(room.web.site._live._viewers) < VIEWERS:  # noqa: ASYNC110  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    begin, cpu, number = time.perf_counter(), time.process_time(), 0
    while (passed := time.perf_counter() - begin) < SECONDS:
        while number < passed * FACTS_A_SECOND:
            number += 1
            _change(room)
        await asyncio.sleep(0.02)
    spent = (time.process_time() - cpu) / (time.perf_counter() - begin)
    watched = await _probing(probed_url, SECONDS / 2, lambda: _change(room))
    await asyncio.to_thread(report.get)
    await asyncio.to_thread(reader.join)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "viewers": VIEWERS,
        "facts_a_second": FACTS_A_SECOND,
        "cpu_percent": round(100 * spent, 1),
        "probe_ms_alone": _ranks(alone),
        "probe_ms_with_viewers": _ranks(watched),
        "rss_mib": round(grown / 1024, 1),
    }


def _change(room: Room) -> None:
    """One fact of a member whose row looks different afterwards."""
    number = next(_NUMBERS)
    subject = f"member{number % 50}"
    members = tuple(replace(one, restarts=number) if one.name == subject else one for one in room.fleet.shown.members)
    room.fleet.shown = replace(room.fleet.shown, members=members)
    room.bus.publish(
        MemberChanged(at=room.clock.at, text="", member=subject, generation=1, field="phase", old="a", new="b", reason="")
    )


async def _probing(url: str, seconds: float, change: Callable[[], None] = lambda: None) -> list[float]:
    """Probes for so long, with `FACTS_A_SECOND` changes a second."""
    over = asyncio.Event()
    probing = asyncio.create_task(_probes(url, over))
    for _ in range(int(seconds * FACTS_A_SECOND)):
        await asyncio.sleep(1 / FACTS_A_SECOND)
        change()
    over.set()
    return await probing


def _ranks(took: list[float]) -> dict[str, float]:
    ranked = sorted(took)
    share = {"p50": 0.5, "p95": 0.95}
    return {word: round(1000 * ranked[int(len(ranked) * part)], 1) for word, part in share.items()} | {"probes": len(ranked)}


def memory() -> dict[str, float]:
    """Resident memory of a daemon without the page, with it, and after every page was asked for. MiB."""
    found: dict[str, float] = {}
    tiny = {"command": sys.executable, "args": ["-m", "tests.servers.tiny"], "env": {"PYTHONPATH": str(Path.cwd())}}
    for word in ("off", "on"):
        listen = f"127.0.0.1:{free_port()}"
        config = {
            "proxy": {"listen": f"127.0.0.1:{free_port()}"},
            "members": {"one": {"stdio": tiny}},
            "web": {"listen": listen} if word == "on" else False,
        }
        with tempfile.TemporaryDirectory() as place, running(Path(place), config) as daemon:
            daemon.healthy()
            time.sleep(3)
            found[word] = _rss(daemon.process.pid) if daemon.process else 0.0
            if word == "on" and daemon.process:
                for path in ("/", "/route/one", "/alerts", "/clients", "/objectives", "/self", "/login"):
                    httpx.get(f"http://{listen}{path}", timeout=30)
                found["on, every page seen"] = _rss(daemon.process.pid)
    return found


def _rss(pid: int) -> float:
    text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    return round(int(text.split()[1]) * resource.getpagesize() / 2**20, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.web", description="Measure what the status page costs: CPU, bytes, memory."
    )
    parser.add_argument("routes", type=int, nargs="?", default=1000, help="routes of the fleet")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; default: all")
    given = parser.parse_args()
    parts: set[str] = set(given.part or PARTS)
    found = asyncio.run(measured(given.routes, parts)) if parts != {"memory"} else {}
    if "memory" in parts:
        found["memory"] = memory()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
