"""sparfenyuk/mcp-proxy as a proxy kind: its named-server file, its routes, its traits. Pure.

Owns: what is special about it. It only runs stdio servers, so a member with a URL is reached through a second copy of itself in
client mode. It accepts every caller without a token and dies of one server that does not start. See docs/proxies/sparfenyuk.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.proxy import KeptFile, LogHint, RenderedFile
from mcpwatch.model.spec import ProxySpec, Traits, UpstreamSpec
from mcpwatch.ports import CHILD_MARK, ProxyKind
from mcpwatch.registry import Kind, KindSpec

INSIDE = "/config"
_BEARER = "Bearer "
_OPEN = "a proxy of kind 'sparfenyuk' accepts every caller without a token; remove it, or use kind gateway"
_LINE = re.compile(r"^(?:\[[A-Z] [^\]]*\] |[A-Z]+:\s+)?(?P<text>.*)$")


class SparfenyukSpec(KindSpec):
    """What only sparfenyuk/mcp-proxy understands."""

    binary: str = Field("mcp-proxy", description="The program, found on PATH or given as a path. Not used with `docker`.")
    config: str | None = Field(
        None,
        description="An existing named-server file whose other entries are served too. It is read, never written.",
    )
    allow_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from.")
    stateless: bool = Field(False, description="Serve Streamable HTTP without sessions.")


class Sparfenyuk(ProxyKind):
    """Renders the named-server file; the program is the user's own."""

    name = "sparfenyuk"
    traits = Traits(
        holds_sessions=True,
        lists_from_cache=False,
        mounts_late=False,
        reconnects=False,
        reloads=False,
        dies_on_bad_command=True,
        serves=("sse", "http"),
        generation="",
        health="/status",
        wire_by_path=True,
    )

    def render(self, proxy: ProxySpec, directory: Path) -> tuple[RenderedFile, ...]:
        """servers.json with the plan's members. Raises `ConfigError` for what it cannot express."""
        faults = [fault for upstream in proxy.upstreams for fault in _faults(upstream)]
        if proxy.tokens:
            faults.insert(0, Fault("proxy.auth.tokens", _OPEN))
        if faults:
            raise ConfigError(*faults)
        body = {"mcpServers": {upstream.name: _server(upstream, proxy) for upstream in proxy.upstreams}}
        options = SparfenyukSpec.or_default(proxy.options)
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        kept = KeptFile(Path(options.config).expanduser().absolute()) if options.config else None
        return (RenderedFile(_path(directory), text, 0o600, kept),)

    def command(self, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:
        """The program with its address and its file."""
        host, _, port = proxy.listen.rpartition(":")
        return (
            SparfenyukSpec.or_default(proxy.options).binary,
            *_flags(proxy, host.strip("[]"), port),
            "--named-server-config",
            str(_path(directory)),
        )

    def container(self, proxy: ProxySpec, directory: Path) -> Mapping[str, object]:
        """What a container of it needs beside its image."""
        path = _path(directory)
        host, _, port = proxy.listen.rpartition(":")
        everywhere = "0.0.0.0"  # noqa: S104  # inside the container; what is published is `listen`
        return {
            "command": [*_flags(proxy, everywhere, port), "--named-server-config", f"{INSIDE}/{path.name}"],
            "volumes": [f"{path.parent}:{INSIDE}:ro"],
            "ports": [f"{host}:{port}:{port}"],
        }

    def routes(self, proxy: ProxySpec, name: str) -> Mapping[Literal["sse", "http"], str]:  # noqa: ARG002
        """`/servers/<name>/sse` and `/servers/<name>/mcp`."""
        return {"sse": f"/servers/{name}/sse", "http": f"/servers/{name}/mcp"}

    def hint(self, line: str) -> LogHint | None:
        """What a line of its log means."""
        match = _LINE.match(line)
        text = match["text"] if match else line
        if text.startswith("Setting up named server '"):
            return LogHint(text.split("'")[1], "mounting", text[:300])
        if "Uvicorn running on" in text or text.startswith(("Application startup complete", "Serving MCP Servers")):
            return LogHint("", "ready", text[:300])
        if text.startswith(("Invalid config file format", "Error decoding JSON", "Configuration file not found")):
            return LogHint("", "bad_config", text[:300])
        if text.startswith(("FileNotFoundError:", "mcp.shared.exceptions.McpError:")):
            return LogHint("", "failed", text[:300])
        return None


def _path(directory: Path) -> Path:
    return directory / "proxy" / "servers.json"


def _flags(proxy: ProxySpec, host: str, port: str) -> tuple[str, ...]:
    options = SparfenyukSpec.or_default(proxy.options)
    origins = ("--allow-origin", *options.allow_origins) if options.allow_origins else ()
    return ("--host", host, "--port", port, *(("--stateless",) if options.stateless else ()), *origins)


def _faults(upstream: UpstreamSpec) -> list[Fault]:
    where = f"members.{upstream.name}"
    asked = cast("dict[str, Any]", json.loads(upstream.options))
    other = [name for name, value in upstream.headers if not _bearer(name, value)]
    found: list[Fault] = []
    if upstream.tokens:
        found.append(Fault(f"{where}.auth.tokens", _OPEN))
    if asked.get("tools"):
        found.append(Fault(f"{where}.tools", "a proxy of kind 'sparfenyuk' shows all tools; remove it, or use kind gateway"))
    if asked.keys() - {"tools", "sessions"}:
        found.append(Fault(f"{where}.proxy_options", "a proxy of kind 'sparfenyuk' has no options for a member; remove it"))
    if upstream.transport == "stdio" and upstream.cwd:
        text = "a proxy of kind 'sparfenyuk' runs servers in its own directory; remove it, or add a bridge"
        found.append(Fault(f"{where}.stdio.cwd", text))
    if other:
        text = "a proxy of kind 'sparfenyuk' takes headers on its command line, where all can read them; use token"
        found.append(Fault(f"{where}.headers.{other[0]}", text))
    return found


def _server(upstream: UpstreamSpec, proxy: ProxySpec) -> dict[str, Any]:
    if upstream.transport == "stdio":
        env = {**dict(upstream.env), CHILD_MARK: upstream.name}
        return {"command": upstream.command, "args": list(upstream.args), "env": env}
    token = next((value.removeprefix(_BEARER) for name, value in upstream.headers if _bearer(name, value)), None)
    return {
        "command": "mcp-proxy" if proxy.contained else SparfenyukSpec.or_default(proxy.options).binary,
        "args": ["--transport", "sse" if upstream.wire_by_path == "sse" else "streamablehttp", upstream.url],
        "env": {"API_ACCESS_TOKEN": token} if token else {},
    }


def _bearer(name: str, value: str) -> bool:
    return name.lower() == "authorization" and value.startswith(_BEARER)


KIND: Kind[Sparfenyuk] = Kind("sparfenyuk", SparfenyukSpec, Sparfenyuk, "sparfenyuk/mcp-proxy: named stdio servers")
