"""The fleet of this project's owner: a central TBXark, and behind it TBXark bridges, each with one stdio child."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tests.e2e.daemon import free_port
from tests.integration.reference_fleet import IMAGE, Names
from tests.parts import program
from tests.parts import server as server_program

CLOCK = ("mcp-server-time", "get_current_time", {"timezone": "UTC"})
CHECKS: dict[str, Any] = {
    "check": {"interval": "2s", "timeout": "5s", "failure_threshold": 2},
    "stop_grace": "8s",
    "restart": {"intensity": 50, "backoff": {"first": "100ms", "max": "1s"}},
}


def bridge_file(directory: Path, name: str, address: str, base: str, command: list[str]) -> Path:
    """The configuration of a TBXark that serves one stdio server."""
    body = {
        "mcpProxy": {"baseURL": base, "addr": address, "name": name, "version": "1", "type": "sse"},
        "mcpServers": {name: {"command": command[0], "args": command[1:]}},
    }
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    path.chmod(0o644)
    return path


def child(cold: float, server: str, started: str) -> list[str]:
    """The command of a server that needs so many seconds before its first answer, but for its first start (the file `started`)."""
    wait = f"test -e {started} && sleep {cold:g}; touch {started}; exec {server}"
    return ["sh", "-c", wait] if cold else [server]


def process_bridge(directory: Path, name: str, cold: float = 0.0, **more: Any) -> dict[str, Any]:
    """A TBXark bridge as a process of this machine."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    path = bridge_file(
        directory, name, f"127.0.0.1:{port}", base, child(cold, str(server_program(CLOCK[0])), f"{directory}/{name}.on")
    )
    return {"process": {"command": str(program("tbxark")), "args": ["-config", str(path)]}, "url": f"{base}/{name}/sse", **more}


def docker_bridge(directory: Path, names: Names, name: str, cold: float = 0.0, **more: Any) -> dict[str, Any]:
    """The same in a container."""
    base = f"http://{names(name)}:8080"
    bridge_file(directory, name, ":8080", base, child(cold, CLOCK[0], f"/bridge/{name}.on"))
    block = {
        "image": IMAGE,
        "name": names(name),
        "entrypoint": ["mcp-proxy"],
        "command": ["-config", f"/bridge/{name}.json"],
        "volumes": [f"{directory}:/bridge"],
        "networks": [names.network],
    }
    return {"docker": block, "url": f"{base}/{name}/sse", **more}


def owner_fleet(proxy: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
    """The whole file, with a proxy that clients reach by Streamable HTTP."""
    port = free_port()
    return {
        "version": 1,
        "proxy": {"listen": f"127.0.0.1:{port}", **proxy},
        "members": members,
        "defaults": CHECKS,
        "telemetry": {"metrics": {"listen": f"127.0.0.1:{free_port()}"}},
    }


def tbxark_process() -> dict[str, Any]:
    """TBXark in front, as a process."""
    return {"kind": "tbxark", "binary": str(program("tbxark")), "type": "streamable-http"}


def tbxark_docker(names: Names) -> dict[str, Any]:
    """TBXark in front, in a container."""
    block = {"image": IMAGE, "name": names("proxy"), "entrypoint": ["mcp-proxy"], "networks": [names.network]}
    return {"kind": "tbxark", "docker": block, "type": "streamable-http"}


def route_url(config: dict[str, Any], name: str) -> str:
    """Where clients find a route."""
    return f"http://{config['proxy']['listen']}/{name}/mcp"


def child_of(pid: int, name: str = "mcp-server-time") -> int:
    """The stdio server below a bridge."""
    from mcpwatch.cli.processes import family

    for one in family(pid)[1:]:
        with contextlib.suppress(OSError):
            if name.encode() in Path(f"/proc/{one}/cmdline").read_bytes():
                return one
    raise LookupError(f"nothing like {name} runs below {pid}")
