"""A real fleet, a real receiver: an incident is told once and its end once, over a SIGKILL of the watchdog."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import free_port, running
from tests.parts import server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SOON = 40.0


@contextmanager
def receiver() -> Generator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """An endpoint and the documents it is sent."""
    got: queue.Queue[dict[str, Any]] = queue.Queue()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()


WRAPPER = """
import os, pathlib, sys
if pathlib.Path(__file__).with_name("broken").exists():
    sys.exit("KeyError: 'TOKEN'")
os.execv(sys.argv[1], sys.argv[1:])
"""


def fleet(directory: Path, url: str) -> dict[str, Any]:
    """A member that is well until a file called `broken` lies beside its program, and one that is always well."""
    program = directory / "wrapper.py"
    program.write_text(WRAPPER, encoding="utf-8")
    return {
        "version": 1,
        "proxy": {"kind": "gateway", "listen": f"127.0.0.1:{free_port()}"},
        "members": {
            "time": {"stdio": {"command": sys.executable, "args": [str(program), str(server("mcp-server-time"))]}},
            "git": {"stdio": {"command": "mcp-server-git"}},
        },
        "defaults": {"check": {"interval": "1s", "failure_threshold": 1}},
        "alerts": {
            "receivers": {"ops": {"kind": "webhook", "url": url}},
            "route": {"receiver": "ops", "for": 0, "group_wait": "2s", "group_interval": "1s"},
        },
    }


def ids(document: dict[str, Any]) -> set[str]:
    return {alert["id"] for alert in document["alerts"]}


def test_an_incident_is_told_once_and_its_end_once_over_a_kill_of_the_watchdog(tmp_path: Path):
    with receiver() as (url, got), running(tmp_path, fleet(tmp_path, url)) as daemon:
        daemon.healthy()
        assert got.empty(), "a fleet that starts well tells nobody anything"
        listed = daemon.run("alerts", "list")
        assert (listed.returncode, listed.stdout.strip()) == (0, "nothing is wrong")
        assert daemon.run("alerts", "test").stdout.strip() == "ops: delivered"
        assert got.get(timeout=SOON)["title"] == "[test] mcpwatch"

        (tmp_path / "broken").touch()
        os.kill(daemon.member("time")["pid"], signal.SIGKILL)
        told: set[str] = set()
        while "gave_up:time" not in told:
            document = got.get(timeout=SOON)
            assert document["state"] == "firing", document["title"]
            assert not told & ids(document), "told twice"
            told |= ids(document)
        assert told <= {"down:time", "gave_up:time"}, "the route of a dead member is not a second incident"

        listed = daemon.run("alerts", "list", "--json")
        assert listed.returncode == 1
        assert {one["id"] for one in json.loads(listed.stdout)["alerts"] if one["told"]} == told

        acked = daemon.run("alerts", "ack", "time", "--by", "me")
        assert acked.stdout.startswith("acknowledged: "), acked.stderr
        assert "acknowledged by me" in daemon.run("alerts", "list").stdout
        work = daemon.run("maintenance", "start", "git", "--for", "5m", "--comment", "a new disk")
        assert work.returncode == 0
        assert "a new disk" in daemon.run("maintenance", "list").stdout
        assert daemon.run("maintenance", "stop", work.stdout.split(":")[0]).returncode == 0
        assert daemon.run("maintenance", "list").stdout.strip() == "no maintenance"
        for wrong in (("silence", "add"), ("silence", "expire", "nope"), ("alerts", "ack", "nope"), ("alerts", "test", "nope")):
            refused = daemon.run(*wrong)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr

        daemon.stop(signal.SIGKILL)
        daemon.start()
        assert daemon.run("silence", "add", "time", "--for", "10m").returncode == 0
        (tmp_path / "broken").unlink()
        assert daemon.run("start", "time").returncode == 0
        daemon.healthy()
        ended: set[str] = set()
        while ended != told:
            document = got.get(timeout=SOON)
            assert document["state"] == "resolved", f"after a restart: {document['title']}"
            assert not ended & ids(document), "its end told twice"
            ended |= ids(document)
        assert got.empty()
        assert daemon.run("alerts", "list").returncode == 0
