"""Log shipping beside python-logging-loki as it comes, and what it costs probes.

Run: `python -m benchmarks.logs [LINES]`. Lines per second and CPU per 1,000 lines of ours and of the library (its emitter "1":
its default stores nothing), from the record to the acknowledgement; and the latency of a probe-like request in an event loop,
alone and while 10 members write 1,000 lines a second each and all of it is shipped. Loki is a process that only says 204.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from logging_loki.handlers import LokiHandler

from benchmarks.command import parser
from mcpwatch.clock import SystemClock
from mcpwatch.telemetry import shipper as shipping
from mcpwatch.telemetry.loki import Push, SpoolHandler
from mcpwatch.telemetry.redact import Redactor
from mcpwatch.telemetry.shipper import Shipper
from mcpwatch.telemetry.spec import LokiSpec
from mcpwatch.telemetry.spool import OwnSpool
from tests.telemetry.member_logs import MemberLog

MEMBERS, RATE, SECONDS = 10, 1000, 5.0
TEXT = "GET /fetch/message?session=%d 202 in 0.013s user_agent=claude-code/2.1 bytes=1834 and some more text to be usual"
CLOCK = SystemClock()


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_port, flush=True)
    server.serve_forever()


def write(directory: str) -> None:
    """Ten members that write, as a process of its own."""
    logs = [MemberLog(Path(directory) / "logs", f"member{number}") for number in range(MEMBERS)]
    print("ready", flush=True)
    began, turn = time.monotonic(), 0
    while turn < SECONDS * 20:
        turn += 1
        for log in logs:
            log.write(*(TEXT % number for number in range(RATE // 20)))
        time.sleep(max(0.0, began + turn / 20 - time.monotonic()))


@contextmanager
def child(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.logs", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def shipper(state: Path, port: str) -> tuple[Shipper, OwnSpool, LokiSpec]:
    spec = LokiSpec(url=f"http://127.0.0.1:{port}", wait=0.2)
    spool = OwnSpool(state, CLOCK.wall)
    shipping.REST_MAX = 0.03  # as often as the log collector says that members wrote
    return Shipper(spec, Push(spec), state, spool, wall=CLOCK.wall, redact=Redactor(["a-secret-value"])), spool, spec


def records(handler: logging.Handler, count: int) -> None:
    for number in range(count):
        handler.handle(logging.LogRecord("bench", logging.INFO, "f", 1, TEXT, (number,), None))


def ours(port: str, count: int) -> tuple[float, float, float]:
    """Seconds and CPU seconds until everything is acknowledged, and seconds in the caller."""
    with tempfile.TemporaryDirectory() as directory:
        ship, spool, spec = shipper(Path(directory), port)
        handler = SpoolHandler(spool, spec.url, Redactor())
        began, cpu = time.perf_counter(), time.process_time()
        ship.start()
        records(handler, count)
        called = time.perf_counter() - began
        while ship.shipping.sent < count:
            time.sleep(0.005)
        done = time.perf_counter() - began, time.process_time() - cpu, called
        ship.stop()
        spool.close()
        return done


def members(port: str, count: int) -> tuple[float, float]:
    """The same for lines that lie in a member's log."""
    with tempfile.TemporaryDirectory() as directory:
        MemberLog(Path(directory) / "logs").write(*(TEXT % number for number in range(count)))
        ship, spool, _ = shipper(Path(directory), port)
        began, cpu = time.perf_counter(), time.process_time()
        ship.start()
        while ship.shipping.sent < count:
            time.sleep(0.005)
        done = time.perf_counter() - began, time.process_time() - cpu
        ship.stop()
        spool.close()
        return done


def library(port: str, count: int) -> tuple[float, float]:
    handler = LokiHandler(f"http://127.0.0.1:{port}/loki/api/v1/push", {"app": "x"}, version="1")
    began, cpu = time.perf_counter(), time.process_time()
    records(handler, count)
    done = time.perf_counter() - began, time.process_time() - cpu
    handler.emitter.close()
    return done


async def latencies(port: str, seconds: float) -> list[float]:
    """A small request every 10 ms, as a probe makes them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        found.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    writer.close()
    return sorted(found)


def loaded(port: str) -> tuple[list[float], int, float]:
    with tempfile.TemporaryDirectory() as directory, child("sink") as (_, loki):
        ship, spool, _ = shipper(Path(directory), loki)
        with child("write", directory) as (_, ready):
            assert ready == "ready"
            ship.start()
            cpu = time.process_time()
            found = asyncio.run(latencies(port, SECONDS))
            cpu = time.process_time() - cpu
        waited = threading.Event()
        while ship.shipping.sent < MEMBERS * RATE * (SECONDS - 1) and not waited.wait(0.01):
            pass
        ship.stop()
        spool.close()
        return found, ship.shipping.sent, cpu


def spread(found: list[float]) -> str:
    return " ".join(f"p{q}={found[min(len(found) - 1, len(found) * q // 100)] * 1e3:.2f}" for q in (50, 95, 99)) + " ms"


def main(count: int) -> None:
    with child("sink") as (_, port):
        seconds, cpu, called = ours(port, count)
        lib_seconds, lib_cpu = library(port, count // 10)
        lib_seconds, lib_cpu = lib_seconds * 10, lib_cpu * 10
        from_files, files_cpu = members(port, count)
        print(f"{'':24} {'lines/s':>10} {'CPU ms/1,000':>14} {'µs in the caller':>18}")
        print(
            f"{'library, emitter 1':24} {count / lib_seconds:10.0f} {lib_cpu / count * 1e6:14.1f} {lib_seconds / count * 1e6:18.1f}"
        )
        print(f"{'ours, own records':24} {count / seconds:10.0f} {cpu / count * 1e6:14.1f} {called / count * 1e6:18.1f}")
        print(f"{'ours, member logs':24} {count / from_files:10.0f} {files_cpu / count * 1e6:14.1f} {0:18.1f}")
        alone = asyncio.run(latencies(port, SECONDS))
        busy, sent, cpu = loaded(port)
        print(f"probe alone             {spread(alone)}")
        print(
            f"probe while shipping    {spread(busy)}   ({sent} lines of {MEMBERS} members, {cpu / SECONDS * 100:.0f} % of a core)"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sink"]:
            serve()
        case ["write", where]:
            write(where)
        case _:
            options = parser("logs", __doc__)
            options.add_argument("lines", nargs="?", type=int, default=20_000)
            main(options.parse_args().lines)
