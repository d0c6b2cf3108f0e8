"""Files of tests that each worker of a run imports before it collects: another part of them each.

Every worker collects every test. In a fresh clone all of them would compile the same files at the same time, which takes three
times as long as to import them: what one has compiled, the others read.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.parts import ROOT


def share(files: Sequence[Path], worker: str, count: int) -> Sequence[Path]:
    """The files that a worker (`gw0`, `gw1`, ...) of so many imports first."""
    return files[int(worker.removeprefix("gw")) % count :: count]


def precompile(files: Iterable[Path]) -> None:
    """Import these files of tests. One that cannot be imported is left to its collection, which says why."""
    for file in files:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        with contextlib.suppress(Exception, pytest.skip.Exception), warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.import_module(name)
