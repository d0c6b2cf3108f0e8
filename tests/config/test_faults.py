"""Every fault of a file is told at once: `invalid/*` beside the exact messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.config.load import load_plan
from mcpwatch.model.errors import ConfigError
from tests.config.kinds import KINDS

INVALID = Path(__file__).parent / "invalid"
CASES = sorted(path for path in INVALID.iterdir() if path.suffix in {".yaml", ".json"})


def faults(path: Path, environ: dict[str, str]) -> list[str]:
    """The faults of a file as told, with its directory left out."""
    with pytest.raises(ConfigError) as caught:
        load_plan(path, KINDS, environ, Path("/state"))
    return [str(fault).replace(f"{path.parent}/", "") for fault in caught.value.faults]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_a_bad_file_is_answered_with_exactly_these_lines(path: Path, environ: dict[str, str]) -> None:
    assert faults(path, environ) == path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


def test_every_fault_names_the_file_and_nearly_all_their_line(environ: dict[str, str]) -> None:
    for path in CASES:
        lines = faults(path, environ)
        assert lines
        assert all(line.startswith(path.name) for line in lines)


def test_every_fault_says_what_to_do_or_what_was_expected(environ: dict[str, str]) -> None:
    for line in faults(INVALID / "ten-faults.yaml", environ):
        words = (";", "must", "unknown", "duplicate")
        assert any(word in line for word in words), line


def test_no_fault_shows_a_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("proxy: {auth: {tokens: [[s3cret-value]]}}\nmembers: {a: {url: http://h/sse, token: {x: s3cret-value}}}\n")
    told = faults(file, environ)
    assert len(told) == 2
    assert "s3cret-value" not in "\n".join(told)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, environ: dict[str, str]) -> None:
    assert faults(tmp_path / "none.yaml", environ) == ["none.yaml: cannot read it: No such file or directory"]


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, environ: dict[str, str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_bytes(b"members: \xff\xfe")
    assert faults(file, environ) == ["fleet.yaml: is not UTF-8 text"]


def test_an_alias_bomb_is_refused_and_not_unfolded(tmp_path: Path, environ: dict[str, str]) -> None:
    file = tmp_path / "fleet.yaml"
    levels = [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file.write_text("\n".join(["x-0: &a0 [1, 2, 3]", *levels]))
    (told,) = faults(file, environ)
    assert "more than 50000 values" in told
