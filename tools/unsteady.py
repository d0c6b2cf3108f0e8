"""Hold what CI had to run again against `tests/UNSTEADY.md`: `python -m tools.unsteady LOG...`, the logs of a step in order.

A test that failed in a round and not in the last one is unsteady. One that the table does not list fails the run; one that it lists
is named. What failed in the last round has failed the run already. A round that had to be repeated and names no test is a failure
too: nobody can tell what passed then. Reads files, prints lines; exit 1 for an unlisted test.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "tests" / "UNSTEADY.md"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+)*)", re.MULTILINE)
_LISTED = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def failed(log: str) -> frozenset[str]:
    """Tests that the last lines of a pytest run name as failed, as `FILE::TEST` without their parameters."""
    return frozenset(_FAILED.findall(log))


def listed(table: str) -> frozenset[str]:
    """Tests that the table names, as `FILE::TEST`: the first words of each row."""
    return frozenset(_LISTED.findall(table))


def unsteady(rounds: Sequence[str]) -> frozenset[str]:
    """Tests that failed in a round of these logs, and not in the last."""
    *earlier, last = map(failed, rounds)
    return frozenset(name for one in earlier for name in one if name not in last)


def told(names: Iterable[str], known: frozenset[str]) -> tuple[list[str], bool]:
    """A line for each unsteady test, and whether the run may pass."""
    names = sorted(names)
    why = {True: "as tests/UNSTEADY.md says", False: "and not in tests/UNSTEADY.md: mend it, or list it there with its cause"}
    return [f"unsteady, {why[name in known]}: {name}" for name in names], known.issuperset(names)


def main(logs: Sequence[str]) -> int:
    """Print a line for each unsteady test. Exit 1 where one is not listed, or where a repeated round names no test."""
    rounds = [Path(log).read_text(encoding="utf-8", errors="replace") for log in logs]
    lines, good = told(unsteady(rounds), listed(TABLE.read_text(encoding="utf-8")))
    for log, text in zip(logs[:-1], rounds[:-1], strict=True):
        if not failed(text):
            lines, good = [*lines, f"{Path(log).name} was repeated, and names no test that failed"], False
    print("\n".join(lines) or "no unsteady test")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
