"""What became of each mutant, one line each as it ends, so that an interrupted run goes on; and the table made of it.

A mutant that was killed stays so while its file is the same. A survivor is tried again when a test of its room changed.
"""

from __future__ import annotations

import hashlib
import json
import linecache
import os
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from tools.mutants import Mutant

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
"""Mutants that no test can kill: `file: line of code: change  # reason`."""


class Record:
    """The mutants that were tried, by what their file contained."""

    def __init__(self, place: Path, tests: Iterable[Path]) -> None:
        self._place = place
        self._tests = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(tests))).hexdigest()
        self._codes: dict[Path, str] = {}
        self._ends: dict[str, tuple[str, int]] = {}
        self.read()

    def read(self) -> None:
        """Read what was added since, but for a line that was cut when a run was interrupted: its mutant counts as not tried."""
        lines = self._place.read_bytes().splitlines() if self._place.exists() else []
        self._ends = {key: (tests, count) for key, tests, count in map(json.loads, filter(_whole, lines))}

    def add(self, mutant: Mutant, count: int, *, killed: bool) -> None:
        """Keep that a mutant was tried with so many tests."""
        key, end = self._key(mutant), (self._tests, -1 if killed else count)
        self._ends[key] = end
        line = json.dumps([key, *end]).encode()
        with self._place.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
            before = b"" if file.read() in {b"", b"\n"} else b"\n"  # a cut line ends here, and takes none with it
            file.write(before + line + b"\n")

    def tests(self, mutant: Mutant) -> int | None:
        """How many tests a mutant survived; below 0 when it was killed, `None` when it was not tried."""
        _, count = self._ends.get(self._key(mutant), ("", None))
        return count

    def stands(self, mutant: Mutant, tests: int) -> bool:
        """Whether a mutant need not be tried again with so many tests of today."""
        by, count = self._ends.get(self._key(mutant), ("", 0))
        return count < 0 or (by == self._tests and count >= tests)

    @cached_property
    def equivalent(self) -> frozenset[str]:
        """The mutants that count for nothing."""
        return frozenset(line.partition("  # ")[0] for line in EQUIVALENT.read_text().splitlines() if line)

    def code(self, path: Path) -> str:
        """What tells the content of a file."""
        return self._codes.setdefault(path, hashlib.sha256(path.read_bytes()).hexdigest())

    def _key(self, mutant: Mutant) -> str:
        return f"{mutant.path.relative_to(ROOT)} {self.code(mutant.path)} {mutant.place} {mutant.way}"


def _whole(line: bytes) -> bool:
    """Whether a line is all of a list: one that was cut is none."""
    try:
        return isinstance(json.loads(line), list)
    except ValueError:
        return False


def named(mutant: Mutant) -> str:
    """A mutant as the list of the equivalent ones names it."""
    line = linecache.getline(str(mutant.path), mutant.line).strip()
    return f"{mutant.path.relative_to(ROOT)}: {line}: {mutant.text}"


def table(room: str, every: list[Mutant], record: Record) -> tuple[list[str], float]:
    """The survivors and what each file and the whole scored, in lines; and the score of the whole in percent."""
    lines: list[str] = []
    files: dict[Path, Counter[str]] = {}
    for mutant in every:
        tests = record.tests(mutant)
        equal = named(mutant) in record.equivalent
        end = "untried" if tests is None else "killed" if tests < 0 else "equal" if equal else "alive"
        files.setdefault(mutant.path, Counter())[end] += 1
        if end == "alive":
            lines.append(f"survived {tests} tests, line {mutant.line}: {named(mutant)}")
    whole = sum(files.values(), Counter[str]())
    lines.append("| File | Mutants | Killed | Equivalent | Not tried | Score | Code |\n|---|---:|---:|---:|---:|---:|---|")
    for name, ends, code in [
        *((str(path.relative_to(ROOT / "mcpwatch" / room)), ends, record.code(path)) for path, ends in files.items()),
        (f"**{room}**", whole, hashlib.sha256("".join(map(record.code, files)).encode()).hexdigest()),
    ]:
        counts = " | ".join(str(ends[end]) for end in ("killed", "equal", "untried"))
        lines.append(f"| {name} | {ends.total()} | {counts} | {_score(ends):.1f} % | {code[:10]} |")
    return lines, _score(whole)


def _score(ends: Counter[str]) -> float:
    """The killed in percent of those tried that can be."""
    return 100.0 * ends["killed"] / max(1, ends["killed"] + ends["alive"])
