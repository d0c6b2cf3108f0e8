"""A store that cannot be used: broken ones are set aside, others are waited for, and nobody waits with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mcpwatch.model.errors import StoreError
from mcpwatch.model.fact import Troubled
from mcpwatch.model.time import WallTime
from mcpwatch.store import file, sqlite
from mcpwatch.store.history import read_facts
from mcpwatch.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio
WAIT = 30.0


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Held by somebody else for writing and reading, as by a person with a command line of sqlite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO small VALUES ('nobody', 'looks', 'here')")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Another program is in the middle of a write."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def told(text: str) -> Troubled:
    return Troubled(at=WallTime(1.0), text=text, subject="test")


def asides(directory: Path) -> int:
    return len(list(directory.glob("state.db.aside-*")))


async def test_a_store_that_another_program_locks_is_kept_and_used_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT", 0.05)
    monkeypatch.setattr(file, "BUSY_WAIT", 0.05)
    path, said = tmp_path / "state.db", list[str | None]()
    first = SqliteStore(path)
    first.remember("fleet", "down:time", "1")
    first.record(told("before"))
    first.close()
    with locked(path):
        store = SqliteStore(path, said.append)
        assert store.set_aside == ""
        assert store.recall("fleet") == {"down:time": "1"}
        store.record(told("lost"))
        await store.flush()
        assert store.dropped == 1
        assert len(said) == 1
        assert "cannot be used: database is locked" in str(said[0])
    store.record(told("after"))
    await store.flush()
    assert said[1:] == [None]
    store.close()
    assert [fact["text"] for fact in read_facts(path)] == ["before", "after"]
    assert asides(tmp_path) == 0


async def test_a_store_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database" * 100)
    store = SqliteStore(path)
    assert "file is not a database" in store.set_aside
    store.record(told("first"))
    await store.flush()
    store.close()
    assert [fact["text"] for fact in read_facts(path)] == ["first"]
    assert asides(tmp_path) == 1


async def test_what_was_remembered_while_the_store_was_locked_is_told_as_not_on_disk_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT", 0.05)
    monkeypatch.setattr(file, "BUSY_WAIT", 0.05)
    monkeypatch.setattr(sqlite, "RETRY", 0.05)
    path, well = tmp_path / "state.db", threading.Event()
    store = SqliteStore(path, lambda text: well.set() if text is None else None)
    await store.durable()
    with held(path):
        store.remember("fleet", "down:time", "1")
        with pytest.raises(StoreError, match="database is locked"):
            await store.durable()
    assert await asyncio.to_thread(well.wait, WAIT)
    await store.durable()
    store.close()
    again = SqliteStore(path)
    assert again.recall("fleet") == {"down:time": "1"}
    again.close()


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    """Other bytes in the same file, write-ahead log included."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"this is no database" * 1000)


def replace_by_directory(path: Path) -> None:
    remove(path)
    (path / "in the way").mkdir(parents=True)


@pytest.mark.parametrize("when", ["at once", "after facts", "twice"])
@pytest.mark.parametrize("harm", [remove, truncate, overwrite, replace_by_directory])
async def test_a_store_that_is_harmed_while_it_is_used_is_made_again_with_all_small_values_and_told(
    tmp_path: Path, harm: Callable[[Path], None], when: str
) -> None:
    path, said = tmp_path / "state.db", list[str | None]()
    store = SqliteStore(path, said.append)
    store.remember("fleet", "down:time", "1")
    store.remember("fleet", "gone", "1")
    store.remember("fleet", "gone", None)
    await store.durable()
    for number in range(2 if when == "twice" else 1):
        for _ in range(0 if when == "at once" else 3):
            store.record(told("before"))
        await store.flush()
        harm(path)
        store.record(told("amid"))
        await store.flush()
        store.record(told(f"after {number}"))
        await store.durable()
    assert read_facts(path)[-1]["text"] == f"after {int(when == 'twice')}"
    assert said[-1] is None
    assert "state.db: " in str(said[0])
    store.close()
    again = SqliteStore(path)
    assert again.set_aside == ""
    assert again.recall("fleet") == {"down:time": "1"}
    again.close()
