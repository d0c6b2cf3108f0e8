"""The gateways that are compared: how each is run for these servers, and where it serves them on each wire."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.parts import PARTS, ROOT

HERE = Path(__file__).parent
ECHO = [sys.executable, str(HERE / "echo.py")]
STOP = 8.0


@dataclass(frozen=True)
class Peer:
    """One gateway by name; `direct` is none at all: the official SDK's server itself."""

    name: str

    @property
    def many(self) -> bool:
        """Whether it serves several servers under a path each."""
        return self.name not in {"direct", "fastmcp"}

    @property
    def quick(self) -> bool:
        """Whether it makes so many calls a second that a short run says nothing."""
        return self.name in {"mcpwatch", "tbxark"}

    def start(self, directory: Path, port: int, servers: dict[str, list[str]], wire: str) -> list[str]:
        plain = {name: {"command": command[0], "args": command[1:]} for name, command in servers.items()}
        config, address = directory / "c.json", f"127.0.0.1:{port}"
        match self.name:
            case "mcpwatch":
                # clients that are cut leave their sessions; none of the peers bounds those
                limits = {"sessions_per_token": 1_000_000}
                _write(config, {"version": 1, "listen": address, "servers": plain, "limits": limits})
                return [sys.executable, "-m", "mcpwatch.gateway", "--config", str(config)]
            case "tbxark":
                kind = "sse" if wire == "sse" else "streamable-http"
                proxy = {"baseURL": f"http://{address}", "addr": address, "name": "b", "version": "1", "type": kind}
                _write(config, {"mcpProxy": proxy, "mcpServers": plain})
                return [str(PARTS / "tbxark-a" / "mcp-proxy"), "-config", str(config)]
            case "sparfenyuk":
                switched = {name: spec | {"enabled": True, "transportType": "stdio"} for name, spec in plain.items()}
                _write(config, {"mcpServers": switched})
                program = str(PARTS / "sparfenyuk" / "bin" / "mcp-proxy")
                return [program, "--port", str(port), "--named-server-config", str(config)]
            case "direct":
                return [sys.executable, str(HERE / "direct.py"), str(port), wire]
            case _:
                _write(config, {"mcpServers": plain})
                return [str(PARTS / "fastmcp" / "bin" / "python"), str(HERE / "fastmcp_proxy.py"), str(config), str(port), wire]

    def url(self, port: int, server: str, wire: str) -> str:
        base = f"http://127.0.0.1:{port}"
        return (
            f"{base}/servers/{server}/{wire}"
            if self.name == "sparfenyuk"
            else f"{base}/{server}/{wire}"
            if self.many
            else f"{base}/{wire}"
        )


class Running:
    """A gateway process, from its start to its end."""

    def __init__(self, peer: Peer, servers: dict[str, list[str]], wire: str) -> None:
        self.peer, self.wire, self.port = peer, wire, free_port()
        self._directory = tempfile.TemporaryDirectory()
        command = peer.start(Path(self._directory.name), self.port, servers, wire)
        quiet = subprocess.DEVNULL
        # an installed package is compiled; a start that compiles it anew would be the compiler's, 60 ms of it
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=ROOT, env=environ, start_new_session=True)

    def url(self, server: str) -> str:
        return self.peer.url(self.port, server, self.wire)

    def cpu(self) -> float:
        """Seconds of CPU of the gateway itself, without its servers; by its own clock, because psutil's ticks are 10 ms."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # CPUCLOCK_SCHED of another process: clock_getcpuclockid(3)

    def rss(self) -> float:
        """MiB of the gateway itself, without its servers."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP)
        self._directory.cleanup()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document))
