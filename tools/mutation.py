"""Mutation test of one room, run by hand: `python -m tools.mutation checks --sample 60 --seed 1`.

A mutant is a module of the room with one node of its syntax changed. The quick tests that run the changed function are run against
it, fastest first, each mutant in a process forked from one that has the libraries loaded. Prints the survivors and the score.
Which tests run which function is found by one traced run of the room's quick tests.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import pytest

from tools.mutants import Mutant, changed, mutants

ROOT = Path(__file__).resolve().parent.parent
IGNORED = "ignore::pytest.PytestAssertRewriteWarning"
"""That libraries are loaded before pytest sees them is the point of the fork."""
QUICK = ("-m", "not slow and not needs", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "-W", IGNORED)
TESTS_MAX = 60
"""Tests run against one mutant at most."""
BUDGET = 15.0
"""Seconds of tests, by their time without mutation, run against one mutant at most; but never fewer than `TESTS_MIN`."""
TESTS_MIN = 3
CONTROLS = 5
"""Files tried without a change first: they must survive, or killing means nothing."""
PATIENCE, TEST_LIMIT, SLACK = 60.0, 20.0, 6.0
"""Seconds after which a mutant, and one of its tests, counts as hanging; at least `SLACK` times what they took without mutation."""

OURS = ("mcpwatch", "tests", "tools", "__main__")
"""Packages that are not loaded ahead: a mutant loads its own."""

Function = tuple[str, int]
"""A file and the line a function begins at."""


@dataclass(frozen=True)
class Coverage:
    """Which tests run which function, and how long each test takes."""

    tests: dict[Function, set[str]]
    seconds: dict[str, float]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests to run against a mutant, fastest first, within `BUDGET`; those of the whole file for its constants."""
        path = str(mutant.path)
        if mutant.function:
            found = self.tests.get((path, mutant.function), set())
        else:
            found = {test for (file, _), some in self.tests.items() if file == path for test in some}
        chosen: list[str] = []
        spent = 0.0
        for test in sorted(found, key=lambda name: (self.seconds.get(name, 0.0), name))[:TESTS_MAX]:
            spent += self.seconds.get(test, 0.0)
            if spent > BUDGET and len(chosen) >= TESTS_MIN:
                break
            chosen.append(test)
        return chosen

    def limits(self, tests: list[str]) -> tuple[float, float]:
        """Seconds for all of these tests together, and for one of them, before they count as hanging."""
        took = [self.seconds.get(test, 0.0) for test in tests]
        return max(PATIENCE, SLACK * sum(took)), max(TEST_LIMIT, SLACK * max(took))


class Tracer:
    """A pytest plugin that notes which functions of the room each test calls."""

    def __init__(self, room: Path) -> None:
        self._room = str(room) + os.sep
        self._test = ""
        self.tests: defaultdict[Function, set[str]] = defaultdict(set)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Trace everything one test calls."""
        self._test = item.nodeid
        sys.settrace(self._called)
        threading.settrace(self._called)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # pyright: ignore[reportArgumentType]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test took."""
        self.seconds[report.nodeid] += report.duration

    def _called(self, frame: FrameType, event: str, arg: object) -> None:
        del event, arg
        code = frame.f_code
        if code.co_filename.startswith(self._room):
            self.tests[code.co_filename, code.co_firstlineno].add(self._test)


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
    parser.add_argument("--only", default="", help="only files whose name contains this")
    parser.add_argument("--tests", default="", help="only these tests, a path (default: all of the room)")
    asked = parser.parse_args()
    room, tests = ROOT / "mcpwatch" / asked.room, ROOT / (asked.tests or f"tests/{asked.room}")
    files = sorted(path for path in room.rglob("*.py") if asked.only in path.name)
    every = [mutant for path in files for mutant in mutants(path)]
    chosen = random.Random(asked.seed).sample(every, asked.sample) if 0 < asked.sample < len(every) else every
    print(f"{len(every)} mutants of {len(files)} files, {len(chosen)} tried", flush=True)
    began = time.monotonic()
    coverage = traced(room, tests)
    print(f"{len(coverage.seconds)} tests traced in {time.monotonic() - began:.0f} s", flush=True)
    controls = [Mutant(path, 0, "none", 0, 0, "(no change)") for path in sorted({mutant.path for mutant in chosen})[:CONTROLS]]
    if len(run(controls, coverage, asked.jobs)) < len(controls):
        raise SystemExit("tests fail against a module that is not changed: the score would say nothing")
    survivors = run(chosen, coverage, asked.jobs)
    for mutant, count in survivors:
        print(f"survived {count} tests: {mutant.path.relative_to(ROOT)}:{mutant.line}: {mutant.text}")
    score = 100.0 * (len(chosen) - len(survivors)) / max(1, len(chosen))
    print(f"{asked.room}: {score:.0f} % of {len(chosen)} mutants killed (seed {asked.seed}) in {time.monotonic() - began:.0f} s")
    return int(score < asked.least)


def traced(room: Path, tests: Path) -> Coverage:
    """What the quick tests of a room call. Run in a child, so that the room is not yet loaded here; loads its libraries here."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        child = os.fork()
        if not child:
            _quiet()
            tracer = Tracer(room)
            code = pytest.main([str(tests), *QUICK], plugins=[tracer])
            libraries = sorted(
                name for name in sys.modules if name.partition(".")[0] not in ("mcpwatch", "tests", "tools", "__main__")
            )
            found = [[*function, sorted(some)] for function, some in tracer.tests.items()]
            Path(file.name).write_text(json.dumps([int(code), found, tracer.seconds, libraries]))
            os._exit(0)
        os.waitpid(child, 0)
        code, found, seconds, libraries = json.loads(file.read())
    if code:
        raise SystemExit(f"the quick tests of {tests.relative_to(ROOT)} fail without any mutation")
    for name in libraries:
        if name not in sys.modules and "." not in name and not name.startswith("_"):
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001 - what cannot be loaded ahead is loaded when it is used
                continue
    return Coverage({(path, line): set(some) for path, line, some in found}, seconds)


def run(chosen: list[Mutant], coverage: Coverage, jobs: int) -> list[tuple[Mutant, int]]:
    """The mutants that survive, with the number of tests they survived."""
    waiting = list(reversed(chosen))
    running: dict[int, tuple[Mutant, int, float]] = {}  # until when each may run
    survivors: list[tuple[Mutant, int]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            tests = coverage.of(mutant)
            if not tests:
                survivors.append((mutant, 0))
                continue
            whole, each = coverage.limits(tests)
            running[_start(mutant, tests, each)] = (mutant, len(tests), time.monotonic() + whole)
        for child in _ended(running):
            mutant, count, _ = running.pop(child[0])
            if child[1] == 0:
                survivors.append((mutant, count))
    return survivors


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
        time.sleep(0.02)
    return found


def _start(mutant: Mutant, tests: list[str], limit: float) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    _quiet()
    module = ".".join(mutant.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    code = compile(changed(mutant), str(mutant.path), "exec", dont_inherit=True)
    sys.meta_path.insert(0, Swap(module, mutant.path, code))
    try:
        result = int(pytest.main([*tests, *QUICK, "-x", f"--timeout={limit:.0f}"]))
    except BaseException:  # noqa: BLE001 - a mutant that breaks even pytest is dead
        result = 1
    os._exit(result)


def _quiet() -> None:

    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


if __name__ == "__main__":
    sys.exit(main())
