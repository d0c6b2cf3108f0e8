"""A bridge of TBXark whose child ends before it answers: it waits for that child for ever and answers 404 meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import free_port, running
from tests.integration.reference_fleet import proven
from tests.parts import SERVERS, program

pytestmark = [pytest.mark.needs("tbxark"), pytest.mark.slow, pytest.mark.timeout(240)]
CLOCK = str(SERVERS / "mcp-server-time")


def test_a_bridge_whose_child_ends_at_each_start_is_told_so_and_serves_again_when_the_child_can_start(tmp_path: Path) -> None:
    broken, pid, port = tmp_path / "broken", tmp_path / "pid", free_port()
    child = (
        f"import os, sys; os.path.exists({str(broken)!r}) and sys.exit(len(sys.stdin.readline())); "
        f"open({str(pid)!r}, 'w').write(str(os.getpid())); os.execv({CLOCK!r}, [{CLOCK!r}])"
    )
    own = {
        "mcpProxy": {
            "baseURL": f"http://127.0.0.1:{port}",
            "addr": f"127.0.0.1:{port}",
            "name": "b",
            "version": "1",
            "type": "sse",
        },
        "mcpServers": {"clock": {"command": sys.executable, "args": ["-c", child]}},
    }
    (tmp_path / "bridge.json").write_text(json.dumps(own), encoding="utf-8")
    command = {"command": str(program("tbxark")), "args": ["-config", str(tmp_path / "bridge.json")]}
    config = {
        "version": 1,
        "proxy": {"listen": f"127.0.0.1:{free_port()}"},
        "members": {"clock": {"process": command, "url": f"http://127.0.0.1:{port}/clock/sse"}},
        "defaults": {"check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2}, "start_grace": "5s"},
    }
    with running(tmp_path, config) as daemon:
        proven(daemon, 90)
        broken.touch()
        os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGKILL)
        told = daemon.wait(lambda s: any("never came to be served" in d["text"] for d in s["diagnoses"]), "the child named", 90)
        assert [d["cause"] for d in told["diagnoses"]] == ["member_failing"]
        broken.unlink()
        proven(daemon, 120)
        causes = {fact["cause"] for fact in daemon.events() if fact["fact"] == "diagnosed"}
        assert "config" not in causes, "its path was right"
