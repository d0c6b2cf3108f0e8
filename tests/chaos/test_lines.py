"""The harness sees each line that is there twice, and each that is lost, wherever it is and whatever else the log says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcpwatch.runtimes.log_stamper import DISK_FULL
from tests.chaos.lines import NO_ROOM, shortfall

pytestmark = pytest.mark.hypothesis
LIVES = ("7@1", "8@2", "7@3")
"""Three processes, two of one number."""


def mark(lines: int) -> str:
    return f"[mcpwatch: {lines} lines were not logged, {DISK_FULL}]"


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[str], dict[int, int]]:
    """A log as it should be, in which a full disk may have cost lines, and how many answers each number gave."""
    counts, found, full = Counter[str](), list[str](), 0
    for life in draw(st.lists(st.sampled_from(LIVES), min_size=1, max_size=30)):
        if full or draw(st.integers(0, 9)) == 0:
            full = full + 1 if draw(st.booleans()) else 0
        if full:
            dropped = draw(st.integers(1, 3))
            counts[life] += dropped
            found.append(mark(dropped))
        else:
            found.append(f"{life} {counts[life]}")
            counts[life] += 1
    answered = Counter[int]()
    for life, count in counts.items():
        answered[int(life.partition("@")[0])] += count
    return found, dict(answered)


def seen(texts: list[str], answered: dict[int, int]) -> bool:
    """Whether something is found wrong."""
    try:
        return bool(shortfall(texts, answered))
    except AssertionError:
        return True


@given(logs())
def test_a_log_that_is_as_it_should_be_is_well(log: tuple[list[str], dict[int, int]]) -> None:
    assert not seen(*log)


@given(logs(), st.data())
def test_one_line_that_is_there_twice_is_seen_wherever_it_is(log: tuple[list[str], dict[int, int]], data: st.DataObject) -> None:
    texts, answered = log
    members = [index for index, text in enumerate(texts) if not NO_ROOM.fullmatch(text)]
    assume(members)
    first = data.draw(st.sampled_from(members))
    again = data.draw(st.integers(first + 1, len(texts)))
    assert seen([*texts[:again], texts[first], *texts[again:]], answered)


@given(logs(), st.data())
def test_one_line_that_is_lost_is_seen_wherever_it_was(log: tuple[list[str], dict[int, int]], data: st.DataObject) -> None:
    texts, answered = log
    members = [index for index, text in enumerate(texts) if not NO_ROOM.fullmatch(text)]
    assume(members)
    lost = data.draw(st.sampled_from(members))
    assert seen(texts[:lost] + texts[lost + 1 :], answered)


@given(logs())
def test_a_full_disk_that_is_not_told_is_seen(log: tuple[list[str], dict[int, int]]) -> None:
    texts, answered = log
    assume(any(NO_ROOM.fullmatch(text) for text in texts))
    assert seen([text for text in texts if not NO_ROOM.fullmatch(text)], answered)


def test_room_that_the_log_told_of_once_hides_no_line_lost_later() -> None:
    told = [mark(5), "7@1 2", "7@1 3"]
    assert not seen(told, {7: 4})
    assert seen([*told, "7@1 5"], {7: 4}), "three more may be missing, but not here"
    assert seen([*told, "7@1 3"], {7: 4})
