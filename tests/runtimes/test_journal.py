"""Reading a journal while it is rotated: whatever happens between listing the files and opening them, no line is missed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpwatch import journal
from mcpwatch.runtimes.log_stamper import LogStamper, RotationLimits

EPOCH = 1_700_000_000.0
_armed: dict[str, Callable[[], None]] = {}


def _before_open(event: str, args: tuple[Any, ...]) -> None:
    """Runs once, right before the armed file is opened. An audit hook stays for good, so it rests when nothing is armed."""
    if event == "open" and _armed and isinstance(args[0], str):
        act = _armed.pop(args[0], None)
        if act is not None:
            act()


sys.addaudithook(_before_open)


class Written:
    """A stream of `time` whose lines are counted, rotated when told."""

    def __init__(self, state: Path, max_bytes: int = 1 << 30) -> None:
        self.folder = state / "logs" / "time"
        self.folder.mkdir(parents=True)
        self._stream = LogStamper(self.folder, "stdout", RotationLimits(max_bytes=max_bytes, keep=1_000_000, max_age=1e9))
        self.count = 0

    def write(self, lines: int = 1) -> None:
        for _ in range(lines):
            with (self.folder / "stdout.raw").open("ab") as file:
                file.write(b"line %d\n" % self.count)
            self._stream.bite(EPOCH + self.count)
            self.count += 1

    def rotate(self) -> None:
        limits, self._stream.limits = self._stream.limits, RotationLimits(max_bytes=1, keep=1_000_000, max_age=1e9)
        self.write()
        self._stream.limits = limits

    def rotate_before_open(self, more: int) -> None:
        """Right before the live file is opened, write and rotate, then write some more."""

        def act() -> None:
            self.write(2)
            self.rotate()
            self.write(more)

        _armed[str(self.folder / "stdout.log")] = act

    def close(self) -> None:
        _armed.clear()
        self._stream.close()


@pytest.fixture
def written(tmp_path: Path):
    made = Written(tmp_path)
    yield made
    made.close()


def all_of(written: Written) -> list[str]:
    return [f"line {number}" for number in range(written.count)]


@pytest.mark.parametrize("more", [0, 3])
def test_a_follower_misses_nothing_that_was_rotated_before_it_could_open_it(tmp_path: Path, written: Written, more: int):
    written.write(3)
    follower = journal.Follower(tmp_path, "time", {"stdout": None})
    seen = [line.text for line in follower.poll()]
    written.rotate()
    written.write(2)
    written.rotate_before_open(more)
    seen += [line.text for line in follower.poll()]
    assert not _armed, "it was rotated at the worst moment"
    seen += [line.text for line in follower.poll()]
    follower.close()
    assert seen == all_of(written)


def test_a_follower_reads_a_rotated_file_to_its_end_however_much_was_left(tmp_path: Path, written: Written):
    written.write(3)
    follower = journal.Follower(tmp_path, "time", {"stdout": None})
    seen = [line.text for line in follower.poll(5)]
    written.write(40)
    written.rotate()
    written.write(2)
    while lines := follower.poll(5):
        seen += [line.text for line in lines]
    follower.close()
    assert seen == all_of(written)


@pytest.mark.parametrize("since", [None, EPOCH])
def test_reading_shows_what_was_rotated_before_it_could_be_opened(tmp_path: Path, written: Written, since: float | None):
    written.write(5)
    written.rotate_before_open(1)
    lines = journal.read(tmp_path, "time", ("stdout",), n=100, since=since)
    assert not _armed
    assert [line.text for line in lines] == all_of(written)
    written.rotate_before_open(0)
    assert journal.newest(tmp_path, "time", "stdout") == pytest.approx(EPOCH + written.count - 1)


@pytest.mark.timeout(180)
def test_following_shows_each_line_once_while_another_thread_writes_and_rotates(tmp_path: Path):
    written = Written(tmp_path, max_bytes=300)
    written.write(1)
    thread = threading.Thread(target=written.write, args=(800,))
    lines = journal.follow(tmp_path, "time", ("stdout",), n=10)
    seen = [next(lines).text]  # from here on it follows
    thread.start()
    seen += [next(lines).text for _ in range(800)]
    thread.join(30)
    written.close()
    assert seen == [f"line {number}" for number in range(801)]


class Halved:
    """A stream of `time` between its two writes: lines are in the log, and the cursor does not say so yet."""

    def __init__(self, state: Path, ahead: int, *, torn: bool = False) -> None:
        self.folder = state / "logs" / "time"
        self.folder.mkdir(parents=True)
        stream = LogStamper(self.folder, "stdout", RotationLimits())
        self._append("raw", b"".join(b"line %d\n" % number for number in range(3)))
        stream.bite(EPOCH)
        stream.close()
        self.cursor = (self.folder / "stdout.cursor").read_bytes()
        self._append("raw", b"".join(b"line %d\n" % number for number in range(3, 8)))
        for number in range(3, 3 + ahead):
            self._append("log", f"{journal.stamp(EPOCH + number)} line {number}\n".encode())
        if torn:
            self._append("log", journal.stamp(EPOCH + 9).encode() + b" li")

    def _append(self, suffix: str, data: bytes) -> None:
        with (self.folder / f"stdout.{suffix}").open("ab") as file:
            file.write(data)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
@pytest.mark.parametrize(("n", "since", "first"), [(None, None, 0), (100, None, 0), (4, None, 4), (None, EPOCH + 3, 3)])
def test_a_line_in_the_log_that_the_cursor_does_not_know_is_shown_once(
    tmp_path: Path, ahead: int, torn: bool, n: int | None, since: float | None, first: int
):
    Halved(tmp_path, ahead, torn=torn)
    shown = [line.text for line in journal.read(tmp_path, "time", n=n, since=since)]
    assert shown == [f"line {number}" for number in range(first, 8)]


def test_a_line_stamped_between_reading_the_log_and_reading_the_rest_is_shown_once(tmp_path: Path, written: Written):
    written.write(3)
    _armed[str(written.folder / "stdout.raw")] = lambda: written.write(2)
    lines = journal.read(tmp_path, "time", ("stdout",), n=None)
    assert not _armed
    assert [line.text for line in lines] == all_of(written)


def test_a_cursor_seen_half_written_shows_nothing_twice(tmp_path: Path, written: Written):
    written.write(3)
    cursor = written.folder / "stdout.cursor"
    whole = cursor.read_bytes()
    cursor.write_bytes(whole[:9] + b"7" + whole[10:])

    def finish() -> None:
        cursor.write_bytes(whole)

    _armed[str(written.folder / "stdout.raw")] = finish
    lines = journal.read(tmp_path, "time", ("stdout",), n=None)
    assert [line.text for line in lines] == all_of(written)


def test_a_progress_bar_s_carriage_returns_stay_within_its_line(tmp_path: Path, written: Written):
    with (written.folder / "stdout.raw").open("ab") as file:
        file.write(b"10%\r50%\r100%\n")
    written.write(1)
    expected = ["10%\r50%\r100%", "line 0"]
    assert [line.text for line in journal.read(tmp_path, "time", n=2)] == expected
    assert [line.text for line in journal.read(tmp_path, "time", n=None)] == expected


def test_the_last_lines_of_a_long_time_without_a_watchdog_are_the_last(tmp_path: Path, written: Written):
    written.write(1)
    with (written.folder / "stdout.raw").open("ab") as file:
        file.write(b"".join(b"late %d\n" % number for number in range(300_000)))
    lines = journal.read(tmp_path, "time", n=2)
    assert [line.text for line in lines] == ["late 299998", "late 299999"]


def test_what_was_written_before_the_moment_asked_for_is_not_shown_though_nobody_stamped_it(tmp_path: Path, written: Written):
    written.write(1)
    raw = written.folder / "stdout.raw"
    with raw.open("ab") as file:
        file.write(b"late\n")
    changed = raw.stat().st_mtime
    assert [line.text for line in journal.read(tmp_path, "time", since=changed - 1)] == ["late"]
    assert journal.read(tmp_path, "time", since=changed + 1) == []


def test_following_shows_a_line_once_that_was_written_within_one_tick_of_the_file_s_clock(tmp_path: Path, written: Written):
    """A file's time can lie before the stamp of an older line: what is not stamped yet must wait for its stamp."""
    written.write(2)
    raw = written.folder / "stdout.raw"
    with raw.open("ab") as file:
        file.write(b"late\n")
    os.utime(raw, (EPOCH, EPOCH))
    lines = journal.follow(tmp_path, "time", ("stdout",), n=10)
    seen = [next(lines).text for _ in range(2)]
    written.count = 7
    written.write(1)
    seen += [next(lines).text for _ in range(2)]
    assert seen == ["line 0", "line 1", "late", "line 7"]
