"""What `make test` leaves out unread (files of which no test is quick, and no others), and who compiles what it reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import NONE_QUICK
from tests.parts import ROOT
from tests.precompile import precompile, share


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("pytestmark = pytest.mark.slow\n", True),
        ('import x\npytestmark = [pytest.mark.anyio, pytest.mark.needs("docker", "root")]\n', True),
        ("pytestmark = [\n    pytest.mark.anyio,\n    pytest.mark.slow,\n]\n", True),
        ("pytestmark = pytest.mark.anyio\n\n\n@pytest.mark.slow\ndef test_it() -> None: ...\n", False),
        ("pytestmark = [pytest.mark.anyio]\nMARKS = [pytest.mark.slow]\n", False),
        ("@pytest.mark.slow\ndef test_it() -> None: ...\n", False),
        ("class Test:\n    pytestmark = pytest.mark.slow\n", False),
    ],
)
def test_a_file_is_left_out_where_every_test_of_it_is_slow_or_needs_a_part(text: str, left_out: bool) -> None:
    assert bool(NONE_QUICK.search(text)) is left_out


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_workers_compile_each_file_once_between_them(count: int) -> None:
    files = [Path(f"test_{number}.py") for number in range(7)]
    shares = [share(files, f"gw{number}", count) for number in range(count)]
    assert sorted(file for part in shares for file in part) == files


def test_a_file_that_cannot_be_imported_is_left_to_its_collection() -> None:
    precompile([ROOT / "tests" / "house" / "test_that_is_not_there.py", ROOT / "tests" / "house" / "test_ratios.py"])
    assert "tests.house.test_ratios" in sys.modules
    assert "tests.house.test_that_is_not_there" not in sys.modules
