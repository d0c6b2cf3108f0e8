"""What the log collector survives: floods, removed directories, a lost queue of inotify, too few descriptors, a failed rotation."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpwatch import journal
from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.runtimes import log_stamper
from mcpwatch.runtimes.kernel import IN_MODIFY, IN_Q_OVERFLOW, detect, inotify_open, inotify_watch
from mcpwatch.runtimes.log_collector import LogCollector
from mcpwatch.runtimes.log_stamper import LoggingFailed, LogStamper, RotationLimits
from tests.runtimes.bench import until
from tests.runtimes.test_log_collector import keeping, stamped, texts, write

pytestmark = pytest.mark.anyio


def used(folder: Path) -> int:
    """Bytes of disk under a folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("off", ["", "holes"])
async def test_a_flood_stays_within_the_bound_is_counted_in_the_log_and_told_with_the_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    monkeypatch.setattr(log_stamper, "FLOOD", 2 << 20)
    facts: list[Fact] = []
    line = b"x" * 99 + b"\n"
    collector = LogCollector(tmp_path, facts.append, limits=RotationLimits(max_bytes=1 << 20, keep=2), features=detect(off))
    write(tmp_path, b"calm\n")
    await collector.drain()
    write(tmp_path, line * 200_000)  # 20 MB at once
    await collector.drain()
    write(tmp_path, b"the end\n")
    await collector.drain()
    collector.close()
    assert used(tmp_path / "logs") < 8 << 20
    told = [fact for fact in facts if isinstance(fact, Troubled)]
    assert [(fact.member, fact.subject, fact.cleared) for fact in told] == [
        ("time", "logs of time", False),
        ("time", "logs of time", True),
    ]
    assert "writes faster than its output can be kept" in told[0].text
    found = stamped(tmp_path)
    gaps = [text for text in found if "were not logged" in text]
    assert found[-1] == "the end"
    assert len(gaps) == 1
    assert "they came faster than they can be kept" in gaps[0]
    dropped = int(gaps[0].split()[1])
    assert str(dropped) in told[1].text
    assert dropped > 150_000


@pytest.mark.slow
async def test_a_backlog_of_a_time_without_a_watchdog_is_no_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stamper, "FLOOD", 64 << 10)
    write(tmp_path, b"".join(b"%d\n" % number for number in range(100_000)))
    async with keeping(tmp_path) as collector:
        await collector.drain()
    assert texts(tmp_path) == [str(number) for number in range(100_000)]


async def test_the_last_lines_of_a_member_that_wrote_gigabytes_cost_no_more_than_those_of_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    with (folder / "stderr.raw").open("wb") as raw:
        raw.truncate(4 << 30)  # a hole: reading it as a whole would take minutes
        raw.seek(4 << 30)
        raw.write(b"\nfirst\nlast\n")
    begun = time.process_time()
    lines = journal.read(tmp_path, "time", ("stderr",), 20)
    assert time.process_time() - begun < 1.0
    assert [line.text for line in lines][-2:] == ["first", "last"]


