"""The real sparfenyuk/mcp-proxy, which ends as a whole with the first of its servers that does not start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import free_port, running
from tests.integration.reference_fleet import proven
from tests.parts import program

pytestmark = [pytest.mark.needs("sparfenyuk"), pytest.mark.slow, pytest.mark.timeout(240)]


def _naming(status: dict[str, Any]) -> list[dict[str, Any]]:
    """The causes that name the server."""
    return [one for one in status["diagnoses"] if "it was starting 'files'" in one["text"]]


def test_the_server_that_ends_the_whole_proxy_is_named_and_the_proxy_is_back_once_that_starts_again(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    broken = f"test -e {gone} && {{ echo 'Error accessing directory' >&2; exit 1; }}; exec {sys.executable} -m tests.servers.tiny"
    config = {
        "version": 1,
        "proxy": {
            "kind": "sparfenyuk",
            "binary": str(program("sparfenyuk")),
            "listen": f"127.0.0.1:{free_port()}",
            "restart": {"backoff": {"first": "100ms", "max": "1s"}, "retry": "5s"},
        },
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
        "defaults": {"check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2}},
        "members": {
            "one": {"stdio": {"command": sys.executable, "args": ["-m", "tests.servers.tiny"]}},
            "files": {"stdio": {"command": "/bin/sh", "args": ["-c", broken]}},
            "three": {"stdio": {"command": sys.executable, "args": ["-m", "tests.servers.tiny"]}},
        },
    }
    with running(tmp_path, config) as daemon:
        proven(daemon, 90)
        gone.touch()
        pid = daemon.member("proxy")["pid"]
        os.kill(pid, signal.SIGKILL)
        status = daemon.wait(_naming, "the server that does not start is named", 120)
        assert [one["cause"] for one in _naming(status)] == ["proxy_down"]
        gone.unlink()
        proven(daemon, 120)
