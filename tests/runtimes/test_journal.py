"""Reading a journal while it is rotated: whatever happens between listing the files and opening them, no line is missed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcpwatch import journal
from mcpwatch.runtimes.stamping import Limits, Stream

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
        self._stream = Stream(self.folder, "stdout", Limits(max_bytes=max_bytes, keep=1_000_000, max_age=1e9))
        self.count = 0

    def write(self, lines: int = 1) -> None:
        for _ in range(lines):
            with (self.folder / "stdout.raw").open("ab") as file:
                file.write(b"line %d\n" % self.count)
            self._stream.bite(EPOCH + self.count)
            self.count += 1

    def rotate(self) -> None:
        limits, self._stream.limits = self._stream.limits, Limits(max_bytes=1, keep=1_000_000, max_age=1e9)
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
