"""What `mcpwatch history` tells: hourly counts of probes, read beside whoever writes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpwatch.model.errors import StoreError
from mcpwatch.model.fact import ProbeFinished
from mcpwatch.model.probe import Outcome, ProbeResult, Vantage
from mcpwatch.model.time import WallTime
from mcpwatch.store.history import read_history
from mcpwatch.store.sqlite import SqliteStore

HOUR = 3600.0
BEGAN = 500_000 * HOUR


def probed(hour: int, outcome: Outcome, seconds: float = 0.2, member: str = "fetch", vantage: Vantage = "direct") -> ProbeFinished:
    return ProbeFinished(
        at=WallTime(BEGAN + hour * HOUR + 60),
        text="probed",
        member=member,
        generation=1,
        route=member if vantage == "route" else "",
        check="mcp",
        vantage=vantage,
        outcome=outcome,
        result=ProbeResult(outcome, seconds=seconds),
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = SqliteStore(tmp_path / "state.db")
    for hour in range(3):
        for _ in range(9):
            made.record(probed(hour, Outcome.SUCCESS))
        made.record(probed(hour, Outcome.FAILURE if hour == 1 else Outcome.DEGRADED, 2.2))
        made.record(probed(hour, Outcome.SUCCESS, vantage="route"))
    made.record(probed(2, Outcome.UNKNOWN))
    made.record(probed(0, Outcome.FAILURE, member="gone"))
    made.close()
    return tmp_path / "state.db"


def test_each_check_and_vantage_is_summed_and_the_worst_hour_named(store: Path):
    direct, route, gone = read_history(store, since=BEGAN)
    assert (direct.subject, direct.vantage, direct.check, direct.probes, direct.failures) == ("fetch", "direct", "mcp", 31, 1)
    assert (direct.share, direct.longest) == (29 / 30, 2.2)
    assert direct.mean == pytest.approx((27 * 0.2 + 3 * 2.2 + 0.2) / 31)
    assert (direct.worst_hour, direct.worst_share) == (WallTime(BEGAN + HOUR), 0.9)
    assert (route.vantage, route.probes, route.share, route.worst_hour) == ("route", 3, 1.0, None)
    assert (gone.subject, gone.share) == ("gone", 0.0)


def test_only_what_is_asked_for_is_told(store: Path):
    (one,) = read_history(store, since=BEGAN + 2 * HOUR + 1800, subject="fetch")[:1]
    assert (one.probes, one.failures, one.share) == (11, 0, 1.0), "whole hours; what could not tell counts neither way"
    assert read_history(store, since=BEGAN, subject="nobody") == []


def test_a_file_that_is_no_store_is_one_line(tmp_path: Path):
    (tmp_path / "state.db").write_text("no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        read_history(tmp_path / "state.db", since=0)


def command(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "mcpwatch", "--state-dir", str(state), "history", *words]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, check=False)


def test_the_command_prints_a_table_or_json_without_a_daemon(store: Path):
    began = "2027-01-15T00:00:00Z"
    table = command(store.parent, "--since", began)
    assert table.returncode == 0, table.stderr
    head, first, *_ = table.stdout.splitlines()
    assert head.split()[:3] == ["NAME", "VANTAGE", "CHECK"]
    assert "96.67 %" in first
    assert "2027-01-15T09h 90.00 %" in first
    shown = json.loads(command(store.parent, "fetch", "--since", began, "--json").stdout)
    assert [one["vantage"] for one in shown] == ["direct", "route"]
    assert shown[1]["worst_hour"] is None


@pytest.mark.slow
def test_a_wrong_question_is_one_line(tmp_path: Path):
    for words in (("--since", "yesterday"), ()):
        refused = command(tmp_path, *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
