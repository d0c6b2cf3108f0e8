"""An upgrade in place that cannot be: the watchdog that works stays, and says why."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from mcpwatch.app import upgrade
from mcpwatch.model.errors import McpwatchError
from mcpwatch.runtimes.kernel import detect
from mcpwatch.runtimes.process_table import ProcessTable
from tests.e2e.daemon import Daemon
from tests.e2e.test_supervision import all_run, lives, plain
from tests.parts import ROOT


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((sys.executable, "-S", "-E", "-c", "print('much'); raise SystemExit('mcpwatch: broken')"), "broken"),
        ((sys.executable, "-S", "-E", "-c", "raise SystemExit(7)"), "it ended with code 7"),
        (("/no/such/python",), "/no/such/python: No such file or directory"),
    ],
)
async def test_new_code_that_does_not_start_is_refused_with_its_last_words(command: tuple[str, ...], why: str) -> None:
    with pytest.raises(McpwatchError, match=f"no upgrade, the running watchdog stays: .*{why}"):
        await upgrade.rehearse(command)


@pytest.mark.anyio
async def test_new_code_that_does_not_get_ready_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ProcessTable(detect())
    before = table.orphans(()) or set()
    monkeypatch.setattr(upgrade, "REHEARSAL_WAIT", 0.05)
    with pytest.raises(McpwatchError, match="was not ready to start after"):
        await upgrade.rehearse((sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"))
    children = [table.look(pid) for pid in (table.orphans(()) or set()) - before]
    assert [child for child in children if child and child.alive] == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_upgrade_to_broken_code_or_with_a_broken_file_leaves_the_watchdog_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "mcpwatch", tmp_path / "code/mcpwatch", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    config = plain(2)
    daemon = Daemon(tmp_path, config)
    daemon.env["PYTHONPATH"] = str(tmp_path / "code")
    try:
        daemon.start("--no-watch-config")
        all_run(daemon, 1)
        before, status = lives(daemon), daemon.status()["daemon"]

        def refused(words: str) -> None:
            done = daemon.run("upgrade-in-place")
            assert done.returncode == 5
            assert "no upgrade, the running watchdog stays" in done.stderr
            assert words in done.stderr
            assert daemon.status()["daemon"]["started_at"] == status["started_at"]

        daemon.write("members: {m0: {proces: 1}}")
        refused("members.m0")
        daemon.write(config)
        module = tmp_path / "code/mcpwatch/app/daemon.py"
        kept = module.read_text()
        module.write_text("raise SystemError('half an upgrade')\n")
        refused("half an upgrade")
        module.write_text(kept)
        assert [str(f["level"]) for f in daemon.events() if f["fact"] == "troubled" and f["subject"] == "upgrade"] == ["error"] * 2
        assert daemon.run("upgrade-in-place").returncode == 0
        all_run(daemon, 1)
        assert lives(daemon) == before
        assert daemon.status()["daemon"]["pid"] == status["pid"]
        assert daemon.process
        os.kill(daemon.process.pid, 0)
    finally:
        daemon.close()
