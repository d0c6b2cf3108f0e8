"""What the doctor says of a machine that gives out little: by the files of a control group, and by a real look."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from mcpwatch.cli.doctor import shortages
from mcpwatch.cli.doctor.finding import Patient
from mcpwatch.cli.doctor.machine import limits
from mcpwatch.runtimes import kernel


def machine(root: Path, groups: str, **files: str) -> Path:
    """A machine whose process is in these control groups; a file's name has `__` for `/`."""
    for name, text in {"proc__self__cgroup": groups, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_control_group_with_little_room_for_processes_is_named_in_both_versions(tmp_path: Path) -> None:
    second = machine(tmp_path / "2", "0::/a\n", **{"sys__fs__cgroup__a__pids.max": "40", "sys__fs__cgroup__a__pids.current": "30"})
    first = machine(
        tmp_path / "1",
        "8:pids:/a\n",
        **{"sys__fs__cgroup__pids__a__pids.max": "40", "sys__fs__cgroup__pids__a__pids.current": "30"},
    )
    for root in (first, second):
        (found,) = shortages.processes(3, root)
        assert found.what == "the control group has room for 10 more processes and threads; this fleet may need 48"


def test_a_control_group_with_room_or_without_a_bound_is_no_finding(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__pids.max": "max", "sys__fs__cgroup__memory.max": str(8 * 1024**3)})
    assert list(shortages.memory(3, root)) == []
    assert [found.what for found in shortages.processes(3, root) if "control group" in found.what] == []


def test_a_control_group_with_little_memory_is_named(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__memory.max": str(128 * 1024**2)})
    (found,) = shortages.memory(3, root)
    assert found.what == "the control group may use 128 MiB of memory; this fleet may need 320"


def test_no_inotify_watch_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int, path: Path, mask: int) -> None: ...

    monkeypatch.setattr(kernel, "inotify_watch", refused)
    (found,) = shortages.watches()
    assert found.what == "this user has no inotify watches left"


def test_a_proc_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (found,) = shortages.sight(tmp_path)
    assert (found.level, found.what) == ("error", "/proc cannot be read: No such file or directory")


def test_a_proc_that_hides_others_is_named_for_everybody_but_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, "", proc__self__mounts="proc /proc proc rw,nosuid,hidepid=2 0 0\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (found,) = shortages.sight(root)
    assert found.what == "/proc hides the processes of other users (hidepid=2)"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert list(shortages.sight(root)) == []


def test_a_limit_of_open_files_below_the_fleet_says_how_many_members_it_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = type("Plan", (), {"members": [None] * 900})()
    patient = cast("Patient", type("Patient", (), {"plan": plan})())

    def found(limit: int) -> list[tuple[str, str]]:
        def told(_: int) -> tuple[int, int]:
            return limit, limit

        monkeypatch.setattr("mcpwatch.cli.doctor.machine.resource.getrlimit", told)
        return [(finding.level, finding.what) for finding in limits(patient)]

    assert found(1024) == [("error", "the watchdog may open 1024 files, which carry about 856 members; this fleet has 900")]
    ((level, what),) = found(2048)
    assert level == "warning"
    assert what.endswith("this fleet may need 29824; the watchdog itself carries about 1752 members")
    assert found(-1) == []
