"""python -m tests.fuzz.keep TARGET --corpus DIR: add to the kept inputs those of a run that reach what no kept one reaches.

An input counts for the steps from line to line of our own parsers that it takes. The shortest one that takes a new step
is kept, so that the corpus stays small.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.__main__ import COVERED, ROOT
from tests.fuzz.targets import CORPUS, TARGETS, Target, seeds

FILES = frozenset(str(ROOT / "mcpwatch" / f"{module.replace('.', '/')}.py") for module in COVERED)
Step = tuple[str, int, int]


@contextmanager
def traced(found: set[Step]) -> Generator[None]:
    """Note every step that is taken meanwhile."""
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            found.add((frame.f_code.co_filename, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        elif event == "return":
            last.pop(frame, None)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def steps(target: Target, data: bytes) -> set[Step]:
    """The steps that one input takes."""
    found: set[Step] = set()
    with traced(found):
        target(data)
    return found


def worth_keeping(target: Target, kept: list[bytes], fresh: list[bytes]) -> list[bytes]:
    """Those of `fresh` that add to what `kept` reaches, the shortest first."""
    known: set[Step] = set()
    for data in kept:
        known |= steps(target, data)
    found: list[bytes] = []
    for data in sorted(fresh, key=len):
        new = steps(target, data) - known
        if new:
            found.append(data)
            known |= new
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.keep", description=__doc__)
    options.add_argument("target", choices=sorted(TARGETS))
    options.add_argument("--corpus", type=Path, required=True)
    given = options.parse_args()
    fresh = [path.read_bytes() for path in sorted(given.corpus.iterdir())]
    found = worth_keeping(TARGETS[given.target], list(seeds(given.target)), fresh)
    for data in found:
        (CORPUS / given.target / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{given.target}: {len(found)} of {len(fresh)} inputs kept")


if __name__ == "__main__":
    main()
