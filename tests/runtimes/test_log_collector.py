"""The log collector and the journal: each line stamped once, whoever dies; rotation, huge lines, full disks, following."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch import journal
from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.model.spec import Plan
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.log_collector import LogCollector
from mcpwatch.runtimes.log_stamper import LogStamper, MemberLogsSpec, RotationLimits, limits_of
from tests.runtimes.bench import WAIT, next_exit, python, running, until

pytestmark = pytest.mark.anyio


def write(state: Path, data: bytes, member: str = "time", stream: str = "stdout") -> None:
    folder = state / "logs" / member
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{stream}.raw").open("ab") as file:
        file.write(data)


def texts(state: Path, n: int | None = None, member: str = "time", stream: str = "stdout") -> list[str]:
    return [line.text for line in journal.read(state, member, (stream,), n)]


def stamped(state: Path, stream: str = "stdout") -> list[str]:
    """What stands in the log files, in the order of the files."""
    found: list[str] = []
    for path in journal.files(state / "logs/time", stream):
        found += [line[journal.STAMP + 1 :] for line in path.read_text().splitlines()]
    return found


def told(facts: list[Fact]) -> list[tuple[str, bool]]:
    return [(fact.subject, fact.cleared) for fact in facts if isinstance(fact, Troubled)]


@asynccontextmanager
async def keeping(
    state: Path, facts: list[Fact] | None = None, off: str = "", free: Callable[[Path], int] | None = None
) -> AsyncGenerator[LogCollector]:
    collector = LogCollector(state, (facts if facts is not None else []).append, features=detect(off), free=free)
    task = asyncio.get_running_loop().create_task(collector.run())
    try:
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        collector.close()


@pytest.mark.parametrize("off", ["", "inotify"])
async def test_what_a_member_writes_is_stamped_as_it_comes(tmp_path: Path, off: str) -> None:
    async with keeping(tmp_path, off=off):
        write(tmp_path, b"one\ntwo\n")
        await until(lambda: stamped(tmp_path) == ["one", "two"])
        write(tmp_path, b"three\n")
        await until(lambda: stamped(tmp_path) == ["one", "two", "three"])
    ats = [line.at for line in journal.read(tmp_path, "time")]
    assert ats == sorted(set(ats))
    assert abs(ats[-1] - time.time()) < WAIT


async def test_a_real_member_s_output_of_both_streams_comes_out_in_order(tmp_path: Path) -> None:
    code = "import sys\nfor i in range(500): print('o', i); print('e', i, file=sys.stderr)\nsys.stdout.write('no end of line')"
    async with running(tmp_path) as runtime, keeping(tmp_path) as collector:
        events = runtime.watch()
        for generation in (1, 2):
            await runtime.start(python(code=code), generation)
            await next_exit(events)
        await collector.drain()
    once = [f"o {i}" for i in range(500)]
    assert stamped(tmp_path) == [*once, "no end of line"] * 2
    assert stamped(tmp_path, "stderr") == [f"e {i}" for i in range(500)] * 2
    assert texts(tmp_path)[-1] == "no end of line"


async def test_the_raw_file_is_given_back_to_the_disk(tmp_path: Path) -> None:
    async with keeping(tmp_path) as collector:
        write(tmp_path, b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
        for _ in range(20):
            write(tmp_path, (b"z" * 99 + b"\n") * 1000)
        await collector.drain()
    info = (tmp_path / "logs/time/stdout.raw").stat()
    assert info.st_size == 2_000_200
    assert info.st_blocks * 512 <= 2 * 4096


async def test_where_holes_cannot_be_punched_the_raw_file_is_cut_at_times_and_nothing_is_lost(tmp_path: Path) -> None:
    raw, lines = tmp_path / "logs/time/stdout.raw", [f"line {i} {'x' * 1000}" for i in range(3000)]
    sizes: list[int] = []
    async with keeping(tmp_path, off="holes") as collector:
        for start in range(0, 3000, 300):
            write(tmp_path, "".join(f"{line}\n" for line in lines[start : start + 300]).encode())
            await collector.drain()
            sizes.append(raw.stat().st_size)
    assert max(sizes) < 2 << 20
    assert 0 in sizes
    assert texts(tmp_path) == lines


async def test_a_line_of_ten_megabytes_is_cut_in_marked_parts_and_loses_no_byte(tmp_path: Path) -> None:
    line = os.urandom(5 << 20).hex()
    async with keeping(tmp_path) as collector:
        write(tmp_path, line.encode() + b"\nnext\n")
        await collector.drain()
    *parts, after = stamped(tmp_path)
    assert after == "next"
    assert "".join(part.removesuffix(journal.CONTINUES) for part in parts) == line
    assert all(len(part) <= journal.LINE_LIMIT + len(journal.CONTINUES) for part in parts)


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", "é".encode(), b"b" * 40_000, "ü".encode() * 33_000, b"\xff"])))
def test_lines_are_cut_the_same_however_the_bytes_arrive(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    whole = journal.cut(data)
    at, stepwise = 0, list[tuple[int, bytes]]()
    while lines := journal.cut(data[at:]):
        stepwise.append(lines[0])
        at += lines[0][0]
    assert stepwise == whole
    assert all(len(text) <= journal.LINE_LIMIT + len(journal.CONTINUES) for _, text in whole)


KILLER = """
import os, random, sys, time
from pathlib import Path
from mcpwatch.journal import read_cursor
from mcpwatch.runtimes.log_stamper import LogStamper, RotationLimits
folder, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
(folder / "ready").write_text("1")
cursor, before = folder / "stdout.cursor", None
for _ in range(kills):
    collector = os.fork()
    if not collector:
        stream = LogStamper(folder, "stdout", RotationLimits(max_bytes=3000, keep=100_000))
        while True:
            if not stream.bite(time.time()):
                time.sleep(0.0002)
    while read_cursor(cursor) in (None, before):
        time.sleep(0.0005)
    before = read_cursor(cursor)
    time.sleep(chance.random() * 0.008)
    os.kill(collector, 9)
    os.waitpid(collector, 0)
