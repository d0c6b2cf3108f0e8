"""A user's pattern may be wrong or endless; neither stops the watchdog."""

from __future__ import annotations

import pytest

from mcpwatch.model.errors import ProbeBroken
from mcpwatch.pattern import INPUT, fault, matches


def test_a_pattern_is_searched_for_anywhere_in_the_answer() -> None:
    assert matches(r"tim\w", "what time is it")
    assert not matches(r"^time", "what time is it")


def test_a_pattern_that_backtracks_without_end_is_stopped_and_named() -> None:
    with pytest.raises(ProbeBroken, match=r"\(a\+\)\+\$.* took over .*nested repetition"):
        matches(r"^(a|aa)+(a+)+$", "a" * 5000 + "b")


def test_only_the_beginning_of_an_endless_answer_is_looked_at() -> None:
    assert not matches("end", "x" * INPUT + "end")


def test_what_is_wrong_with_a_pattern_is_said_and_nothing_of_a_good_one() -> None:
    assert "missing )" in fault("(a")
    assert fault("(a)") == ""
