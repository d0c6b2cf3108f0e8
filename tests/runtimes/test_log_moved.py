"""Log files that logrotate or a person moves away, in each way that is usual: what comes later is at the old place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpwatch import journal
from mcpwatch.journal.follow import Follower
from mcpwatch.model.fact import Fact, Troubled
from tests.runtimes.bench import until
from tests.runtimes.test_log_collector import keeping, stamped

pytestmark = pytest.mark.anyio

Move = Callable[[Path], Path]
"""Moves a file away. Returns where it is now."""


def beside(path: Path) -> Path:
    return path.rename(path.with_name(f"{path.name}.1"))


def elsewhere(path: Path) -> Path:
    return path.rename(path.parents[2] / "kept")


def with_another(path: Path) -> Path:
    kept = beside(path)
    path.touch()
    return kept


def by_a_copy(path: Path) -> Path:
    kept = path.with_name(f"{path.name}.1")
    shutil.copy(path, kept)
    os.truncate(path, 0)
    return kept


def texts_of(path: Path) -> list[str]:
    return [line[journal.STAMP + 1 :] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("move", [beside, elsewhere, with_another, by_a_copy])
@pytest.mark.parametrize("off", ["", "inotify"])
async def test_lines_after_a_log_was_moved_away_are_at_the_old_place_and_those_before_where_it_is_now(
    tmp_path: Path, move: Move, off: str
) -> None:
    facts: list[Fact] = []
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    follower = Follower(tmp_path, "time", {"stdout": None})
    async with keeping(tmp_path, facts, off=off) as collector:
        with (folder / "stdout.raw").open("ab", buffering=0) as member:
            member.write(b"one\ntwo\n")
            await until(lambda: stamped(tmp_path) == ["one", "two"])
            assert [line.text for line in follower.poll()] == ["one", "two"]
            kept = move(folder / "stdout.log")
            assert follower.poll() == []
            member.write(b"three\n")
            await until(lambda: stamped(tmp_path) == ["three"])
            member.write(b"four\n")
            await collector.drain()
        assert texts_of(kept) == ["one", "two"]
        assert texts_of(folder / "stdout.log") == ["three", "four"]
        assert [line.text for line in follower.poll()] == ["three", "four"]
    follower.close()
    assert not [fact for fact in facts if isinstance(fact, Troubled)]
    async with keeping(tmp_path) as collector:
        await collector.drain()
    assert stamped(tmp_path) == ["three", "four"], "the next watchdog stamps none of them again"


@pytest.mark.parametrize("move", [beside, elsewhere, with_another])
@pytest.mark.parametrize("name", ["stdout.raw", "stdout.cursor"])
async def test_a_raw_file_or_a_cursor_that_was_moved_away_costs_no_line_of_a_member_that_writes_on(
    tmp_path: Path, move: Move, name: str
) -> None:
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    with (folder / "stdout.raw").open("ab", buffering=0) as member:
        async with keeping(tmp_path) as collector:
            member.write(b"one\n")
            await until(lambda: stamped(tmp_path) == ["one"])
            move(folder / name)
            member.write(b"two\n")
            await until(lambda: stamped(tmp_path) == ["one", "two"])
            member.write(b"three\n")
            await collector.drain()
        if move is not with_another or name != "stdout.raw":
            member.write(b"without a watchdog\n")
            async with keeping(tmp_path) as collector:
                await collector.drain()
            assert stamped(tmp_path) == ["one", "two", "three", "without a watchdog"]


async def test_a_raw_file_that_was_replaced_is_read_on_once_another_incarnation_writes_to_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    raw = folder / "stdout.raw"
    async with keeping(tmp_path) as collector:
        with raw.open("ab", buffering=0) as member:
            member.write(b"one\n")
            await until(lambda: stamped(tmp_path) == ["one"])
            with_another(raw)
            member.write(b"two\n")
            await until(lambda: stamped(tmp_path) == ["one", "two"])
        with raw.open("ab", buffering=0) as member:
            member.write(b"three\n")
            await until(lambda: stamped(tmp_path) == ["one", "two", "three"])
        await collector.drain()


async def test_the_folder_of_a_member_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "time"
    folder.mkdir(parents=True)
    async with keeping(tmp_path) as collector:
        with (folder / "stdout.raw").open("ab", buffering=0) as member:
            member.write(b"one\n")
            await until(lambda: stamped(tmp_path) == ["one"])
            kept = folder.rename(tmp_path / "kept")
            member.write(b"two\n")
            await until(lambda: stamped(tmp_path) == ["two"])
            member.write(b"three\n")
            await collector.drain()
    assert texts_of(kept / "stdout.log") == ["one"]
    assert stamped(tmp_path) == ["two", "three"]
