"""What is known of the first starts of servers that are fetched: recorded, measured, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.doctor import cold_start
from mcpwatch.cli.doctor.run import doctor
from mcpwatch.cli.edit.proof import durations
from mcpwatch.cli.edit.trial import TrialFailed
from mcpwatch.model.fact import MemberChanged, MemberStarted
from mcpwatch.model.json import fact_json
from mcpwatch.model.time import WallTime
from mcpwatch.store.sqlite import SqliteStore
from tests.checks.test_stdio import SPEAK


@pytest.fixture(autouse=True)
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet with one server that `uvx` runs: a program that answers when its cache is another than the user's."""
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "warm"))
    for directory in ("bin", "state"):
        (tmp_path / directory).mkdir(mode=0o700)
    program = tmp_path / "bin" / "uvx"
    cold = f"import os\nassert os.environ['UV_CACHE_DIR'] != '{tmp_path / 'warm'}', 'this cache is warm'\n"
    program.write_text(f"#!{sys.executable}\n{cold}{SPEAK}")
    program.chmod(0o755)
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps({"version": 1, "members": {"web": {"stdio": {"command": "uvx", "args": ["a==1.0"]}}}}))
    file.chmod(0o600)
    return file


def started(at: float, generation: int, *, adopted: bool = False) -> MemberStarted:
    return MemberStarted(at=WallTime(at), text="", member="web", generation=generation, adopted=adopted)


def left(at: float, generation: int, new: str, reason: str) -> MemberChanged:
    return MemberChanged(
        at=WallTime(at), text="", member="web", generation=generation, field="phase", old="starting", new=new, reason=reason
    )


def recorded(directory: Path, *facts: Any) -> None:
    async def keep() -> None:
        store = SqliteStore(directory / "state" / "state.db")
        for fact in facts:
            store.record(fact)
        await store.flush()
        store.close()

    asyncio.run(keep())


def shown(file: Path, capsys: pytest.CaptureFixture[str], *, measure: bool = False) -> tuple[dict[str, Any], list[str]]:
    doctor(file, fix=False, as_json=True, measure=measure)
    said = json.loads(capsys.readouterr().out)
    return said["cold_starts"][0], [one["what"] for one in said["findings"] if one["check"] == "cold start"]


def test_a_start_is_timed_from_its_spawn_to_its_first_proof_or_to_where_it_was_cut_off() -> None:
    facts = [
        started(0.0, 1), left(70.0, 1, "stopping", "not ready within 60s of its start"),
        started(100.0, 2), left(112.0, 2, "running", "mcp route: ok"), left(113.0, 2, "running", "again"),
        started(200.0, 3), left(201.0, 3, "backoff", "exited with code 1"),
        started(300.0, 4, adopted=True), left(301.0, 4, "running", "mcp route: ok"),
    ]  # fmt: skip
    assert list(durations(fact_json(fact) for fact in facts)) == [(70.0, True), (12.0, False)]


def test_without_a_record_it_is_not_known_and_a_measurement_starts_it_once_from_an_empty_cache(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, found = shown(fleet, capsys)
    assert (known["seconds"], known["how"], known["grace"]) == (None, "not known", 60.0)
    assert found == ["web: how long a first start takes is not known"]
    known, found = shown(fleet, capsys, measure=True)
    assert known["how"] == "measured"
    assert 0 < known["seconds"] < 60
    assert found == []


@pytest.mark.parametrize("alone", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["told", "by a watchdog"])
def test_what_cannot_be_measured_stays_not_known_with_the_reason(
    alone: bool, fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends is started once more by a watchdog of its own, which says why: that takes seconds."""

    def failed(*_: object) -> None:
        raise TrialFailed("web: exited with code 3\n    its last line")

    if alone:
        monkeypatch.setattr(cold_start, "try_member", failed)
    (tmp_path / "bin" / "uvx").write_text(f"#!{sys.executable}\nraise SystemExit(3)\n")
    known, found = shown(fleet, capsys, measure=True)
    assert known["seconds"] is None
    assert "could not be measured: web: exited with code 3" in found[0]


@pytest.mark.parametrize(
    ("seconds", "cut", "found"),
    [
        (12.0, False, []),
        (75.0, False, ["web: a start took 75.0s (recorded) of 60s, its start_grace"]),
        (60.0, True, ["web: a start took more than 60.0s (cut off) of 60s, its start_grace"]),
    ],
)
def test_the_slowest_recorded_start_is_held_against_the_grace_that_it_is_given(
    seconds: float, cut: bool, found: list[str], fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, reason = ("stopping", "not ready within 60s of its start") if cut else ("running", "mcp route: ok")
    recorded(tmp_path, started(0.0, 1), left(3.0, 1, "running", "ok"), started(100.0, 2), left(100.0 + seconds, 2, new, reason))
    known, told = shown(fleet, capsys)
    assert known["seconds"] == seconds
    assert told == found
    assert doctor(fleet, fix=False, as_json=False) == 0
    assert "cold starts beside start_grace: web " in capsys.readouterr().out
