"""Mutation test of one room, run by hand: `python -m tools.mutation checks --sample 60 --seed 1`.

A mutant is a module of the room with one node of its syntax changed. The quick tests that run the changed function are run against
it, those of its module's own test file first. Prints the survivors and the score. A change within a function is tried in a fork of
a process that has collected all tests (`mutant_swap`), any other in a process forked from one that has the libraries loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tools.mutant_swap import LEFT, Start, swapped
from tools.mutant_tests import QUICK, ROOT, Coverage, quiet, traced
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
    parser.add_argument("room", help="a package in mcpwatch/ that has tests in tests/ under the same name")
    parser.add_argument("--sample", type=int, default=60, help="mutants to try; 0 for all (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default: 2)")
    parser.add_argument("--least", type=float, default=0.0, help="exit 1 below this score in percent")
    parser.add_argument("--only", nargs="+", default=[""], help="only files whose names contain one of these")
    parser.add_argument("--tests", nargs="+", default=[], help="only these tests, paths (default: all of the room)")
    asked = parser.parse_args()
    room = ROOT / "mcpwatch" / asked.room
    tests = [ROOT / path for path in asked.tests or [f"tests/{asked.room}"]]
    files = sorted(path for path in room.rglob("*.py") if any(part in path.name for part in asked.only))
    every = [mutant for path in files for mutant in mutants(path)]
    chosen = random.Random(asked.seed).sample(every, asked.sample) if 0 < asked.sample < len(every) else every
    print(f"{len(every)} mutants of {len(files)} files, {len(chosen)} tried", flush=True)
    began = time.monotonic()
    coverage = traced(room, tests)
    print(f"{len(coverage.seconds)} tests traced in {time.monotonic() - began:.0f} s", flush=True)
    survivors = sorted(tried(chosen, coverage, tests, asked.jobs), key=lambda survivor: (survivor[0].path, survivor[0].line))
    for mutant, count in survivors:
        print(f"survived {count} tests: {mutant.path.relative_to(ROOT)}:{mutant.line}: {mutant.text}")
    alive = Counter(mutant.path for mutant, _ in survivors)
    for path, count in sorted(Counter(mutant.path for mutant in chosen).items()):
        print(f"{path.relative_to(room)}: {100.0 * (count - alive[path]) / count:.0f} % of {count}")
    score = 100.0 * (len(chosen) - len(survivors)) / max(1, len(chosen))
    print(f"{asked.room}: {score:.0f} % of {len(chosen)} mutants killed (seed {asked.seed}) in {time.monotonic() - began:.0f} s")
    return int(score < asked.least)


Ended = tuple[Mutant, int, int]
"""A mutant, how many tests were run against it, and how its process ended: 0 when it survived."""


def tried(chosen: list[Mutant], coverage: Coverage, tests: list[Path], jobs: int) -> list[tuple[Mutant, int]]:
    """The mutants that survive, with the number of tests they survived."""
    controls = [Mutant(path, 0, "none", 0, 0, "(no change)") for path in sorted({mutant.path for mutant in chosen})[:CONTROLS]]
    quick = _beside(lambda start: run([*controls, *chosen], coverage, jobs, start), coverage, tests)
    left = [mutant for mutant, _, code in quick if code == LEFT]
    slow = run([*controls, *left], coverage, jobs, _start) if left else []
    for ended in (quick, slow):
        if any(code for mutant, _, code in ended if mutant.way == "none"):
            raise SystemExit("tests fail against a module that is not changed: the score would say nothing")
    return [(mutant, count) for mutant, count, code in (*quick, *slow) if not code and mutant.way != "none"]


def _beside(work: Callable[[Start], list[Ended]], coverage: Coverage, tests: list[Path]) -> list[Ended]:
    """What `work` returns, done in a child that has collected the tests, so that none of ours is loaded here."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        child = os.fork()
        if not child:
            quiet()

            def write(start: Start) -> None:
                found = [([str(mutant.path), *astuple(mutant)[1:]], count, code) for mutant, count, code in work(start)]
                Path(file.name).write_text(json.dumps(found))

            _, each = coverage.limits(list(coverage.seconds))
            swapped(tests, [*QUICK, f"--timeout={each:.0f}"], coverage.seconds, write)
            os._exit(0)
        os.waitpid(child, 0)
        return [(Mutant(Path(path), *more), count, code) for (path, *more), count, code in json.loads(file.read())]


def run(chosen: list[Mutant], coverage: Coverage, jobs: int, start: Start) -> list[Ended]:
    """How each mutant ended; what no test runs survives."""
    waiting = list(reversed(chosen))
    running: dict[int, tuple[Mutant, int, float]] = {}  # until when each may run
    ended: list[Ended] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = coverage.of(mutant)
            if not tests:
                ended.append((mutant, 0, 0))
                continue
            whole, each = coverage.limits(tests)
            running[start(mutant, tests, each)] = (mutant, len(tests), time.monotonic() + whole)
        for child, code in _ended(running):
            mutant, count, _ = running.pop(child)
            ended.append((mutant, count, code))
    return ended


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