@pytest.mark.parametrize("off", ["", "inotify"])
async def test_a_removed_log_directory_is_made_again_and_no_further_line_is_lost(tmp_path: Path, off: str) -> None:
    async with keeping(tmp_path, off=off) as collector:
        folder = tmp_path / "logs" / "time"
        folder.mkdir(parents=True)
        with (folder / "stdout.raw").open("ab", buffering=0) as member:
            member.write(b"before\n")
            await until(lambda: stamped(tmp_path) == ["before"])
            shutil.rmtree(tmp_path / "logs")
            member.write(b"after\n")
            await until(lambda: stamped(tmp_path) == ["after"])
        write(tmp_path, b"of the next incarnation\n")
        await until(lambda: stamped(tmp_path) == ["after", "of the next incarnation"])
        await collector.drain()


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["stdout.raw", "stdout.log", "stdout.cursor"])
@pytest.mark.parametrize("harm", [remove, truncate, by_directory])
async def test_each_file_of_a_log_harmed_in_use_is_mended_or_told_and_logging_goes_on(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    facts: list[Fact] = []
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    async with keeping(tmp_path, facts) as collector:
        with (folder / "stdout.raw").open("ab", buffering=0) as member:
            member.write(b"before\n")
            await until(lambda: stamped(tmp_path) == ["before"])
            harm(folder / name)
            member.write(b"after\n")
            await collector.drain()
            if harm is by_directory and name != "stdout.raw":
                told = [fact.text for fact in facts if isinstance(fact, Troubled)]
                assert told
                assert name.partition(".")[0] in told[0]
                (folder / name).rmdir()
                await collector.drain()
            assert texts(tmp_path)[-1] == "after"
            assert texts(tmp_path).count("after") == 1


async def test_a_lost_queue_of_inotify_costs_no_line(tmp_path: Path) -> None:
    async with keeping(tmp_path) as collector:
        write(tmp_path, b"one\n")
        await until(lambda: stamped(tmp_path) == ["one"])
        read, wrote = os.pipe()
        try:  # what the kernel says when its queue ran over, and nothing else: which file was written to is lost
            os.write(wrote, b"\xff\xff\xff\xff" + IN_Q_OVERFLOW.to_bytes(4, "little") + bytes(8))
            inotify = collector.__dict__["_inotify"]
            os.dup2(read, inotify, inheritable=False)
            write(tmp_path, b"two\n")
            await until(lambda: stamped(tmp_path) == ["one", "two"])
        finally:
            os.close(read)
            os.close(wrote)


def queued() -> int:
    """Events that the kernel keeps for one descriptor of inotify."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))


FILL = """
import os, sys
first, second, last = (os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for path in sys.argv[2:])
for _ in range(int(sys.argv[1])):  # in turn: the kernel takes two events in a row of one file for one
    os.write(first, b"x\\n")
    os.write(second, b"x\\n")
os.write(last, b"two\\n")
"""


async def test_a_queue_of_inotify_that_the_kernel_really_lets_run_over_costs_no_line(tmp_path: Path) -> None:
    most = queued()
    if most > 1 << 18:
        pytest.skip(f"this machine queues {most} events of inotify: too many to fill")
    async with keeping(tmp_path):
        raw = {member: tmp_path / "logs" / member / "stdout.raw" for member in ("a", "b", "time")}
        for member in raw:
            write(tmp_path, b"one\n", member)
        await until(lambda: all(texts(tmp_path, None, member) == ["one"] for member in raw))
        witness = inotify_open()
        assert witness is not None
        try:
            numbers = {member: inotify_watch(witness, path, IN_MODIFY) for member, path in raw.items()}
            # The loop stands still meanwhile, so that nobody takes an event from the queue.
            subprocess.run([sys.executable, "-S", "-c", FILL, str(most // 2 + 1), *map(str, raw.values())], check=True)  # noqa: ASYNC221
            told: set[tuple[int, int]] = set()
            with contextlib.suppress(BlockingIOError):
                while data := os.read(witness, 1 << 20):
                    told |= {(number, mask) for number, mask, _, _ in struct.iter_unpack("=iIII", data)}
        finally:
            os.close(witness)
        assert {(-1, IN_Q_OVERFLOW), (numbers["a"], IN_MODIFY)} <= told
        assert (numbers["time"], IN_MODIFY) not in told, "the write that nobody is told of"
        await until(lambda: stamped(tmp_path) == ["one", "two"])
        await until(lambda: all(len(texts(tmp_path, None, member)) == most // 2 + 2 for member in ("a", "b")))


async def test_more_streams_than_may_be_open_are_all_kept(tmp_path: Path) -> None:
    collector = LogCollector(tmp_path, lambda _: None, most_open=2)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for turn in range(3):
        for member in ("a", "b", "c", "d", "e"):
            write(tmp_path, b"%d\n" % turn, member)
        await collector.drain()
        assert len(os.listdir("/proc/self/fd")) <= before + 6  # noqa: PTH208
    for member in ("a", "b", "c", "d", "e"):
        assert texts(tmp_path, None, member) == ["0", "1", "2"]
    collector.close()


def test_a_log_that_cannot_be_opened_again_after_a_rotation_is_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    stream = LogStamper(folder, "stdout", RotationLimits(max_bytes=10))
    (folder / "stdout.raw").write_bytes(b"a line that is long enough\n")
    real, left, opened = os.open, [1], set[str]()

    def full(path: object, flags: int, mode: int = 0o777) -> int:
        rotated = Path(str(path)).name == "stdout.log" and not (folder / "stdout.log").exists() and "stdout.raw" in opened
        if rotated and left:
            left.pop()
            raise OSError(24, "Too many open files")
        opened.add(Path(str(path)).name)
        return real(str(path), flags, mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(LoggingFailed, match="Too many open files"):
        stream.bite(1_000_000.0)
    with (folder / "stdout.raw").open("ab") as raw:
        raw.write(b"next\n")
    while stream.bite(1_000_001.0):
        pass
    stream.close()
    assert stamped(tmp_path) == ["a line that is long enough", "next"]
