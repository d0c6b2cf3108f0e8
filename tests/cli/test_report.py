"""`mcpwatch report` without a daemon: from the store that it left, held against what its configuration promised."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mcpwatch.app.paths import StatePaths
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.report import show_report
from mcpwatch.store.sqlite import SqliteStore
from mcpwatch.web.objectives.hour import HOUR, Hour, to_json


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StatePaths:
    """What a watchdog left: an hour of one route, 2 % of it bad, and the place of its configuration."""
    paths = StatePaths(tmp_path / "state")
    paths.make()
    store, hour = SqliteStore(paths.store), Hour(3528.0, 72.0, connects={300: 50})
    store.measure(int(time.time() // HOUR) - 2, "git", (hour.good, hour.bad, 0.0), to_json(hour))
    store.close()
    file = tmp_path / "fleet.yaml"
    file.write_text(
        "members: {git: {stdio: {command: python3}}}\nobjectives: {routes: {git: {availability: 97}}}\n", encoding="utf-8"
    )
    paths.status.write_text(json.dumps({"daemon": {"config": str(file)}}), encoding="utf-8")
    monkeypatch.setattr(ControlSettings, "state_dir", paths.root)
    monkeypatch.setattr(ControlSettings, "url", "")
    return paths


def test_the_promises_are_those_of_the_configuration_that_ran(left: StatePaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_report(since="24h", html=None, as_json=False) == 0
    told = capsys.readouterr()
    assert "≥ 97 %" in told.out
    assert "33 % of the budget left" in told.out  # 3 % of 3600 s allow 108, 72 were used: a third is left
    assert told.err == ""


def test_a_configuration_that_is_gone_is_said_and_the_defaults_are_taken(
    left: StatePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    left.status.unlink()
    assert show_report(since="24h", html=None, as_json=True) == 1
    told = capsys.readouterr()
    assert "default objectives" in told.err
    assert json.loads(told.out)["routes"][0]["objectives"][0]["target"] == 99.5


def test_the_html_stands_alone(left: StatePaths, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert show_report(since="24h", html=file, as_json=False) == 0
    text = file.read_text(encoding="utf-8")
    assert "98 %" in text
    for outside in ("<script", "<link", "src=", "http://", "https://", "url("):
        assert outside not in text
    assert "@media print" in text
