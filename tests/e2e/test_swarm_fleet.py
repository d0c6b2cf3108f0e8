"""A whole fleet with a member whose tasks the swarm keeps: its end and return are followed and proved, and nothing else is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, free_port
from tests.runtimes.docker_lab import IMAGE, docker
from tests.runtimes.test_swarm import alone, swarm

__all__ = ["alone", "swarm"]
"""Fixtures of this file too."""

pytestmark = [
    pytest.mark.needs("docker"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("swarm"),
    pytest.mark.usefixtures("swarm"),
]

SERVE = """
import http.server, json
TOOLS = [{'name': 'echo', 'inputSchema': {'type': 'object'}}]
ABOUT = {'protocolVersion': '2025-06-18', 'capabilities': {'tools': {}}, 'serverInfo': {'name': 'one', 'version': '1'}}
ANSWERS = {'initialize': ABOUT, 'tools/list': {'tools': TOOLS}, 'ping': {}}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        if 'id' not in asked:
            return self.say(202, b'')
        unknown = {'error': {'code': -32601, 'message': 'Method not found'}}
        found = {'result': ANSWERS[asked['method']]} if asked.get('method') in ANSWERS else unknown
        self.say(200, json.dumps({'jsonrpc': '2.0', 'id': asked['id'], **found}).encode())
    def do_GET(self):
        self.say(405, b'')
    do_DELETE = do_GET
    def say(self, status, body):
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""


def test_a_task_that_the_swarm_brings_back_is_followed_proved_and_otherwise_left_alone(tmp_path: Path) -> None:
    port, name = free_port(), f"one-{free_port()}"
    member = {
        "swarm": {
            "image": IMAGE,
            "name": name,
            "placement": "any",
            "replicas": 1,
            "command": ["python3", "-c", SERVE],
            "ports": [f"0.0.0.0:{port}:8000"],
            "probe": {"kind": "python3", "interval": "1s"},
        },
        "url": f"http://127.0.0.1:{port}/mcp",
        "checks": {"tools": {"interval": "1s"}},
        "start_grace": "90s",
    }
    daemon = Daemon(tmp_path, {"version": 1, "proxy": {"listen": f"127.0.0.1:{free_port()}"}, "members": {"one": member}})
    try:
        daemon.start()
        daemon.healthy()
        written = service(name)["Version"]
        assert service(name)["Spec"]["TaskTemplate"]["RestartPolicy"]["Condition"] == "any"
        (first,) = docker("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={name}").split()
        docker("kill", "-s", "USR1", first)
        daemon.wait(lambda _: daemon.member("one")["generation"] == 2 and daemon.status()["healthy"], "it is back and proved")
        assert service(name)["Version"] == written
        facts = [fact["text"] for fact in daemon.events() if fact.get("member") == "one"]
        assert sum("runs on node" in text for text in facts) == 2
        assert daemon.stop() == 0
        assert name not in docker("service", "ls", "--format", "{{.Name}}").split()
    finally:
        daemon.close()
        docker("service", "rm", name, check=False)


def service(name: str) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    return json.loads(docker("service", "inspect", name))[0]