(folder / "done").write_text("1")
"""

WRITER = """
import os, sys, time
fd = os.open(sys.argv[1] + "/stdout.raw", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
i = 0
while not os.path.exists(sys.argv[1] + "/ready"):
    time.sleep(0.001)
while not os.path.exists(sys.argv[1] + "/done"):
    for i in range(i, i + 20):
        os.write(fd, b"line %d of many\\n" % i)
    i += 1
    time.sleep(0.002)
print(i)
"""


@contextmanager
def beside(code: str, *argv: str) -> Generator[subprocess.Popen[str]]:
    """A program that runs beside the test; whatever becomes of the test, nobody of its session outlives it."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def collector_killed(state: Path, kills: int, seed: int) -> None:
    """A member that writes all the time, and a collector that is killed with SIGKILL again and again while it stamps."""
    folder = state / "logs/time"
    folder.mkdir(parents=True)
    with beside(WRITER, str(folder)) as writer, beside(KILLER, str(folder), str(kills), str(seed)) as killer:
        assert killer.wait() == 0
        lines = int(writer.communicate()[0])
    stream = LogStamper(folder, "stdout", RotationLimits(max_bytes=3000, keep=100_000))
    while stream.bite(time.time()):
        pass
    stream.close()
    assert lines > kills
    assert stamped(state) == [f"line {i} of many" for i in range(lines)]
    assert len(journal.files(folder, "stdout")) > 3
    stamps = [line.at for line in journal.read(state, "time", n=None)]
    assert stamps == sorted(set(stamps))


@pytest.mark.slow
def test_a_collector_killed_again_and_again_neither_loses_nor_doubles_a_line(tmp_path: Path) -> None:
    collector_killed(tmp_path, kills=25, seed=1)


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_collector_killed_two_thousand_times_neither_loses_nor_doubles_a_line(tmp_path: Path) -> None:
    collector_killed(tmp_path, kills=2000, seed=2)


def test_a_test_of_the_collector_that_fails_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves_one = "import os, sys, time\nif not os.fork():\n time.sleep(600)\nopen(sys.argv[1] + '/ready', 'w')\nsys.exit(3)"
    monkeypatch.setattr(sys.modules[__name__], "KILLER", leaves_one)
    with pytest.raises(AssertionError):
        collector_killed(tmp_path, kills=1, seed=1)
    deadline = time.monotonic() + 10.0
    while left(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)  # who was killed may still be ending
    assert left(str(tmp_path)) == []


def left(word: str) -> list[Path]:
    """The processes whose command line has this word."""
    found: list[Path] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            found += [entry] if entry.name.isdecimal() and word.encode() in (entry / "cmdline").read_bytes() else []
    return found


@pytest.mark.parametrize("lines_ahead", [0, 1, 7])
def test_lines_in_the_log_that_the_cursor_does_not_know_are_not_stamped_again(tmp_path: Path, lines_ahead: int) -> None:
    """What a SIGKILL between the two writes leaves, made by hand; the last line is torn, as a full disk may leave it."""
    write(tmp_path, b"a\n")
    folder = tmp_path / "logs/time"
    first = LogStamper(folder, "stdout", RotationLimits())
    first.bite(1000.0)
    first.close()
    cursor = (folder / "stdout.cursor").read_bytes()
    write(tmp_path, b"".join(b"line %d\n" % i for i in range(10)))
    with (folder / "stdout.log").open("ab") as log:
        for i in range(lines_ahead):
            log.write(f"{journal.stamp(1001.0 + i)} line {i}\n".encode())
        log.write(journal.stamp(1050.0).encode() + b" line")
    assert (folder / "stdout.cursor").read_bytes() == cursor
    again = LogStamper(folder, "stdout", RotationLimits())
    again.bite(2000.0)
    again.close()
    assert stamped(tmp_path) == ["a", *(f"line {i}" for i in range(10))]


async def test_files_rotate_by_size_and_age_keep_their_name_and_are_dropped_when_too_many(tmp_path: Path) -> None:
    stream = LogStamper(tmp_path / "logs/time", "stdout", RotationLimits(max_bytes=400, max_age=60, keep=3))
    for i in range(100):
        write(tmp_path, b"0123456789 %d\n" % i)
        stream.bite(1_700_000_000.0 + i)
    stream.close()
    paths = journal.files(tmp_path / "logs/time", "stdout")
    assert len(paths) == 4
    for path in paths[:-1]:
        first = path.read_text()[: journal.STAMP]
        assert path.name == journal.rotated_name("stdout", first)
        assert path.stat().st_size <= 460
    kept = stamped(tmp_path)
    assert kept == [f"0123456789 {i}" for i in range(100 - len(kept), 100)]
    old = LogStamper(tmp_path / "logs/time", "stdout", RotationLimits(max_age=60))
    write(tmp_path, b"later\n")
    old.bite(1_700_000_500.0)
    write(tmp_path, b"much later\n")
    old.bite(1_700_000_600.0)
    old.close()
    assert len(journal.files(tmp_path / "logs/time", "stdout")) == 5


@pytest.mark.parametrize("set_on", [0.0, 4_000_000.0], ids=["that passes", "that is set on"])
async def test_lines_are_dropped_after_a_time_that_passes_and_not_after_one_by_which_the_clock_is_set(
    tmp_path: Path, set_on: float
) -> None:
    boot = 1000.0
    stream = LogStamper(tmp_path / "logs/time", "stdout", RotationLimits(max_age=60, keep_age=3600), boot=lambda: boot)
    now = time.time()

    def passes(seconds: float, by: float = 0.0) -> None:
        nonlocal boot, now
        boot, now = boot + seconds, now + seconds + by

    write(tmp_path, b"one\n")
    stream.bite(now)
    passes(61.0)
    write(tmp_path, b"one\n")
    stream.bite(now)  # this file is whole
    passes(*((100.0, set_on) if set_on else (4000.0,)))
    for _ in range(2):
        write(tmp_path, b"two\n")
        stream.bite(now)
        passes(61.0)
    stream.close()
    assert ("one" in stamped(tmp_path)) is bool(set_on)


async def test_the_file_s_limits_take_effect_on_what_is_already_open(tmp_path: Path) -> None:
    spec = MemberLogsSpec.model_validate({"max_size": "1KiB", "keep": 2, "max_age": "1h", "keep_age": "1d"})
    limits = limits_of(Plan(sections=(("logs", spec),)))
    assert limits == RotationLimits(1024, 3600.0, 2, 86400.0)
    assert limits_of(Plan()) == RotationLimits()
    async with keeping(tmp_path) as collector:
        for turn in range(6):
            write(tmp_path, b"x" * 600 + b"\n" + b"y" * 600 + b"\n")
            await collector.drain()
            if turn == 0:
                assert len(journal.files(tmp_path / "logs/time", "stdout")) == 1
                collector.retune(limits)
    assert len(journal.files(tmp_path / "logs/time", "stdout")) == 3


async def test_stamps_rise_when_the_clock_steps_back(tmp_path: Path) -> None:
    for now in (5000.0, 1000.0):
        stream = LogStamper(tmp_path / "logs/time", "stdout", RotationLimits())
        write(tmp_path, b"x\n")
        stream.bite(now)
        stream.close()
    first, second = (line.at for line in journal.read(tmp_path, "time"))
    assert 0 < second - first < 0.001


async def test_a_full_disk_stops_logging_not_the_member_and_is_told_and_recovers(tmp_path: Path) -> None:
    room = [1]
    facts: list[Fact] = []
    async with keeping(tmp_path, facts, free=lambda _: room[0]) as collector:
        write(tmp_path, b"before\n")
        await collector.drain()
        room[0] = 0
        write(tmp_path, b"lost\n" * 5000)
        await collector.drain()
        assert told(facts) == [("logs", False)]
        assert (tmp_path / "logs/time/stdout.raw").stat().st_blocks * 512 <= 2 * 4096
        room[0] = 1
        write(tmp_path, b"after\n")
        await collector.drain()
        assert told(facts) == [("logs", False), ("logs", True)]
    assert stamped(tmp_path) == ["before", "[mcpwatch: 5000 lines were not logged, the disk was full]", "after"]


@pytest.mark.needs("root")
async def test_a_disk_that_is_really_full_keeps_whole_lines_takes_back_a_torn_one_and_goes_on_later(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True)  # noqa: ASYNC221
    try:
        facts: list[Fact] = []
        async with keeping(tmp_path, facts, free=lambda _: 1) as collector:
            write(tmp_path, b"start\n")
            await collector.drain()
            ballast = tmp_path / "ballast"
            ballast.write_bytes(b"b" * (180 << 10))
            lines = [f"line {i} {'x' * 200}" for i in range(300)]
            write(tmp_path, "".join(f"{line}\n" for line in lines).encode())
            await collector.drain()
            assert told(facts) == [("logs", False)]
            follower = journal.Follower(tmp_path, "time", {"stdout": None})
            seen = [line.text for line in follower.poll(1000)]
            assert seen == stamped(tmp_path)
            assert seen == ["start", *lines][: len(seen)] != ["start", *lines]
            assert texts(tmp_path) == ["start", *lines]
            ballast.unlink()
            await collector.drain()
            assert told(facts)[-1] == ("logs", True)
            assert stamped(tmp_path) == ["start", *lines]
            assert seen + [line.text for line in follower.poll(1000)] == ["start", *lines]
            follower.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)  # noqa: ASYNC221


