"""Lines that a full disk or a flood cost are told in the log, exactly once, wherever the watchdog is killed meanwhile."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mcpwatch import journal
from mcpwatch.journal import StampCursor, cursor_bytes, read_cursor
from mcpwatch.runtimes import log_stamper
from mcpwatch.runtimes.log_stamper import LogStamper, RotationLimits
from tests.runtimes.test_log_collector import stamped, write

TOLD = re.compile(r"\[mcpwatch: (?P<lines>\d+) lines were not logged, (?P<why>.*)\]")
CALLS = ("write", "pwrite", "ftruncate")
"""What changes a file that outlives the watchdog."""


class Killed(BaseException):
    """Nothing runs after it, as after SIGKILL."""


@contextmanager
def killed_at(call: int, *, done: bool) -> Generator[list[int]]:
    """The process ends at its n-th call that changes a file, when that is `done` or before."""
    seen = [0]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            seen[0] += 1
            if seen[0] == call and not done:
                raise Killed
            result = real(*args)
            if seen[0] == call:
                raise Killed
            return result

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield seen


def stream_of(state: Path) -> LogStamper:
    return LogStamper(state / "logs/time", "stdout", RotationLimits(), holes=False, boot=lambda: 0.0)


def bites(stream: LogStamper, *, drop: bool) -> None:
    while stream.bite(1_800_000_000.0, drop=drop):
        pass


class Member:
    """Writes its numbers, one a line."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.written = 0

    def writes(self, lines: int) -> None:
        first, self.written = self.written, self.written + lines
        write(self._state, b"".join(b"%d\n" % number for number in range(first, self.written)))


def full_disk(state: Path, member: Member) -> None:
    """Lines while there is room, while there is none, and again while there is."""
    stream = stream_of(state)
    with suppress(Killed):
        member.writes(3)
        bites(stream, drop=False)
        member.writes(5)
        bites(stream, drop=True)
        member.writes(2)
        bites(stream, drop=True)
        bites(stream, drop=False)
        member.writes(2)
        bites(stream, drop=False)
    stream.close()


def missing(state: Path) -> tuple[list[int], int]:
    """The numbers that stand in the log, and how many lines it says are missing; each gap must be told where it is."""
    numbers: list[int] = []
    untold, told = 0, 0
    for text in stamped(state):
        if (mark := TOLD.fullmatch(text)) is not None:
            untold += int(mark["lines"])
            told += int(mark["lines"])
            continue
        gap = int(text) - (numbers[-1] + 1 if numbers else 0)
        assert 0 <= gap <= untold, f"{text} after {numbers[-1:]}: {stamped(state)}"
        untold -= gap
        numbers.append(int(text))
    assert untold == 0, stamped(state)
    return numbers, told


@pytest.mark.parametrize("done", [False, True], ids=["before a call", "after a call"])
def test_lines_that_a_full_disk_cost_are_told_once_wherever_the_watchdog_is_killed(tmp_path: Path, done: bool) -> None:
    call, through = 0, False
    while not through:
        call += 1
        state = tmp_path / str(call)
        member = Member(state)
        with killed_at(call, done=done) as seen:
            full_disk(state, member)
        through = seen[0] < call
        member.writes(1)
        after = stream_of(state)
        bites(after, drop=False)
        after.close()
        numbers, told = missing(state)
        assert len(numbers) + told == member.written, f"killed at call {call}: {stamped(state)}"
        assert numbers[-1] == member.written - 1
    assert call > 10


def test_a_mark_is_written_when_there_is_room_again_though_the_member_says_nothing_more(tmp_path: Path) -> None:
    write(tmp_path, b"a\nb\n")
    stream = stream_of(tmp_path)
    bites(stream, drop=True)
    stream.close()
    after = stream_of(tmp_path)
    bites(after, drop=False)
    bites(after, drop=False)
    after.close()
    assert stamped(tmp_path) == ["[mcpwatch: 2 lines were not logged, the disk was full]"]


def test_a_flood_is_told_by_the_next_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stamper, "FLOOD", 1000)
    write(tmp_path, b"")
    stream = stream_of(tmp_path)
    bites(stream, drop=False)
    write(tmp_path, b"x\n" * 5000)
    assert stream.bite(1_800_000_000.0)
    stream.close()  # as SIGKILL does, before a line after the flood was stamped
    after = stream_of(tmp_path)
    bites(after, drop=False)
    after.close()
    (told,) = (mark for text in stamped(tmp_path) if (mark := TOLD.fullmatch(text)))
    assert told["why"] == "they came faster than they can be kept"
    assert int(told["lines"]) + stamped(tmp_path).count("x") == 5000


@pytest.mark.parametrize("note", [False, True])
@pytest.mark.parametrize("flood", [False, True])
@pytest.mark.parametrize("dropped", [0, 1, 10**9])
def test_a_cursor_is_read_as_it_was_written(tmp_path: Path, note: bool, flood: bool, dropped: int) -> None:
    cursor = StampCursor(1, 2, 3, 4, note, dropped, flood)
    (tmp_path / "c").write_bytes(cursor_bytes(cursor))
    assert read_cursor(tmp_path / "c") == cursor
    assert len(cursor_bytes(cursor)) == 128


def test_a_raw_file_that_was_replaced_costs_no_word_about_lines_dropped_before(tmp_path: Path) -> None:
    write(tmp_path, b"a\nb\n")
    stream = stream_of(tmp_path)
    bites(stream, drop=True)
    stream.close()
    raw = journal.directory(tmp_path, "time") / "stdout.raw"
    raw.rename(raw.with_suffix(".old"))
    write(tmp_path, b"c\n")
    after = stream_of(tmp_path)
    bites(after, drop=False)
    after.close()
    assert stamped(tmp_path) == ["[mcpwatch: 2 lines were not logged, the disk was full]", "c"]
