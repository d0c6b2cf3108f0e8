"""A scan of /proc shows who lived while it was taken, though processes come and go faster than they can be read."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from mcpwatch.runtimes import process_table
from mcpwatch.runtimes.cgroup import Cgroups
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_snapshot import Proc, ProcessSnapshot
from mcpwatch.runtimes.process_table import LISTINGS, ProcessTable
from mcpwatch.runtimes.tree import FRESH, FRESH_MOST, Trees

OURS = os.getpid()
pytestmark = pytest.mark.skipif(not detect().procfs, reason="reads /proc")


class Chain:
    """A machine with one process after the other; each lives until it is read for the first time, but for the `last`."""

    def __init__(self, last: int) -> None:
        self.now, self.last = 1_000_000, 1_000_000 + last

    def numbers(self) -> list[str]:
        return [str(OURS), str(self.now)]

    def stat(self, pid: int) -> Proc | None:
        if pid == OURS or self.now == self.last:
            return Proc(pid, 1, pid, 1)
        self.now += 1
        return None


@pytest.mark.parametrize("links", [0, 1, 2, LISTINGS - 2])
def test_a_chain_of_processes_is_followed_to_the_one_that_lives(monkeypatch: pytest.MonkeyPatch, links: int) -> None:
    chain = Chain(links)
    monkeypatch.setattr(process_table, "_numbers", chain.numbers)
    monkeypatch.setattr(process_table, "_stat", chain.stat)
    found = ProcessTable(detect()).scan()
    assert (set(found.procs), found.whole) == ({OURS, chain.last}, True)


def test_a_chain_that_is_faster_than_every_look_is_told_as_not_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(10**6)
    monkeypatch.setattr(process_table, "_numbers", chain.numbers)
    monkeypatch.setattr(process_table, "_stat", chain.stat)
    found = ProcessTable(detect()).scan()
    assert (set(found.procs), found.whole) == ({OURS}, False)
    assert chain.now - 1_000_000 == LISTINGS


def test_a_quiet_machine_is_seen_whole() -> None:
    found = ProcessTable(detect()).scan()
    assert OURS in found.procs
    assert found.procs[OURS].alive


def test_a_scan_knows_how_many_processes_were_started_before_it() -> None:
    table = ProcessTable(detect())
    before = table.scan()
    subprocess.run(["true"], check=True)
    after = table.scan()
    assert before.forks is not None
    assert after.forks is not None
    assert after.forks > before.forks
    assert table.numbers() >= 2**15
    bare = ProcessTable(detect("procfs"))
    assert (bare.forks(), bare.numbers()) == (None, 0)


@pytest.mark.parametrize(
    ("age", "given", "so"),
    [
        (-3600.0, None, True),  # begun this moment, however long that takes
        (2 * FRESH, None, False),
        (2 * FRESH, 0, True),
        (2 * FRESH, 249, True),
        (2 * FRESH, 250, False),
        (FRESH_MOST + 1, 0, False),
    ],
)
def test_a_scan_is_fresh_while_the_kernel_cannot_have_given_a_number_of_it_again(age: float, given: int | None, so: bool) -> None:
    class Kernel(ProcessTable):
        def forks(self) -> int | None:
            return None if given is None else 5000 + given

        def numbers(self) -> int:
            return 1000

    trees = Trees(Kernel(detect()), Cgroups(detect("cgroup"), "i"), detect(), "i")
    seen = ProcessSnapshot({}, at=time.monotonic() - age, forks=None if given is None else 5000)
    assert trees._fresh(seen) is so  # pyright: ignore[reportPrivateUsage]
