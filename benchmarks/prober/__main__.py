"""CPU per check, checks per second and peak memory of each variant, at 1, 100 and 1,000 concurrent checks, against one mock.

`python -m benchmarks.prober [--quick] [--only NAME …]` runs each variant in a process of its own and prints a table. CPU is
that process's own (user + system), so a busy machine shows in checks/s but little in the CPU column.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.command import parser
from benchmarks.prober.variants import named

VARIANTS = ("raw-sse", "mcpwatch-sse", "mcpwatch-http", "mcpwatch-stateless", "sdk-sse")
ROUTES = ("10-routes", "100-routes", "1000-routes", "10000-routes")
ROOT = Path(__file__).resolve().parent.parent.parent


async def measure(name: str, base: str, concurrent: int, checks: int, pause: float) -> dict[str, float]:
    """Run `checks` checks, `concurrent` at once, each after a pause, after a warm-up; what they cost."""
    check = named(name, base)
    await asyncio.gather(*(check() for _ in range(min(20, checks))))
    left = iter(range(checks))
    errors = 0

    async def worker() -> None:
        nonlocal errors
        for _ in left:
            await asyncio.sleep(pause)
            try:
                await check()
            except Exception:  # noqa: BLE001 - a peer's errors are a figure too
                errors += 1

    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrent)))
    after, end = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_ms": cpu / checks * 1e3,
        "per_second": checks / (end - start),
        "per_core_second": checks / cpu,
        "rss_mib": after.ru_maxrss / 1024,
        "errors": errors,
    }


def child(name: str, base: str, concurrent: int, checks: int, pause: float, loop: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.prober", "--run", name, base, str(concurrent), str(checks)]
    command += ["--pause", str(pause), "--loop", loop]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def size(name: str, concurrent: int) -> int:
    """How many checks are enough for a variant."""
    if name in ROUTES:
        return 10_000
    checks = 300 if name.startswith("sdk") else 3000
    return checks // 3 if concurrent == 1 else checks


def main() -> None:
    """Print the table."""
    parsing = parser("prober", __doc__)
    parsing.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    parsing.add_argument("--quick", action="store_true", help="a tenth of the checks")
    parsing.add_argument("--only", nargs="*", choices=(*VARIANTS, *ROUTES), default=VARIANTS)
    parsing.add_argument("--routes", action="store_true", help="instead: one prober over 10 to 10,000 routes, 100 checks at once")
    parsing.add_argument("--concurrent", type=int, nargs="*", default=[1, 100, 1000])
    parsing.add_argument("--pause", type=float, default=0.0, help="seconds of rest before each check, as a watchdog has")
    parsing.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="the daemon's is asyncio")
    options = parsing.parse_args()
    if options.routes:
        options.only, options.concurrent = ROUTES, [100]
    if options.run:
        import uvloop

        name, base, concurrent, checks = options.run
        run = uvloop.run if options.loop == "uvloop" else asyncio.run
        print(json.dumps(run(measure(name, base, int(concurrent), int(checks), options.pause))))
        return
    mock = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.prober.mock"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert mock.stdout is not None
    base = f"http://127.0.0.1:{mock.stdout.readline().strip()}"
    print(f"{'variant':<20}{'concurrent':>11}{'CPU ms/check':>14}{'checks/s':>10}{'per core':>10}{'RSS MiB':>9}{'errors':>8}")
    try:
        for concurrent in options.concurrent:
            for name in options.only:
                checks = size(name, concurrent)
                checks = max(concurrent, checks // (10 if options.quick else 1))
                figures = child(name, base, concurrent, checks, options.pause, options.loop)
                print(
                    f"{name:<20}{concurrent:>11}{figures['cpu_ms']:>14.3f}{figures['per_second']:>10.0f}"
                    f"{figures['per_core_second']:>10.0f}{figures['rss_mib']:>9.0f}{figures['errors']:>8.0f}",
                    flush=True,
                )
    finally:
        if mock.stdin is not None:
            mock.stdin.close()
        mock.wait(timeout=10)


if __name__ == "__main__":
    main()
