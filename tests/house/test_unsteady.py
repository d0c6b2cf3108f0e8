"""What CI had to run again fails the run, unless `tests/UNSTEADY.md` lists it. The rounds are those of `.ci/run` itself."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from tools.unsteady import TABLE, failed, listed, told, unsteady

ROOT = TABLE.parent.parent
ONE, TWO = "tests/a/test_one.py::test_is_quick", "tests/a/test_two.py::Group::test_is_calm"
TABLE_TEXT = f"| test | seen | cause |\n|---|---|---|\n| `{ONE}` | often | it waits for `{TWO}` |\n"

RUN = """
eval "$(sed -n '/^step() {/,/^}/p; /^listed() /p; /^tested() {/,/^}/p' .ci/run)"
LOGS=$1 status=$BEFORE
first() { echo "FAILED $FAILS - AssertionError"; false; }
once_more() { [ "$PASSES" = yes ] || { echo "FAILED $FAILS - AssertionError"; false; }; }
tested some first marks
exit $status
"""


def test_unsteady_is_what_failed_in_a_round_and_not_in_the_last() -> None:
    rounds = [f"FAILED {ONE}[a b] - Oh - no\nERROR {TWO}@group\nFAILED tests/x.py::test_broken", f"FAILED {TWO}\n", "1 passed"]
    assert unsteady(rounds) == {ONE, TWO, "tests/x.py::test_broken"}
    assert unsteady([rounds[0], rounds[0]]) == frozenset()
    assert failed("no FAILED here") == frozenset()


def test_an_unlisted_one_fails_the_run_and_a_listed_one_is_only_named() -> None:
    assert listed(TABLE_TEXT) == {ONE}
    lines, good = told([ONE], listed(TABLE_TEXT))
    assert (good, len(lines)) == (True, 1)
    lines, good = told([TWO, ONE], listed(TABLE_TEXT))
    assert not good
    assert lines[1].startswith("unsteady, and not in tests/UNSTEADY.md")
    assert lines[1].endswith(TWO)


def test_each_row_of_the_table_names_a_test_that_there_is() -> None:
    for name in listed(TABLE.read_text(encoding="utf-8")):
        file, *way = name.split("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert way[-1] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}, name


@pytest.mark.parametrize(
    ("fails", "passes", "steady", "code"),
    [
        ("tests/a.py::test_new", "yes", "required", 1),
        ("tests/a.py::test_new", "yes", "", 0),
        ("tests/a.py::test_new", "no", "", 1),
        ("LISTED", "yes", "required", 0),
        ("LISTED", "no", "", 1),
        ("a worker that crashed", "yes", "required", 1),
    ],
)
def test_a_run_that_passes_only_when_it_is_repeated_fails_where_steady_tests_are_required_unless_it_is_listed(
    tmp_path: Path, fails: str, passes: str, steady: str, code: int
) -> None:
    known = sorted(listed(TABLE.read_text(encoding="utf-8")))
    if fails == "LISTED" and not known:
        return
    done = played(tmp_path, known[0] if fails == "LISTED" else fails, passes, steady=steady)
    assert done.returncode == code, done.stdout


def test_what_failed_is_repeated_and_named_also_where_a_step_before_has_failed(tmp_path: Path) -> None:
    done = played(tmp_path, "tests/a.py::test_new", "yes", before="1")
    assert (done.returncode, "unsteady, and not in tests/UNSTEADY.md" in done.stdout) == (1, True)


def played(logs: Path, fails: str, passes: str, before: str = "0", steady: str = "required") -> subprocess.CompletedProcess[str]:
    """One step of `.ci/run` in which a test fails first, and then passes or not."""
    environment = {"MCPWATCH_STEADY": steady, "FAILS": fails, "PASSES": passes, "BEFORE": before, "PATH": "/usr/bin:/bin"}
    words = ["bash", "-uo", "pipefail", "-c", RUN, "run", str(logs)]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
