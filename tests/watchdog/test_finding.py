"""What a runtime can undo of what its engine tells, and how deep is looked again where nobody asked for more."""

from __future__ import annotations

from mcpwatch.watchdog.finding import Finding, LookAgain, undoing


def test_a_runtime_undoes_a_lost_network_and_nothing_else() -> None:
    assert undoing("network_disconnected") == "resume"
    assert undoing("image_missing") is None


def test_each_step_for_a_finding_may_be_useless_twice_unless_that_says_otherwise() -> None:
    assert Finding("auth", "a", "refused", "member:a").tries == 2


def test_a_second_look_is_by_lists_unless_calls_are_asked_for() -> None:
    assert not LookAgain("fetch").deep
