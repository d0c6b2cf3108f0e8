"""A watchdog on a machine that runs out of things: descriptors, threads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.test_supervision import lives

WAIT = 120.0


def limited(directory: Path, limit: int, count: int) -> Daemon:
    """A fleet of idle processes, each checked every second, under a limit of open files that cannot be raised."""
    check = {"process": {"interval": "1s"}}
    sleeper = {"command": sys.executable, "args": ["-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]}
    members = {f"m{number}": {"route": False, "process": sleeper, "checks": check} for number in range(count)}
    daemon = Daemon(directory, {"version": 1, "proxy": {"kind": "none"}, "members": members})
    daemon.wrap = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
    return daemon


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_watchdog_with_sixty_four_descriptors_serves_its_commands_and_leaves_no_orphan(tmp_path: Path) -> None:
    daemon = limited(tmp_path, 64, 12)
    try:
        daemon.start()
        status = daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run", WAIT)
        assert status["daemon"]["carries"] == 16
        assert "the limit of open files carries about 16" in daemon.said()
        before = lives(daemon)
        for name in ("m0", "m5", "m11"):
            os.kill(before[name][0], signal.SIGKILL)
            daemon.wait(lambda _, name=name: daemon.member(name)["generation"] == 2, "it is started again", WAIT)
        assert daemon.run("restart", "m3").returncode == 0
        daemon.wait(lambda s: all(m["phase"] == "running" for m in s["members"]), "all run again", WAIT)
        assert daemon.stop() == 0
        assert daemon.marked() == []
        assert "Traceback" not in daemon.said()
    finally:
        daemon.close()
