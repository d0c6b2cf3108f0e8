"""Mutation test of one room, run by hand: `python -m tools.mutation checks --sample 60 --seed 1`.

A mutant is a module of the room with one node of its syntax changed. The quick tests that run the changed function are run against
it, fastest first, each mutant in a process forked from one that has the libraries loaded. Prints the survivors and the score.
Which tests run which function is found by a traced run of the room's quick tests, kept by what its files contain in the directory
for temporary files: only test files that changed are traced again, and all of them when the room or their helpers changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Sequence
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
TRACE_LIMIT = 900.0
"""Seconds for one test while everything it calls is noted, which takes many times as long."""
CONTROLS = 5
"""Files tried without a change first: they must survive, or killing means nothing."""
PATIENCE, TEST_LIMIT, SLACK = 60.0, 10.0, 6.0
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
        """The tests to run against a mutant within `BUDGET`: of its module's own test file first, then of others, fastest first.

        For a constant outside of functions the tests of the whole file.
        """
        path = str(mutant.path)
        if mutant.function:
            found = self.tests.get((path, mutant.function), set())
        else:
            found = {test for (file, _), some in self.tests.items() if file == path for test in some}
        chosen: list[str] = []
        spent = 0.0
        own = f"/test_{mutant.path.name}::"
        for test in sorted(found, key=lambda name: (own not in name, self.seconds.get(name, 0.0), name))[:TESTS_MAX]:
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
    controls = [Mutant(path, 0, "none", 0, 0, "(no change)") for path in sorted({mutant.path for mutant in chosen})[:CONTROLS]]
    if len(run(controls, coverage, asked.jobs)) < len(controls):
        raise SystemExit("tests fail against a module that is not changed: the score would say nothing")
    survivors = sorted(run(chosen, coverage, asked.jobs), key=lambda survivor: (survivor[0].path, survivor[0].line))
    for mutant, count in survivors:
        print(f"survived {count} tests: {mutant.path.relative_to(ROOT)}:{mutant.line}: {mutant.text}")
    alive = Counter(mutant.path for mutant, _ in survivors)
    for path, tried in sorted(Counter(mutant.path for mutant in chosen).items()):
        print(f"{path.relative_to(room)}: {100.0 * (tried - alive[path]) / tried:.0f} % of {tried}")
    score = 100.0 * (len(chosen) - len(survivors)) / max(1, len(chosen))
    print(f"{asked.room}: {score:.0f} % of {len(chosen)} mutants killed (seed {asked.seed}) in {time.monotonic() - began:.0f} s")
    return int(score < asked.least)


def traced(room: Path, tests: Sequence[Path]) -> Coverage:
    """What the quick tests of a room call, by what was kept of them or else by running them. Loads their libraries here."""
    kept = Path(tempfile.gettempdir()) / f"mcpwatch-mutation-{os.getuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    files = {file for path in tests for file in (path.rglob("test_*.py") if path.is_dir() else [path])}
    shared = [*room.rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    shared += [
        path for folder in {file.parent for file in files} for path in folder.glob("*.py") if not path.name.startswith("test_")
    ]
    places = {file: kept / f"{_digest([file, *shared])}.json" for file in files}
    missing = [file for file in sorted(files) if not places[file].exists()]
    if missing:
        _trace(room, {file: places[file] for file in missing})
    functions: defaultdict[Function, set[str]] = defaultdict(set)
    seconds: dict[str, float] = {}
    for place in places.values():
        found, took, libraries = json.loads(place.read_text())
        seconds.update(took)
        for path, line, some in found:
            functions[path, line].update(some)
        for name in libraries:
            if name not in sys.modules:
                try:
                    importlib.import_module(name)
                except Exception:  # noqa: BLE001 - what cannot be loaded ahead is loaded when it is used
                    continue
    return Coverage(functions, seconds)


def _trace(room: Path, places: dict[Path, Path]) -> None:
    """Run these test files in a child, so that the room is not yet loaded here, and keep what each of them calls at its place."""
    child = os.fork()
    if not child:
        _quiet()
        tracer = Tracer(room)
        if pytest.main([*map(str, places), *QUICK, f"--timeout={TRACE_LIMIT:.0f}"], plugins=[tracer]) in {0, 5}:
            top = {name for name in sys.modules if "." not in name and not name.startswith("_")}
            for file, place in places.items():
                own = str(file.relative_to(ROOT)) + "::"
                found = [[*function, [test for test in some if test.startswith(own)]] for function, some in tracer.tests.items()]
                took = {test: seconds for test, seconds in tracer.seconds.items() if test.startswith(own)}
                part = place.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps([found, took, sorted(top - set(OURS))]))
                part.replace(place)
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the quick tests fail without any mutation")


def _digest(paths: Iterable[Path]) -> str:
    """What tells these files, with what they contain, from others."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()


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