def fill(state: Path, count: int, max_bytes: int = 2000) -> LogStamper:
    """A journal of `count` lines, one a second from 1,700,000,000 on."""
    stream = LogStamper(state / "logs/time", "stdout", RotationLimits(max_bytes=max_bytes, keep=1000, max_age=1e9))
    for i in range(count):
        write(state, b"line %d\n" % i)
        stream.bite(1_700_000_000.0 + i)
    return stream


async def test_reading_crosses_rotations_by_number_and_by_time(tmp_path: Path) -> None:
    fill(tmp_path, 300).close()
    assert len(journal.files(tmp_path / "logs/time", "stdout")) > 4
    assert texts(tmp_path, 130) == [f"line {i}" for i in range(170, 300)]
    since = journal.read(tmp_path, "time", n=None, since=1_700_000_123.0)
    assert [line.text for line in since] == [f"line {i}" for i in range(123, 300)]
    assert [line.text for line in journal.read(tmp_path, "time", n=2, since=1_700_000_123.0)] == ["line 298", "line 299"]
    assert journal.read(tmp_path, "nobody") == []


async def test_a_follower_reads_on_across_rotations_from_wherever_it_was_saved(tmp_path: Path) -> None:
    stream = fill(tmp_path, 50)
    follower = journal.Follower(tmp_path, "time", {"stdout": None})
    seen = [line.text for line in follower.poll(limit=7)]
    for start, end in ((50, 120), (120, 190), (190, 200)):
        for i in range(start, end):
            write(tmp_path, b"line %d\n" % i)
            stream.bite(1_700_000_000.0 + i)
        if start == 50:  # a new reader goes on where the saved position says
            position = follower.position()
            follower.close()
            follower = journal.Follower(tmp_path, "time", {"stdout": position["stdout"]})
        while lines := follower.poll(limit=9):
            seen += [line.text for line in lines]
    follower.close()
    stream.close()
    assert len(journal.files(tmp_path / "logs/time", "stdout")) > 3
    assert list(dict.fromkeys(seen)) == seen
    assert seen[:120] == [f"line {i}" for i in range(120)]
    assert set(seen) == {f"line {i}" for i in range(200)}


async def test_what_nobody_has_stamped_yet_is_still_shown(tmp_path: Path) -> None:
    fill(tmp_path, 3).close()
    write(tmp_path, b"while no watchdog ran\n")
    assert texts(tmp_path) == ["line 0", "line 1", "line 2", "while no watchdog ran"]


def test_the_journal_imports_nothing_but_the_standard_library() -> None:
    heavy = {"asyncio", "pydantic", "psutil", "anyio"}
    code = f"import sys, mcpwatch.journal; print(sorted(m for m in sys.modules if m.split('.')[0] in {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_turn_that_is_cancelled_and_the_drain_after_it_never_stamp_at_once(tmp_path: Path) -> None:
    inside, most, both, began = 0, 0, threading.Event(), threading.Event()

    def free(_: Path) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        began.set()
        if inside > 1:
            both.set()
        both.wait(0.3)  # stays until a second thread is here too, or surely will not come
        inside -= 1
        return 1

    write(tmp_path, b"line\n")
    collector = LogCollector(tmp_path, lambda _: None, free=free)
    running = asyncio.create_task(collector.run())
    assert await asyncio.to_thread(began.wait, 30)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await collector.drain()
    collector.close()
    assert most == 1
    assert texts(tmp_path) == ["line"]
