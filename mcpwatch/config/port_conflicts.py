"""Who listens where on this machine, and who would collide. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

from pydantic import BaseModel

from mcpwatch.config.addresses import ANYWHERE, LOOPBACK
from mcpwatch.config.parse import Config
from mcpwatch.foreign.document import Path, spell

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
        if any(name == "process" for name, _ in member.blocks) and parts.hostname in LOOPBACK and parts.port:
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
