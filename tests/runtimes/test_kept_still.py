"""Who keeps a process from running: a debugger, a frozen cgroup. By files like those of /proc and of the cgroups."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mcpwatch.runtimes import kept_still
from mcpwatch.runtimes.kept_still import StillWatch
from mcpwatch.runtimes.process_snapshot import ProcessSnapshot
from mcpwatch.runtimes.process_table import ProcessTable
from mcpwatch.runtimes.stopped import StopWatch


def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> tuple[str, str]:
    """What is told of a process with a child, where these files say so of the child (`PID`) or of its tracer (`TRACER`)."""
    with subprocess.Popen(["/bin/sh", "-c", "cat; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as main:
        assert main.stdin is not None
        assert main.stdout is not None
        main.stdin.write(b"x")
        main.stdin.flush()
        main.stdout.read(1)  # the child lives
        (child,) = Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text(encoding="ascii").split()
        monkeypatch.setattr(kept_still, "PROC", tmp_path / "proc")
        monkeypatch.setattr(kept_still, "CGROUPS", tmp_path / "cgroup")
        for name, text in files.items():
            path = tmp_path / name.replace("PID", child).replace("TRACER", str(os.getpid()))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("TRACER", str(os.getpid())), encoding="utf-8")
        cause, text = StillWatch(StopWatch()).still(main.pid)
        return cause, text.replace(child, "PID").replace(str(os.getpid()), "TRACER")


STOPPED = "State:\tt (tracing stop)\nPid:\t7\nTracerPid:\tTRACER\nUid:\t0\n"
GROUP = {"proc/PID/cgroup": "5:cpu,freezer:/x\n0::/y\n"}


@pytest.mark.parametrize(
    ("files", "cause", "words"),
    [
        (
            {"proc/PID/status": STOPPED, "proc/TRACER/comm": "gdb\n"},
            "traced",
            "TRACER (gdb)",
        ),
        ({"proc/PID/status": STOPPED}, "traced", "TRACER (gone)"),
        ({"proc/PID/status": "State:\tS (sleeping)\nTracerPid:\tTRACER\n"}, "", ""),
        ({"proc/PID/status": "State:\tT (stopped)\nTracerPid:\t0\n"}, "", ""),
        ({**GROUP, "cgroup/freezer/x/freezer.state": "FROZEN\n"}, "frozen", "the cgroup /x"),
        ({**GROUP, "cgroup/freezer/x/freezer.state": "THAWED\n", "cgroup/y/cgroup.events": "populated 1\nfrozen 0\n"}, "", ""),
        ({**GROUP, "cgroup/y/cgroup.events": "populated 1\nfrozen 1\n"}, "frozen", "the cgroup /y"),
        (GROUP, "", ""),
        ({}, "", ""),
    ],
)
def test_a_debugger_or_a_frozen_cgroup_is_told_of_a_process_or_of_one_below_it(
    files: dict[str, str], cause: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, text = seen(tmp_path, monkeypatch, files)
    assert found == cause
    assert text.endswith(words) or f"pid {words}" in text


def test_the_machine_is_looked_through_once_for_all_who_fail_together(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[ProcessTable] = []
    scan = ProcessTable.scan

    def counted(table: ProcessTable) -> ProcessSnapshot:
        looks.append(table)
        return scan(table)

    monkeypatch.setattr(ProcessTable, "scan", counted)
    processes = StopWatch(now=lambda: 0.0)
    still, pids = StillWatch(processes).still, frozenset({os.getpid(), os.getppid()})
    assert processes.stopped(pids) == frozenset()
    assert [still(pid) for pid in pids] == [("", ""), ("", "")]
    assert len(looks) == 1
