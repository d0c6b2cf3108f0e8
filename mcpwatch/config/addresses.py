"""Addresses: from what is listened on to what is called, for this machine and for clients. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from mcpwatch.config.models import BridgeConfig

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
