"""Every benchmark still runs: each says what it measures, and the cheap ones measure the least they can."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import PARTS, ROOT

NAMES = sorted(
    [
        *(file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text(encoding="utf-8")),
        *(file.parent.name for file in (ROOT / "benchmarks").glob("*/__main__.py")),
    ]
)
LEAST = {
    "add": ["1"],
    "cli": ["1", "--members", "1"],
    "client_edit": ["5"],
    "deaths": ["1", "--only", "plain"],
    "http": ["--rounds", "1", "--calls", "64"],
    "logs": ["200"],
    "prober": ["--quick", "--only", "raw-sse", "mcpwatch-sse", "--concurrent", "1"],
    "quickstart": ["1"],
    "rest": ["0.2", "--members", "1", "--settle", "1"],
    "scale": ["--members", "1", "--routes", "1", "--window", "0.2", "--settle", "0"],
    "scrape": ["5"],
}
"""The arguments of a run that takes seconds and needs nothing but this machine."""
FIGURES = {"up_s", "cpu_ms_per_min", "rss_mb", "pss_mb", "starts"}
SMALL = ["--rounds", "1", "--window", "0.2", "--children", "1", "--json"]


def measured(name: str, *arguments: str, parts: Path = PARTS) -> str:
    """What a benchmark printed; it must have succeeded."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    env = {**os.environ, "MCPWATCH_PARTS": str(parts)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmarks_are_found() -> None:
    assert {"gateway", "recovery", "supervisors", *LEAST} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_says_what_it_measures(name: str) -> None:
    assert measured(name, "--help").startswith(f"usage: python -m benchmarks.{name} ")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LEAST)
def test_a_benchmark_measures_the_least_it_can(name: str) -> None:
    assert measured(name, *LEAST[name])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("cc"), reason="the tiny server is compiled")
def test_mcpwatch_is_measured_as_a_supervisor() -> None:
    found = json.loads(measured("supervisors", *SMALL, "--only", "mcpwatch"))
    assert found["absent"] == {}
    assert len(found["recovery_s"]["mcpwatch"]) == len(found["bare_s"]["here"]) == 1
    assert set(found["rest"]["mcpwatch"]["1"]) == FIGURES
    assert found["kill"]["mcpwatch"].startswith("adopted; next death healed in ")
    assert found["stop"]["mcpwatch"] == "nobody"


@pytest.mark.slow
@pytest.mark.needs("docker", "systemd")
@pytest.mark.timeout(600)
@pytest.mark.skipif(not shutil.which("cc"), reason="the tiny server is compiled")
def test_systemd_is_measured_as_a_supervisor() -> None:
    found = json.loads(measured("supervisors", *SMALL, "--only", "systemd-run-0"))
    assert found["absent"] == {}
    assert len(found["recovery_s"]["systemd-run-0"]) == 1
    assert set(found["rest"]["systemd-run-0"]["1"]) == FIGURES
    assert "daemon-reexec: kept, next death healed in " in found["kill"]["systemd-run-0"]
    assert found["stop"]["systemd-run-0"] == "nobody"


@pytest.mark.slow
def test_a_peer_that_cannot_be_had_says_why_in_its_row(tmp_path: Path) -> None:
    shown = measured("supervisors", "--only", "pm2", parts=tmp_path)
    rows = [line for line in shown.splitlines() if line.startswith("| pm2 ")]
    assert len(rows) == 2
    assert all(f"{tmp_path}/pm2" in row and "is not installed" in row for row in rows)
