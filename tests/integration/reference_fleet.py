"""The reference fleet on a real engine: names of its own for one test, everything gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon, free_port
from tests.parts import PARTS, ROOT, program
from tests.parts import server as server_program

IMAGE = "mcpwatch-reference-fleet:test"
TOKEN = "token-of-the-reference-fleet-0123"
NODE = "/npm/node_modules/.bin/node"
FILES = "/npm/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
PATIENT: dict[str, Any] = {"intensity": 50, "backoff": {"first": "100ms", "max": "1s"}}
"""A fleet that is drilled every few seconds needs a larger budget than one that lives."""
UP = 90.0
"""Seconds until a fleet of five containers is proven healthy on a busy machine with two cores."""


class Names:
    """Names on the engine for one fleet."""

    def __init__(self) -> None:
        self.tag = secrets.token_hex(4)
        self.network = f"net-{self.tag}"

    def __call__(self, member: str) -> str:
        return f"{member}-{self.tag}"


def bridge(names: Names, member: str, *command: str, **more: Any) -> dict[str, Any]:
    """A stdio server behind a sparfenyuk bridge, in a container."""
    argv = ["bridge", "--host", "0.0.0.0", "--port", "8080", "--", *command]
    block = {"image": IMAGE, "name": names(member), "command": argv, "networks": [names.network], **more}
    return {"docker": block, "url": f"http://{names(member)}:8080/sse"}


def reference_fleet(names: Names, port: int) -> dict[str, Any]:
    """TBXark, a fetch bridge, a filesystem bridge, a native SSE server and one stdio server inside the proxy."""
    native = ["/opt/servers/bin/python", "/opt/postgres_like.py", "8686"]
    return {
        "version": 1,
        "proxy": {
            "kind": "tbxark",
            "listen": f"127.0.0.1:{port}",
            "docker": {
                "image": IMAGE,
                "name": names("proxy"),
                "entrypoint": ["mcp-proxy"],
                "networks": [names.network],
                "memory": "256m",
            },
            "auth": {"tokens": ["${SEED_TOKEN}"]},
        },
        "members": {
            "clock": {"stdio": {"command": "mcp-server-time"}},
            "fetch": bridge(names, "fetch", "mcp-server-fetch", memory="256m"),
            "files": bridge(names, "files", NODE, FILES, "/data", memory="256m"),
            "postgres": {
                "docker": {
                    "image": IMAGE,
                    "name": names("postgres"),
                    "command": native,
                    "networks": [names.network],
                    "memory": "192m",
                },
                "url": f"http://{names('postgres')}:8686/sse",
                "checks": {"tools": {"kind": "mcp", "interval": "2s", "expect": {"min_tools": 2}}},
            },
        },
        "defaults": {"check": {"interval": "2s", "timeout": "3s", "failure_threshold": 2}, "stop_grace": "3s", "restart": PATIENT},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }


def reference_processes(port: int) -> dict[str, Any]:
    """The same fleet as processes of this machine: the bridges are sparfenyuk's here too."""
    node, files = str(program("node22")), str(PARTS / "npm/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js")
    native = free_port()
    server = {
        "command": str(server_program("python")),
        "args": [str(ROOT / ".ci/docker/postgres_like.py"), str(native), "127.0.0.1"],
    }
    return {
        "version": 1,
        "proxy": {"kind": "tbxark", "binary": str(program("tbxark")), "listen": f"127.0.0.1:{port}"},
        "members": {
            "clock": {"stdio": {"command": str(server_program("mcp-server-time"))}},
            "fetch": local_bridge(str(server_program("mcp-server-fetch"))),
            "files": local_bridge(node, files, str(ROOT / "examples")),
            "postgres": {"process": server, "url": f"http://127.0.0.1:{native}/sse"},
        },
        "defaults": {"check": {"interval": "2s", "timeout": "3s", "failure_threshold": 2}, "stop_grace": "3s", "restart": PATIENT},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }


def local_bridge(*command: str) -> dict[str, Any]:
    """A stdio server behind a sparfenyuk bridge, as a process."""
    port = free_port()
    argv = ["--host", "127.0.0.1", "--port", str(port), "--", *command]
    return {"process": {"command": str(program("sparfenyuk")), "args": argv}, "url": f"http://127.0.0.1:{port}/sse"}


@contextlib.contextmanager
def fleet(directory: Path, config: dict[str, Any], names: Names) -> Generator[Daemon]:
    """A running daemon with a proven fleet; its containers and networks are gone afterwards."""
    os.environ["SEED_TOKEN"] = TOKEN
    daemon = Daemon(directory, config)
    try:
        daemon.start()
        proven(daemon)
        yield daemon
    finally:
        daemon.close()
        sweep(names)


def proven(daemon: Daemon, timeout: float = UP) -> dict[str, Any]:
    """Wait until every member and route is there and well."""
    return daemon.wait(lambda status: status["healthy"] and status["members"] and status["routes"], "all is proven", timeout)


def sweep(names: Names) -> None:
    """Remove what carries the tag of these names."""
    for kind, remove in ((("ps", "-aq"), ("rm", "-f", "-v")), (("network", "ls", "-q"), ("network", "rm"))):
        listed = subprocess.run(["docker", *kind, "--filter", f"name={names.tag}"], capture_output=True, timeout=30, check=False)
        found = listed.stdout.decode().split()
        if found:
            subprocess.run(["docker", *remove, *found], capture_output=True, timeout=60, check=False)
