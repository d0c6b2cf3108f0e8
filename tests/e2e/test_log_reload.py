"""The log of a running daemon follows its configuration: format, level and targets, by a signal and by a change of the file."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon, free_port, running
from tests.parts import server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SOON = 60.0


def fleet(port: int, **logs: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{port}"},
        "members": {"time": {"stdio": {"command": str(server("mcp-server-time"))}}},
        "defaults": {"check": {"interval": "1s"}},
        "telemetry": {"logs": logs},
    }


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def objects(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in text(path).split("\n")[:-1]]  # a last line without its end is still being written


def test_format_level_and_targets_follow_a_signal_and_a_changed_file(tmp_path: Path):
    first, second, port = tmp_path / "first.log", tmp_path / "second.log", free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(SOON)
        there = f"syslog:127.0.0.1:{syslog.getsockname()[1]}"
        with running(tmp_path, fleet(port, format="human", targets=["stderr"]), "--no-watch-config") as daemon:
            daemon.healthy()
            pid = daemon.member("time")["pid"]
            assert " INFO " in daemon.said()
            assert "probe_finished" not in daemon.said()

            daemon.write(fleet(port, format="json", level="debug", targets=[f"file:{first}", there]))
            send(daemon, signal.SIGHUP)
            daemon.wait(
                lambda _: any(one.get("fact") == "probe_finished" for one in objects(first)), "debug records in the file", SOON
            )
            moved = f"the log goes to file:{first}, {there} from here on"
            assert moved in {one["text"] for one in objects(first)}
            daemon.wait(lambda _: moved.encode() in syslog.recv(65_536), "syslog is told", SOON)
            before = daemon.said()

            daemon.write(fleet(port, format="human", level="warning", targets=[f"file:{second}"]))
            send(daemon, signal.SIGHUP)
            daemon.wait(lambda _: second.exists(), "the new file is opened", SOON)
            os.kill(daemon.member("time")["pid"], signal.SIGKILL)
            daemon.wait(lambda _: " WARNING " in text(second), "the fall of a member in the new file", SOON)
            assert " INFO " not in text(second)
            assert "member_exited" not in {one.get("fact") for one in objects(first)}
            assert daemon.said() == before, "nothing more where the log no longer goes"
            daemon.wait(lambda status: status["healthy"] and daemon.member("time")["pid"] != pid, "it is up again", SOON)

            daemon.write(fleet(port, format="yaml"))
            send(daemon, signal.SIGHUP)
            daemon.wait(lambda _: "configuration rejected" in text(second), "a bad file is told where the log goes", SOON)


def test_a_changed_file_alone_is_enough(tmp_path: Path):
    port, there = free_port(), tmp_path / "own.log"
    with running(tmp_path, fleet(port, format="human", targets=["stderr"])) as daemon:
        daemon.healthy()
        daemon.write(fleet(port, format="json", targets=[f"file:{there}"]))
        daemon.wait(lambda _: objects(there), "the new target", SOON)
        daemon.wait(lambda _: "mcpwatch.log" in {one["logger"] for one in objects(there)}, "it says so", SOON)


def send(daemon: Daemon, number: int) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(number)
