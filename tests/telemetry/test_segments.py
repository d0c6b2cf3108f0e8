from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mcpwatch import journal
from mcpwatch.telemetry import segments
from mcpwatch.telemetry.segments import Position, SegmentSource, read
from tests.telemetry.member_logs import MemberLog


def texts(source: SegmentSource, position: Position | None) -> tuple[list[str], Position | None]:
    """All lines after a position, and the position then."""
    found: list[str] = []
    while chunk := read(source, position):
        found += [line[journal.STAMP + 1 :].decode() for line in chunk.lines]
        size = sum(len(line) + 1 for line in chunk.lines)
        position = Position(chunk.start.segment, chunk.start.offset + size, 0, chunk.start.size)
    return found, position


def test_a_rotation_between_listing_and_reading_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemberLog(tmp_path / "logs")
    source = SegmentSource("fetch", "stderr", log.path.parent)
    log.write("a")
    log.rotate()
    log.write("b")
    first = read(source, None)
    assert first is not None
    position = Position(first.start.segment, first.start.size, 0, first.start.size)
    real, armed = journal.files, [True]

    def rotating(folder: Path, stream: str) -> list[Path]:
        listed = real(folder, stream)
        if armed.pop() if armed else False:
            log.rotate()
            log.write("c")
        return listed

    monkeypatch.setattr(segments.journal, "files", rotating)
    assert texts(source, position)[0] == ["b", "c"]


def test_nothing_is_missed_while_a_writer_rotates_as_fast_as_it_can(tmp_path: Path) -> None:
    log = MemberLog(tmp_path / "logs")
    source = SegmentSource("fetch", "stderr", log.path.parent)
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            log.write(str(number))
            if number % 2:
                log.rotate()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[str] = []
    position: Position | None = None
    last = False
    while True:
        more, position = texts(source, position)
        found += more
        if last:
            break
        last = done.is_set()
    writer.join()
    assert found == [str(number) for number in range(300)]
