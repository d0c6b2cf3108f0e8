"""Counts of checks are collected: a write a check and not one a result, and none is lost to who reads, asks or stops."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mcpwatch.model.fact import ProbeFinished
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.time import WallTime
from mcpwatch.store import schema
from mcpwatch.store.history import read_facts, read_history
from mcpwatch.store.schema import CheckCounts, Write
from mcpwatch.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio
HOUR = 3600.0
NOW = int(time.time() // HOUR)
"""What is older than the store keeps is dropped, at once on a machine that has run for an hour."""


def probed(outcome: Outcome = Outcome.SUCCESS, member: str = "fetch", hour: int = NOW, seconds: float = 0.25) -> ProbeFinished:
    return ProbeFinished(
        at=WallTime(hour * HOUR + 60),
        text="probed",
        member=member,
        generation=1,
        route="",
        check="mcp",
        vantage="direct",
        outcome=outcome,
        result=ProbeResult(outcome, seconds=seconds),
    )


async def test_results_of_one_check_and_hour_are_one_write_however_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "EVERY", 0.05)
    written, both = list[Write](), asyncio.Event()

    def write(one: Write) -> None:
        written.append(one)
        if len(written) == 3:
            both.set()

    counts = CheckCounts(write)
    for outcome in [*Outcome, *Outcome, Outcome.SUCCESS]:
        counts.add(probed(outcome, seconds=0.5))
    counts.add(probed(hour=NOW + 1))
    counts.add(probed(member="time", seconds=2.0))
    assert not written, "it waits for more"
    async with asyncio.timeout(30):
        await both.wait()
    assert [values[:4] for _, values in written] == [
        (NOW, "fetch", "direct", "mcp"),
        (NOW + 1, "fetch", "direct", "mcp"),
        (NOW, "time", "direct", "mcp"),
    ]
    assert written[0][1][4:] == (9, 3, 2, 2, 2, 4.5, 0.5)
    counts.put()
    assert len(written) == 3, "what was written is not counted again"


async def test_who_asks_for_what_was_recorded_finds_counts_of_this_moment(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    try:
        for _ in range(3):
            store.record(probed())
        assert read_history(store.path, since=0) == []
        await store.flush()
        assert [one.probes for one in read_history(store.path, since=0)] == [3]
        store.record(probed(Outcome.FAILURE))
        assert [fact["outcome"] for fact in await store.facts()] == ["failure"]
        assert [(one.probes, one.failures) for one in read_history(store.path, since=0)] == [(4, 1)]
        store.record(probed())
    finally:
        store.close()
    assert [(one.probes, one.failures) for one in read_history(store.path, since=0)] == [(5, 1)], "an orderly end loses none"


async def test_a_failure_is_an_event_at_once_whenever_its_count_is_written(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    try:
        store.record(probed(Outcome.FAILURE))
        await store.durable()
        assert [fact["outcome"] for fact in read_facts(store.path)] == ["failure"]
        assert read_history(store.path, since=0) == []
    finally:
        store.close()
