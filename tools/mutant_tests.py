"""Which tests run which function of a room, and how long they take: found by a traced run, and kept for the next.

It is kept by what the files contain, in the directory for temporary files: only test files that changed are traced again, and all
of them when the room or their helpers changed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from tools.mutant_record import ROOT
from tools.mutants import Mutant

IGNORED = "ignore::pytest.PytestAssertRewriteWarning"
"""That libraries are loaded before pytest sees them is the point of the fork."""
QUICK = ("-m", "not slow and not needs", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "-W", IGNORED)
TESTS_MIN = 3
TRACE_LIMIT = 900.0
"""Seconds for one test while everything it calls is noted, which takes many times as long."""
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
    budget: float
    """Seconds of tests, by their time without mutation, run against one mutant at most; but never fewer than `TESTS_MIN`."""

    def of(self, mutant: Mutant) -> list[str]:
        """The tests to run against a mutant within the budget: of its module's own test file first, then of others, fastest first.

        For a constant outside of functions all of these, and those that run any function of the file.
        """
        path = str(mutant.path)
        own = {name for name in self.seconds if any(f"/test_{mutant.path.stem}{end}" in name for end in "._")}
        if mutant.function:
            found = self.tests.get((path, mutant.function), set())
        else:
            found = own.union(*(some for (file, _), some in self.tests.items() if file == path))
        chosen: list[str] = []
        spent = 0.0
        for test in sorted(found, key=lambda name: (name not in own, self.seconds.get(name, 0.0), name)):
            spent += self.seconds.get(test, 0.0)
            if spent > self.budget and len(chosen) >= TESTS_MIN:
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
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Trace everything one test calls, and keep what it took but for the time that it waited for a processor."""
        self._test = item.nodeid
        began = time.monotonic() - _waited()
        sys.settrace(self._called)
        threading.settrace(self._called)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # pyright: ignore[reportArgumentType]
            self.seconds[item.nodeid] = time.monotonic() - _waited() - began

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that fails: it can kill nothing."""
        if report.failed:
            self.failed.add(report.nodeid)

    def _called(self, frame: FrameType, event: str, arg: object) -> None:
        del event, arg
        code = frame.f_code
        if code.co_filename.startswith(self._room):
            self.tests[code.co_filename, code.co_firstlineno].add(self._test)


def _waited() -> float:
    """Seconds that this thread was ready to run while others ran."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def traced(room: Path, tests: Sequence[Path], budget: float) -> Coverage:
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
    return Coverage(functions, seconds, budget)


def _trace(room: Path, places: dict[Path, Path]) -> None:
    """Run these test files in a child, so that the room is not yet loaded here, and keep what each of them calls at its place."""
    child = os.fork()
    if not child:
        said = os.dup(2)
        quiet()
        tracer = Tracer(room)
        if pytest.main([*map(str, places), *QUICK, f"--timeout={TRACE_LIMIT:.0f}"], plugins=[tracer]) in {0, 1, 5}:
            os.write(said, "".join(f"not used, for it fails without a mutant: {test}\n" for test in sorted(tracer.failed)).encode())
            used = tracer.seconds.keys() - tracer.failed
            top = {name for name in sys.modules if "." not in name and not name.startswith("_")}
            for file, place in places.items():
                own = str(file.relative_to(ROOT)) + "::"
                found = [
                    [*function, [test for test in some & used if test.startswith(own)]] for function, some in tracer.tests.items()
                ]
                took = {test: tracer.seconds[test] for test in used if test.startswith(own)}
                part = place.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps([found, took, sorted(top - set(OURS))]))
                part.replace(place)
            os._exit(0)
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the quick tests cannot be run without any mutation")


def _digest(paths: Iterable[Path]) -> str:
    """What tells these files, with what they contain, from others."""
    found = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        found.update(f"{path} {len(content)}\n".encode() + content)
    return found.hexdigest()


def quiet() -> None:
    """Say nothing more: what tests print against a mutant tells nobody anything. What holds a loop is not measured.

    It would be told in a file that all forks share, so that a slow mutant failed each one after it; and tracing makes all slow.
    """
    os.environ["MCPWATCH_SLOW_CALLBACK"] = "0"
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
