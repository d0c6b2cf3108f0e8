"""Whether the kernel ended a process for its memory, read from its counter and its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.runtimes import oom

RECORDS = [
    "6,900,50000000,-;Memory cgroup out of memory: Killed process 41 (tail) total-vm:70000kB",
    "6,901,95000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/x,task=python,pid=42,uid=0",
    "6,902,96000000,-;something else about process 43",
]


@pytest.mark.parametrize(("pid", "ended"), [(42, True), (41, False), (43, False), (4, False)])
def test_a_recent_record_that_names_the_process_decides(pid: int, ended: bool) -> None:
    assert oom.named(RECORDS, pid, now=120.0) is ended


def test_without_a_risen_counter_the_log_is_not_even_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counter = tmp_path / "vmstat"
    counter.write_text("nr_free_pages 7\noom_kill 3\n", encoding="ascii")
    monkeypatch.setattr(oom, "COUNTER", counter)
    monkeypatch.setattr(oom, "LOG", tmp_path / "unreadable")
    memory = oom.OutOfMemory()
    assert not memory.ended(42)
    counter.write_text("oom_kill 4\n", encoding="ascii")
    assert memory.ended(42)
    assert not memory.ended(43)


def test_a_machine_that_tells_nothing_ended_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(oom, "COUNTER", tmp_path / "none")
    assert oom.ends() == 0
    assert not oom.OutOfMemory().ended(1)
