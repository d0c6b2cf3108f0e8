"""The seed fleet on a real engine: names of its own for one test, everything gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon, free_port

IMAGE = "mcpwatch-seed:test"
TOKEN = "token-of-the-seed-fleet-0123"
NODE = "/npm/node_modules/.bin/node"
FILES = "/npm/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
UP = 90.0
"""Seconds until a fleet of five containers is proven healthy on a busy machine with two cores."""


def image_missing(name: str) -> str:
    """Why an image cannot be used here, or the empty string."""
    done = subprocess.run(["docker", "image", "inspect", name], capture_output=True, timeout=20, check=False)
    return "" if done.returncode == 0 else f"no image {name}; run .ci/parts"


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


def seed_fleet(names: Names, port: int) -> dict[str, Any]:
    """TBXark, a fetch bridge, a filesystem bridge, a native SSE server and one stdio server inside the proxy."""
    native = ["/opt/servers/bin/python", "/opt/postgres_like.py", "8686"]
    return {
        "version": 1,
        "proxy": {
            "kind": "tbxark",
            "listen": f"127.0.0.1:{port}",
            "docker": {"image": IMAGE, "name": names("proxy"), "entrypoint": ["mcp-proxy"], "networks": [names.network]},
            "auth": {"tokens": ["${SEED_TOKEN}"]},
        },
        "members": {
            "clock": {"stdio": {"command": "mcp-server-time"}},
            "fetch": bridge(names, "fetch", "mcp-server-fetch", memory="256m"),
            "files": bridge(names, "files", NODE, FILES, "/data"),
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
        "defaults": {"check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2}, "stop_grace": "3s"},
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }


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
