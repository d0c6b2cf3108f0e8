"""Of a test with many expensive cases the quick suite runs some, spread over all; the whole suite runs each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

CASES = """
import pytest

@pytest.mark.sample({})
@pytest.mark.parametrize("case", range({}))
def test_it(case): ...

def test_another(): ...
"""


@pytest.mark.parametrize(
    ("wanted", "cases", "quick"), [("", 7, [0, 6]), ("4", 10, [0, 3, 6, 9]), ("", 2, [0, 1]), ("3", 2, [0, 1])]
)
def test_each_case_is_either_quick_or_slow_and_the_quick_ones_are_spread_over_all(
    wanted: str, cases: int, quick: list[int], tmp_path: Path
) -> None:
    (tmp_path / "test_sampled.py").write_text(CASES.format(wanted, cases), encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import thin_out as pytest_collection_modifyitems\n", encoding="utf-8"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n sample\n", encoding="utf-8")

    def collected(marks: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks, str(tmp_path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
        return [line.rpartition("::")[2] for line in told.stdout.splitlines() if "::" in line]

    assert collected("not slow") == [*(f"test_it[{case}]" for case in quick), "test_another"]
    assert collected("slow") == [f"test_it[{case}]" for case in range(cases) if case not in quick]
