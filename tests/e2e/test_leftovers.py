"""Real members with troubles that look like others: a dead child behind a bare 503, a lost route, no descriptors."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.watchdog.behind import LASTS
from tests.e2e.daemon import Daemon, free_port, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
CHECK = {"interval": "1s", "timeout": "3s", "failure_threshold": 2}

SERVER = """
import http.server, json, os, resource, subprocess, sys, threading, time
port, leaking, child = int(sys.argv[1]), sys.argv[2], sys.argv[3]
below = subprocess.Popen(["sleep", "600"]) if child else None
if child:
    open(child, "w").write(str(below.pid))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self): self.answer(405)
    def do_DELETE(self): self.answer(200)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if below is not None and below.poll() is not None:
            return self.answer(503)
        method, number = asked.get("method"), asked.get("id")
        if number is None:
            return self.answer(202)
        hello = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "n", "version": "1"}}
        said = {
            "initialize": hello,
            "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
            "ping": {},
        }.get(method)
        unknown = {"error": {"code": -32601, "message": "no"}}
        body = {"jsonrpc": "2.0", "id": number} | (unknown if said is None else {"result": said})
        self.answer(200, json.dumps(body).encode())
    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

def leak():
    while not os.path.exists(leaking): time.sleep(0.1)
    os.remove(leaking)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    while True:
        try: os.dup(0)
        except OSError: time.sleep(0.001)

threading.Thread(target=leak, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""A server that leaks descriptors from when a file is there; with a child, without which it has no word but 503."""


def native(port: int, directory: Path, *, child: bool = False) -> dict[str, Any]:
    """A member that is this server."""
    command = [sys.executable, "-c", SERVER, str(port), str(directory / "leak"), str(directory / "child") if child else ""]
    return {"process": {"command": command[0], "args": command[1:]}, "url": f"http://127.0.0.1:{port}/mcp"}


def fleet(members: dict[str, Any], grace: str = "60s") -> dict[str, Any]:
    return {
        "version": 1,
        "proxy": {"listen": f"127.0.0.1:{free_port()}"},
        "members": members,
        "defaults": {"check": CHECK, "start_grace": grace},
    }


def repairs(daemon: Daemon) -> list[str]:
    return [f"{fact['rung']} of {fact['member']}" for fact in daemon.events() if fact["fact"] == "repair_tried"]


def generation(daemon: Daemon, name: str) -> int:
    return int(daemon.member(name)["generation"])


def test_a_bridge_that_has_no_word_but_503_since_its_child_died_is_restarted_after_its_grace(tmp_path: Path) -> None:
    with running(tmp_path, fleet({"a": native(free_port(), tmp_path, child=True)}, "8s")) as daemon:
        daemon.healthy()
        daemon.wait(lambda s: s["at"] - daemon.member("a")["started_at"] > LASTS + 5.0, "it is known that it runs another", 60)
        os.kill(int((tmp_path / "child").read_text(encoding="utf-8")), signal.SIGKILL)
        daemon.wait(lambda s: any("more to answer again" in d["next"] for d in s["diagnoses"]), "it is given time", 30)
        daemon.wait(lambda _: generation(daemon, "a") == 2, "it is restarted", 60)
        daemon.healthy()
        assert repairs(daemon) == ["restart of a"]
        causes = [fact["cause"] for fact in daemon.events() if fact["fact"] == "diagnosed" and not fact["cleared"]]
        assert causes[:2] == ["overloaded", "child_died"]


def test_a_gateway_that_lost_routes_gets_them_back_without_a_restart_of_it(tmp_path: Path) -> None:
    config = fleet({"a": native(free_port(), tmp_path), "inner": {"stdio": {"command": "mcp-server-time"}}})
    with running(tmp_path, config) as daemon:
        daemon.healthy()
        file = daemon.state / "proxy" / "gateway.json"
        known = json.loads(file.read_text(encoding="utf-8"))
        lost = known | {"servers": {}}
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(lost), encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(file)
        daemon.wait(lambda _: [fact for fact in daemon.events() if fact["fact"] == "repair_proved"], "a repair is proved", 60)
        daemon.healthy()
        assert json.loads(file.read_text(encoding="utf-8")) == known
        assert (generation(daemon, "proxy"), generation(daemon, "a")) == (1, 1)
        assert set(repairs(daemon)) <= {"reconnect of proxy", "reconnect of inner"}, "whichever route is looked at first"


def test_a_server_without_a_descriptor_left_is_named_so_and_started_anew(tmp_path: Path) -> None:
    with running(tmp_path, fleet({"a": native(free_port(), tmp_path)})) as daemon:
        daemon.healthy()
        (tmp_path / "leak").touch()
        daemon.wait(lambda _: generation(daemon, "a") == 2, "it is restarted", 90)
        daemon.healthy()
        told = [fact["text"] for fact in daemon.events() if fact["fact"] == "diagnosed" and fact["cause"] == "member_exhausted"]
        assert re.search("it is out of file descriptors: 6[34] of 64 are open", told[0]), "one may be between two connections"
        assert repairs(daemon) == ["restart of a"]


def test_of_an_address_of_others_where_nothing_listens_that_is_said_and_what_is_not_known(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, fleet({"theirs": {"url": f"http://127.0.0.1:{port}/mcp"}})) as daemon:
        found = daemon.wait(lambda s: s["diagnoses"], "it is named", 60)["diagnoses"][0]
        unknown = "mcpwatch did not start it, and cannot tell whether it runs"
        assert found["text"] == f"nothing listens at 127.0.0.1:{port} (refused); {unknown}"
        assert found["next"].startswith("left to a person: mcpwatch did not start it")
