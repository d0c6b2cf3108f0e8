"""Mutation test of rooms, run by hand: `python -m tools.mutation checks --sample 60`; all of it, to be gone on with after an
interruption, `python -m tools.mutation watchdog checks --sample 0 --keep FILE`; its table alone with `--report`.

A mutant is a module of the room with one node of its syntax changed. The quick tests that run the changed function are run against
it, those of its module's own test file first. Prints the survivors and the score. A change within a function is tried in a fork of
a process that has collected all tests (`mutant_swap`), any other in a process forked from one that has the libraries loaded: all of
it in a process namespace of its own (`mutant_cell`).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tools.mutant_cell import enter
from tools.mutant_record import ROOT, Record, table
from tools.mutant_swap import LEFT, Start, swapped
from tools.mutant_tests import QUICK, Coverage, quiet, traced
from tools.mutants import Mutant, changed, mutants

CONTROLS = 5
"""Files tried without a change first: they must survive, or killing means nothing."""


class Swap(SourceFileLoader, MetaPathFinder):
    """Loads one module from a changed syntax tree, wherever it is imported from."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        super().__init__(module, str(path))
        self._code = code

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """This loader for its module, nothing for any other."""
        del path, target
        return spec_from_loader(fullname, self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """The changed module."""
        del fullname
        return self._code


def main() -> int:
    """Run it. Exit 0 when the score is at least `--least`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", help="packages in mcpwatch/ that have tests in tests/ under the same name")
    parser.add_argument("--sample", type=int, default=60, help="mutants of a room to try; 0 for all (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default: 2)")
    parser.add_argument("--least", type=float, default=0.0, help="exit 1 when a room is below this score in percent")
    parser.add_argument("--only", nargs="+", default=[""], help="only files whose names contain one of these")
    parser.add_argument("--tests", nargs="+", default=[], help="only these tests, paths (default: all of the room)")
    parser.add_argument("--budget", type=float, default=15.0, help="seconds of tests for a mutant at most (default: 15)")
    parser.add_argument("--keep", type=Path, help="a file that keeps what became of each mutant, for the next run")
    parser.add_argument("--report", action="store_true", help="try nothing, print what is kept")
    asked = parser.parse_args()
    if not asked.report:
        enter()
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        scores = [_room(room, asked, asked.keep or Path(file.name)) for room in asked.rooms]
    return int(min(scores) < asked.least)


def _room(name: str, asked: argparse.Namespace, keep: Path) -> float:
    """Try the mutants of one room and print its table. Its score in percent."""
    room = ROOT / "mcpwatch" / name
    tests = [ROOT / path for path in asked.tests or [f"tests/{name}"]]
    files = sorted(path for path in room.rglob("*.py") if any(part in path.name for part in asked.only))
    every = [mutant for path in files for mutant in mutants(path)]
    # In an order by chance, so that what was tried when a run is interrupted is a fair sample.
    chosen = random.Random(asked.seed).sample(every, min(asked.sample or len(every), len(every)))
    record = Record(keep, [file for path in tests for file in (path.rglob("*.py") if path.is_dir() else [path])])
    if not asked.report:
        began = time.monotonic()
        coverage = traced(room, tests, asked.budget)
        print(f"{len(coverage.seconds)} tests traced in {time.monotonic() - began:.0f} s", flush=True)
        untried = _untried(chosen, coverage, record)
        print(f"{len(every)} mutants of {len(files)} files, {len(untried)} to try", flush=True)
        tried(untried, coverage, tests, asked.jobs, record)
        print(f"{name}: tried in {time.monotonic() - began:.0f} s")
    shown = frozenset(every if asked.report else chosen)
    lines, score = table(name, [mutant for mutant in every if mutant in shown], record)
    print(*lines, sep="\n", flush=True)
    return score


def _untried(chosen: list[Mutant], coverage: Coverage, record: Record) -> list[Mutant]:
    """Those that were not tried yet, or with other or fewer tests than now."""
    return [mutant for mutant in chosen if not record.stands(mutant, len(coverage.of(mutant)))]


def tried(chosen: list[Mutant], coverage: Coverage, tests: list[Path], jobs: int, record: Record) -> None:
    """Try mutants and keep what became of them."""
    controls = [Mutant(path, 0, "none", 0, 0, "(no change)") for path in sorted({mutant.path for mutant in chosen})[:CONTROLS]]
    _beside(lambda start: run([*controls, *chosen], coverage, jobs, start, record), coverage, tests)
    record.read()
    if left := _untried(chosen, coverage, record):
        run([*controls, *left], coverage, jobs, _start, record)


def _beside(work: Callable[[Start], None], coverage: Coverage, tests: list[Path]) -> None:
    """Do `work` in a child that has collected the tests, so that none of ours is loaded here."""
    child = os.fork()
    if not child:
        quiet()
        _, each = coverage.limits(list(coverage.seconds))
        os._exit(swapped(tests, [*QUICK, f"--timeout={each:.0f}"], coverage.seconds, work))
    if os.waitpid(child, 0)[1]:
        raise SystemExit("tests fail against a file that is not changed: a score would say nothing")


def run(chosen: list[Mutant], coverage: Coverage, jobs: int, start: Start, record: Record) -> None:
    """Try each mutant and keep how it ended, but for those that cannot be tried so; what no test runs survives."""
    waiting = list(reversed(chosen))
    running: dict[int, tuple[Mutant, int, float]] = {}  # until when each may run
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = coverage.of(mutant)
            if not tests:
                record.add(mutant, 0, killed=False)
                continue
            busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            whole, each = (busy * limit for limit in coverage.limits(tests))
            running[start(mutant, tests, each)] = (mutant, len(tests), time.monotonic() + whole)
        for child, code in _ended(running):
            mutant, count, _ = running.pop(child)
            if mutant.way != "none" and code != LEFT:
                record.add(mutant, count, killed=bool(code))
            elif code and mutant.way == "none":
                raise SystemExit(f"tests fail against a file that is not changed: {mutant.path}")


def _ended(running: dict[int, tuple[Mutant, int, float]]) -> list[tuple[int, int]]:
    """The children that ended, with their exit codes; those beyond their time are killed."""
    found: list[tuple[int, int]] = []
    for child, (_, _, until) in running.items():
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            found.append((child, os.waitstatus_to_exitcode(status)))
        elif time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
    if not found:
        time.sleep(0.005)
    return found


def _start(mutant: Mutant, tests: list[str], limit: float) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    quiet()
    module = ".".join(mutant.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    code = compile(changed(mutant), str(mutant.path), "exec", dont_inherit=True)
    sys.meta_path.insert(0, Swap(module, mutant.path, code))
    try:
        result = int(pytest.main([*tests, *QUICK, "-x", f"--timeout={limit:.0f}"]))
    except BaseException:  # noqa: BLE001 - a mutant that breaks even pytest is dead
        result = 1
    os._exit(result)


if __name__ == "__main__":
    sys.exit(main())
