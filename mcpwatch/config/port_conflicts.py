"""Addresses: from what is listened on to what is called; who listens where on this machine, and who would collide. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

from pydantic import BaseModel

from mcpwatch.config.models import BridgeConfig
from mcpwatch.config.parse import Config
from mcpwatch.foreign.document import Path, spell
from mcpwatch.model.runtime import traits_of

ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # compared with, never bound
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def local(listen: str) -> str:
    """The `http://host:port` by which this machine reaches an address listened on."""
    host, _, port = listen.rpartition(":")
    reach = "[::1]" if host == "[::]" else "127.0.0.1" if host.strip("[]") in ANYWHERE else host
    return f"http://{reach}:{port}"


def bridge_url(name: str, bridge: BridgeConfig) -> str:
    """Where a bridge of ours answers on this machine."""
    return f"{local(bridge.listen)}/{name}/{'sse' if bridge.transport == 'sse' else 'mcp'}"


def origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def public(base_url: str, path: str) -> str:
    """The URL of a path for clients: a base URL with a path of its own (`https://host/mcp`) keeps it, once."""
    prefix = urlsplit(base_url).path.rstrip("/")
    return origin(base_url) + (path if prefix and path.startswith(prefix + "/") else prefix + path)


_PUBLISHED = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|[0-9.]+):)?(\d+):\d+(?:/tcp)?")
"""A port a container publishes, as compose writes it: `9072:8080`, `127.0.0.1:9072:8080`."""


def port_clashes(config: Config) -> Iterator[tuple[Path, str]]:
    """Each address that somebody written earlier has already."""
    taken: list[tuple[str, int, Path]] = []
    for path, address in claims(config):
        host, _, port = address.rpartition(":")
        host = host.strip("[]").lower()
        if port == "0":
            continue
        clash = next((other for other in taken if other[1] == int(port) and _overlap(other[0], host)), None)
        if clash:
            yield path, f"port {port} is taken by {spell(clash[2])}; choose another"
        taken.append((host, int(port), path))


def _overlap(one: str, other: str) -> bool:
    same = one == other or {one, other} <= LOOPBACK - {"::1"}
    return same or one in ANYWHERE or other in ANYWHERE


def claims(config: Config) -> Iterator[tuple[Path, str]]:
    """Every address of this machine that the fleet listens on, as `host:port`, and where that is written."""
    if config.proxy is not None and config.proxy.traits.runs:
        yield ("proxy", "listen"), config.proxy.written.listen
    for member in config.members:
        if member.written.bridge:
            yield (*member.path, "bridge", "listen"), member.written.bridge.listen
        parts = urlsplit(member.written.url or "")
        if any(traits_of(name).own for name, _ in member.blocks) and parts.hostname in LOOPBACK and parts.port:
            yield (*member.path, "url"), f"{parts.hostname}:{parts.port}"
        for name, block in member.blocks:
            for index, port in enumerate(cast("tuple[object, ...]", getattr(block, "ports", None) or ())):
                if match := _PUBLISHED.fullmatch(str(port)):
                    yield (*member.path, name, "ports", index), f"{match[1] or '127.0.0.1'}:{match[2]}"
    for room, spec in config.sections:
        yield from _listens(spec, (room,))


def _listens(spec: BaseModel, path: Path) -> Iterator[tuple[Path, str]]:
    for name, value in dict(spec).items():
        if name == "listen" and isinstance(value, str) and ":" in value:
            yield (*path, name), value
        elif isinstance(value, BaseModel):
            yield from _listens(value, (*path, name))
