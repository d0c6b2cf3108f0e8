"""Of a test with many expensive cases the quick suite runs some, spread over all; the whole suite runs each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import thin_out
from tests.parts import ROOT

CASES = """
import pytest

@pytest.mark.sample(4)
@pytest.mark.parametrize("case", range(10))
def test_it(case): ...

def test_another(): ...
"""


class Case(SimpleNamespace):
    """What `thin_out` reads of a test, and the marks that it got."""

    def get_closest_marker(self, name: str) -> Any:
        return self.marks.get(name)

    def add_marker(self, mark: Any) -> None:
        self.marks[mark.name] = mark


@pytest.mark.parametrize(
    ("wanted", "cases", "quick"),
    [((), 7, [0, 6]), ((4,), 10, [0, 3, 6, 9]), ((), 2, [0, 1]), ((3,), 2, [0, 1]), ((1,), 5, [0]), ((3,), 24, [0, 12, 23])],
)
def test_each_case_is_either_quick_or_slow_and_the_quick_ones_are_spread_over_all(
    wanted: tuple[int, ...], cases: int, quick: list[int]
) -> None:
    mark = SimpleNamespace(args=wanted)
    items: Any = [Case(path=Path("a.py"), name="test_it", marks={"sample": mark}) for _ in range(cases)]
    others: Any = [Case(path=Path("a.py"), name="test_another", marks={}) for _ in range(2)]
    thin_out([*items, *others])
    assert [number for number, case in enumerate(items) if "slow" not in case.marks] == quick
    assert all(case.marks == {} for case in others)


@pytest.mark.slow
def test_pytest_selects_by_the_marks_that_cases_got(tmp_path: Path) -> None:
    (tmp_path / "test_sampled.py").write_text(CASES, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import thin_out as pytest_collection_modifyitems\n", encoding="utf-8"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n sample\n", encoding="utf-8")

    def collected(marks: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks, str(tmp_path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
        return [line.rpartition("::")[2] for line in told.stdout.splitlines() if "::" in line]

    quick = [0, 3, 6, 9]
    assert collected("not slow") == [*(f"test_it[{case}]" for case in quick), "test_another"]
    assert collected("slow") == [f"test_it[{case}]" for case in range(10) if case not in quick]
