"""A store that cannot be used: broken ones are set aside, others are waited for, and nobody waits with them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest

from mcpwatch.model.fact import Troubled
from mcpwatch.model.time import WallTime
from mcpwatch.store import sqlite
from mcpwatch.store.sqlite import SqliteStore, read_facts

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Held by somebody else for writing and reading, as by a person with a command line of sqlite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO small VALUES ('nobody', 'looks', 'here')")
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
