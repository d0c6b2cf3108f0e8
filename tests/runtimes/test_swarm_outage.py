"""A whole fleet on a swarm of three nodes, a real proxy in front, and the node of its member dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, free_port
from tests.parts import program
from tests.runtimes.docker_lab import IMAGE
from tests.runtimes.swarm_lab import Node, Swarm, three_nodes, until

pytestmark = [
    pytest.mark.needs("swarm-nodes"),
    pytest.mark.needs("tbxark"),
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(580),
    pytest.mark.xdist_group("swarm"),
]

SESSIONS = """
import http.server, json, uuid
TOOLS = [{'name': 'echo', 'inputSchema': {'type': 'object'}}]
ABOUT = {'protocolVersion': '2025-06-18', 'capabilities': {'tools': {}}, 'serverInfo': {'name': 'one', 'version': '1'}}
ANSWERS = {'initialize': ABOUT, 'tools/list': {'tools': TOOLS}, 'ping': {}}
KNOWN = set()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        session = self.headers.get('Mcp-Session-Id')
        if asked.get('method') == 'initialize':
            session = uuid.uuid4().hex
            KNOWN.add(session)
        elif session not in KNOWN:
            return self.say(404, b'', '')
        if 'id' not in asked:
            return self.say(202, b'', session)
        unknown = {'error': {'code': -32601, 'message': 'Method not found'}}
        found = {'result': ANSWERS[asked['method']]} if asked.get('method') in ANSWERS else unknown
        self.say(200, json.dumps({'jsonrpc': '2.0', 'id': asked['id'], **found}).encode(), session)
    def do_GET(self):
        self.say(405, b'', '')
    do_DELETE = do_GET
    def say(self, status, body, session):
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        if session:
            self.send_header('Mcp-Session-Id', session)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""
"""A server that knows its own sessions alone."""
COMMAND = ["python3", "-c", SESSIONS]
NET = "mcp-net"


@pytest.fixture(scope="module")
def swarm() -> Generator[Swarm]:
    with three_nodes() as three:
        three.nodes[0].docker("network", "create", "-d", "overlay", "--attachable", NET)
        hold = ("--mode", "global", "--name", "hold", "--network", NET, "--no-resolve-image", IMAGE, "sleep", "3600")
        three.nodes[0].docker("service", "create", "-d", *hold)  # an engine forgets an overlay that nothing of its own uses
        yield three


class Fleet:
    """A server somewhere on the swarm, and TBXark in front of it as a container of the first node."""

    def __init__(self, swarm: Swarm, directory: Path, name: str) -> None:
        self.swarm, self.name = swarm, name
        self.manager = swarm.nodes[0]
        self.proxy, self.port, self.public = f"proxy-{name}", free_port(), free_port()
        server = {"transportType": "streamable-http", "url": f"http://tasks.mcp-{name}:8000/mcp"}
        about = {"baseURL": self.url, "addr": ":9090", "name": "p", "version": "1", "type": "sse"}
        self.config = directory / "config.json"
        self.config.write_text(json.dumps({"mcpProxy": about, "mcpServers": {"one": server}}), encoding="utf-8")

    @property
    def url(self) -> str:
        """Where the proxy is reached."""
        return f"http://{self.manager.address}:{self.public}"

    def front(self) -> None:
        """Run the proxy: it connects once, when it starts."""
        binary, name = program("tbxark"), self.proxy
        self.manager.docker(
            "run", "-d", "--name", name, "--network", NET, "-p", f"{self.public}:9090", "-v", f"{binary}:/mcp-proxy:ro",
            "-v", f"{self.config}:/config.json:ro", IMAGE, "/mcp-proxy", "-config", "/config.json",
        )  # fmt: skip

    def homes(self) -> list[Node]:
        """The nodes that run the server."""
        wanted = ("ps", "-q", "--filter", f"label=com.docker.swarm.service.name=mcp-{self.name}")
        return [node for node in self.swarm.nodes if node.docker(*wanted, check=False)]

    def home(self) -> Node:
        """The node that runs the server."""
        return self.homes()[0]

    def serves(self) -> bool:
        """Whether a client of the proxy gets the server's tools."""
        words = [sys.executable, "-m", "mcpwatch", "check", "--url", f"{self.url}/one/sse", "--timeout", "15s"]
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0

    def close(self) -> None:
        """End both."""
        self.manager.docker("rm", "-f", self.proxy, check=False)
        self.manager.docker("service", "rm", f"mcp-{self.name}", check=False)


def lose(node: Node) -> None:
    """Take a node away with its power: containers outlive their engine, so its cable goes first."""
    node.cut()
    node.kill()


def revived(swarm: Swarm, lost: Node) -> None:
    """Give a lost node back, and wait for it."""
    lost.join()
    lost.start()
    asked = ("node", "ls", "--format", "{{.Status}}")
    until("the node is back", lambda: swarm.nodes[0].docker(*asked, check=False).split() == ["Ready"] * 3)


def test_a_server_of_a_dead_node_is_moved_and_served_again_through_the_same_proxy(swarm: Swarm, tmp_path: Path) -> None:
    fleet = Fleet(swarm, tmp_path, "one")
    manager = fleet.manager
    elsewhere = f"node.id!={manager.docker('info', '-f', '{{.Swarm.NodeID}}')}"
    carried = {
        "image": IMAGE, "host": manager.socket, "placement": "any", "command": COMMAND, "networks": [NET],
        "ports": [f"0.0.0.0:{fleet.port}:8000"], "constraints": [elsewhere],
    }  # fmt: skip
    member = {
        "swarm": carried,
        "url": "http://tasks.mcp-one:8000/mcp",
        "checks": {"tools": {"interval": "1s"}},
        "start_grace": "90s",
    }
    proxy = {
        "kind": "external",
        "like": "tbxark",
        "base_url": fleet.url,
        "docker": {"container": fleet.proxy, "host": manager.socket},
    }
    daemon = Daemon(tmp_path, {"version": 1, "proxy": proxy, "members": {"one": member}})
    try:
        fleet.front()
        daemon.start()
        daemon.healthy(240.0)
        lost = fleet.home()
        began = time.monotonic()
        lose(lost)
        noticed = daemon.wait(lambda status: not status["healthy"] and time.monotonic() - began, "it is noticed", 120.0)
        detected = time.monotonic() - began
        assert noticed["members"]
        daemon.wait(lambda _: daemon.member("one")["generation"] == 2, "the member is started elsewhere", 200.0)
        moved = time.monotonic() - began
        daemon.healthy(200.0)
        until("the proxy serves it", fleet.serves)
        healed = time.monotonic() - began
        assert fleet.home() is not lost
        facts = [str(fact["text"]) for fact in daemon.events()]
        assert any(lost.address in text for text in facts), facts
        print(f"mcpwatch: noticed {detected:.1f} s, started elsewhere {moved:.1f} s, route proved again {healed:.1f} s after")
        assert fleet.homes() != [lost]
        revived(swarm, lost)
    finally:
        daemon.close()
        fleet.close()
