"""The configuration file is watched: whatever way it becomes another one is told once, and what is beside it tells nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest

from mcpwatch.app import watch
from mcpwatch.app.watch import watch_file

pytestmark = pytest.mark.anyio
PATIENCE = 30.0
LEFT_OPEN: list[TextIO] = []


class Told:
    """How often a change was told, and what was in the file then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._more = asyncio.Event()
        self.texts: list[str] = []

    async def changed(self) -> None:
        self.texts.append(self._file.read_text(encoding="utf-8"))
        self._more.set()

    async def until(self, text: str) -> None:
        """Return when the file was told as holding this."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.texts:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def watched(file: Path) -> AsyncGenerator[Told]:
    told, looked = Told(file), asyncio.Event()
    mark = watch.mark_of

    def marked(path: Path) -> watch.Mark | None:
        looked.set()
        return mark(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "mark_of", marked)
        task = asyncio.create_task(watch_file(file, told.changed, settle=0.01, poll=0.01))
        async with asyncio.timeout(PATIENCE):
            await looked.wait()
    try:
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _written(file: Path) -> None:
    file.write_text("two!", encoding="utf-8")


def _replaced(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_text("two!", encoding="utf-8")
    other.replace(file)


def _away_and_back(file: Path) -> None:
    file.unlink()
    file.write_text("two!", encoding="utf-8")


def _directory_made_again(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.mkdir()
    file.write_text("two!", encoding="utf-8")


def _directory_moved(file: Path) -> None:
    file.parent.rename(file.parent.with_name("old"))
    file.parent.mkdir()
    file.write_text("two!", encoding="utf-8")


def _written_and_left_open(file: Path) -> None:
    LEFT_OPEN.append(file.open("w", encoding="utf-8"))
    LEFT_OPEN[-1].write("two!")
    LEFT_OPEN[-1].flush()


def _no_watch(fd: int, path: Path, mask: int) -> int | None:
    del fd, path, mask
    return None


@pytest.mark.parametrize(
    "change", [_written, _written_and_left_open, _replaced, _away_and_back, _directory_made_again, _directory_moved]
)
@pytest.mark.parametrize("without", ["", "inotify", "watches"])
async def test_a_file_that_became_another_is_told_however_that_was_done(
    change: Callable[[Path], None], without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without == "inotify":
        monkeypatch.setattr(watch, "inotify_open", lambda: None)
    elif without:
        monkeypatch.setattr(watch, "inotify_watch", _no_watch)
    file = tmp_path / "conf" / "fleet.yaml"
    file.parent.mkdir()
    file.write_text("one", encoding="utf-8")
    async with watched(file) as told:
        change(file)
        await told.until("two!")
        assert told.texts == ["two!"]
    while LEFT_OPEN:
        LEFT_OPEN.pop().close()


async def test_a_file_is_told_when_what_it_links_to_changes_or_a_link_on_the_way_leads_elsewhere(tmp_path: Path) -> None:
    """As a mounted ConfigMap has it: the file links into a directory that is itself a link, and that one is replaced."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fleet.yaml").write_text(name, encoding="utf-8")
    here = tmp_path / "conf"
    here.mkdir()
    (here / "..data").symlink_to(tmp_path / "first")
    file = here / "fleet.yaml"
    file.symlink_to("..data/fleet.yaml")
    async with watched(file) as told:
        (tmp_path / "first" / "fleet.yaml").write_text("first, changed", encoding="utf-8")
        await told.until("first, changed")
        (here / "..new").symlink_to(tmp_path / "second")
        (here / "..new").replace(here / "..data")
        await told.until("second")
        assert told.texts == ["first, changed", "second"]


@pytest.mark.parametrize("way", [("current",), ("here", "current"), ("here", "current", "..", "current")], ids="/".join)
async def test_a_file_is_told_when_a_directory_on_its_way_is_a_link_that_leads_elsewhere(
    way: tuple[str, ...], tmp_path: Path
) -> None:
    """As releases have it: a link beside the directories of all of them, far from the file, is replaced."""
    for name in ("first", "second"):
        (tmp_path / "releases" / name).mkdir(parents=True)
        (tmp_path / "releases" / name / "fleet.yaml").write_text(name, encoding="utf-8")
    current = tmp_path / "releases" / "current"
    current.symlink_to("first")
    (tmp_path / "here").symlink_to("releases")
    (tmp_path / "current").symlink_to("releases/current")
    (tmp_path / "aside").mkdir()
    async with watched(tmp_path.joinpath(*way) / "fleet.yaml") as told:
        fresh = tmp_path / "aside" / "new"
        fresh.symlink_to("second")
        fresh.replace(current)
        await told.until("second")


async def test_links_that_lead_to_each_other_are_looked_at_and_followed_no_further(tmp_path: Path) -> None:
    one, other = tmp_path / "fleet.yaml", tmp_path / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    async with watched(one) as told:
        one.unlink()
        one.write_text("two!", encoding="utf-8")
        await told.until("two!")


async def test_what_is_written_beside_it_or_to_it_without_a_change_tells_nothing(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("one", encoding="utf-8")
    async with watched(file) as told:
        (tmp_path / "other").write_text("other", encoding="utf-8")
        with file.open("a", encoding="utf-8"):
            pass  # opened to write, and closed as it was
        os.utime(tmp_path)
        file.write_text("two!", encoding="utf-8")
        await told.until("two!")
        assert told.texts == ["two!"]


async def test_at_rest_nobody_is_woken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the file for each sign in its directory, and none besides."""
    looks = 0
    mark = watch.mark_of

    def counted(path: Path) -> watch.Mark | None:
        nonlocal looks
        looks += 1
        return mark(path)

    file = tmp_path / "fleet.yaml"
    file.write_text("one", encoding="utf-8")
    async with watched(file) as told:
        monkeypatch.setattr(watch, "mark_of", counted)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert looks == 0
        file.write_text("two!", encoding="utf-8")
        await told.until("two!")


async def test_a_directory_that_cannot_be_watched_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "inotify_open", lambda: None)
    file = tmp_path / "fleet.yaml"
    file.write_text("one", encoding="utf-8")
    async with watched(file) as told:
        for text in ("two!", "three", "four"):  # each of another size: the clock of a file system may not tick between two
            file.write_text(text, encoding="utf-8")
            await told.until(text)
    assert [record.getMessage().partition(" cannot")[0] for record in caplog.records] == [str(file)]
