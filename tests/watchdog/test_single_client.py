"""Members that bear one client at a time are found by how they end, and given another chance when they change."""

from __future__ import annotations

from mcpwatch.watchdog.single_client import ProbeDeaths


def deaths(*ends: tuple[str, bool]) -> ProbeDeaths:
    """After these ends of `lone`, in order: its last words, and whether it had just been probed past the proxy."""
    found = ProbeDeaths()
    found.keep({"lone": "v1", "other": "v1"})
    for words, probed in ends:
        found.ended("lone", words, probed=probed)
    return found


def test_two_ends_in_a_row_right_after_a_direct_probe_prove_it_by_its_last_words() -> None:
    assert deaths(("one client only", True)).alone == {}
    assert deaths(("one", True), ("one client only", True)).alone == {"lone": "one client only"}
    assert deaths(("", True), ("", True)).alone == {"lone": "it ended without a word"}


def test_an_end_without_a_probe_begins_the_count_again() -> None:
    assert deaths(("x", True), ("crash", False), ("x", True)).alone == {}
    assert deaths(("crash", False), ("x", True), ("x", True)).alone == {"lone": "x"}


def test_ends_of_one_member_say_nothing_of_another() -> None:
    found = deaths(("x", True))
    found.ended("other", "x", probed=True)
    assert found.alone == {}


def test_a_member_that_is_changed_gets_another_chance_and_one_that_is_not_gets_none() -> None:
    found = deaths(("x", True), ("x", True))
    found.keep({"lone": "v1", "other": "v2"})
    assert found.alone == {"lone": "x"}
    found.keep({"lone": "v2", "other": "v2"})
    assert found.alone == {}
    found.ended("lone", "x", probed=True)
    assert found.alone == {}, "its earlier ends were of another configuration"


def test_a_member_that_leaves_the_plan_is_forgotten() -> None:
    found = deaths(("x", True), ("x", True))
    found.keep({"other": "v1"})
    found.keep({"lone": "v1", "other": "v1"})
    assert found.alone == {}
