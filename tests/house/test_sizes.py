"""No function is longer than 40 lines, no file of `mcpwatch/` longer than 300; exceptions have a size, and only shrink."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.house import FILE_LINES, FUNCTION_LINES, PACKAGE, measure, over

pytestmark = pytest.mark.xdist_group("sizes")
FILES: dict[str, int] = {
}  # fmt: skip
"""Files that may be longer than the bound, and how long each may be."""
FUNCTIONS: dict[str, int] = {
}  # fmt: skip
"""Functions that may be longer, as `path:function`."""


@pytest.fixture(scope="module")
def sizes() -> tuple[dict[str, int], dict[str, int]]:
    return measure(PACKAGE)


def faults(sizes: dict[str, int], bound: int, allowed: dict[str, int]) -> list[str]:
    """What is too long, and which exceptions have had their time."""
    found = over(sizes, bound)
    long = [
        f"{name}: {lines} lines, at most {allowed.get(name, bound)}"
        for name, lines in found.items()
        if lines > allowed.get(name, bound)
    ]
    return [*long, *(f"{name}: take it out of the exceptions" for name in allowed if name not in found)]


@pytest.mark.slow
def test_no_file_grows_beyond_the_bound(sizes: tuple[dict[str, int], dict[str, int]]) -> None:
    assert faults(sizes[0], FILE_LINES, FILES) == []


@pytest.mark.slow
def test_no_function_grows_beyond_the_bound(sizes: tuple[dict[str, int], dict[str, int]]) -> None:
    assert faults(sizes[1], FUNCTION_LINES, FUNCTIONS) == []


def test_a_tree_that_breaks_the_bounds_is_named_with_its_sizes(tmp_path: Path) -> None:
    (package := tmp_path / "house").mkdir()
    (package / "long.py").write_text("def f():\n" + "    x = 1\n" * FILE_LINES, encoding="utf-8")
    (package / "short.py").write_text("def f():\n    x = 1\n", encoding="utf-8")
    files, functions = measure(package)
    assert faults(files, FILE_LINES, {}) == ["house/long.py: 301 lines, at most 300"]
    assert faults(functions, FUNCTION_LINES, {"house/long.py:f": 301}) == []
    assert faults(functions, FUNCTION_LINES, {"house/long.py:f": 300}) == ["house/long.py:f: 301 lines, at most 300"]
    assert faults(files, FILE_LINES, {"house/long.py": 301, "house/short.py": 302}) == [
        "house/short.py: take it out of the exceptions"
    ]
