"""Whose a process is when a gateway runs it for another member, and whether it is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.stopped import KEPT, StopWatch
from tests.runtimes.bench import running, sleeper, until


def test_what_a_gateway_hosts_is_counted_for_the_hosted_member_and_what_a_bridge_runs_for_the_bridge() -> None:
    procs = [
        Proc(10, 1, 10, 1, mark="i/proxy/1"),
        Proc(11, 10, 11, 1, state="T", mark="i/proxy/1", hosted="time"),
        Proc(12, 11, 11, 1, mark="i/proxy/1", hosted="time"),
        Proc(13, 10, 10, 1, mark="i/proxy/1"),
        Proc(20, 1, 20, 1, mark="i/fetch/1"),
        Proc(21, 20, 21, 1, mark="i/fetch/1", hosted="fetch"),
    ]
    now = ProcessSnapshot({proc.pid: proc for proc in procs}, {1: [10, 20], 10: [11, 13], 11: [12], 20: [21]})
    assert now.of_member(10) == {10, 13}
    assert now.of_member(11) == {11, 12}
    assert now.of_member(20) == {20, 21}
    assert now.of_member(99) == set()


@asynccontextmanager
async def two_sleepers(directory: Path) -> AsyncGenerator[tuple[int, int]]:
    """The pids of two members that do nothing."""
    async with running(directory) as runtime:
        one, two = [await runtime.start(sleeper(name), 1) for name in ("one", "two")]
        assert one.pid
        assert two.pid
        yield one.pid, two.pid


@pytest.mark.anyio
async def test_a_stopped_process_is_found_in_the_tree_of_its_member_and_in_no_other(tmp_path: Path) -> None:
    async with two_sleepers(tmp_path) as (one, two):
        watch = StopWatch()
        first, both = frozenset({one}), frozenset({one, two})
        assert watch.stopped(both) == frozenset()
        os.kill(one, signal.SIGSTOP)
        await until(lambda: watch.stopped(both) == first)
        os.kill(one, signal.SIGCONT)
        await until(lambda: watch.stopped(both) == frozenset())
        assert watch.stopped(frozenset()) == frozenset()


@pytest.mark.anyio
async def test_what_was_seen_counts_for_a_moment_but_not_for_a_process_nobody_asked_about(tmp_path: Path) -> None:
    async with two_sleepers(tmp_path) as (one, two):
        time, table = [100.0], ProcessTable(detect())
        watch = StopWatch(now=lambda: time[0])
        first, both = frozenset({one}), frozenset({one, two})

        def state() -> str:
            return getattr(table.look(one), "state", "")

        assert watch.stopped(first) == frozenset()
        os.kill(one, signal.SIGSTOP)
        await until(lambda: state() == "T")
        assert watch.stopped(first) == frozenset(), "read a moment ago"
        assert watch.stopped(both) == first, "the other was not asked about"
        os.kill(one, signal.SIGCONT)
        await until(lambda: state() != "T")
        assert watch.stopped(first) == first
        time[0] += KEPT
        assert watch.stopped(first) == frozenset()
