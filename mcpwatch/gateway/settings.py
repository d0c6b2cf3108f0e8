"""What the gateway is told to serve, as frozen data. Pure. `dialects.py` reads it from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from mcpwatch.model.restart import RestartPolicy

Transport = Literal["auto", "sse", "http", "stateless"]
Sessions = Literal["auto", "shared", "isolated"]
SESSIONS: tuple[Sessions, ...] = get_args(Sessions)

DEFAULT_LISTEN = "127.0.0.1:9090"


@dataclass(frozen=True, slots=True)
class ToolRules:
    """Which tools of a member are shown, and under which name (`rename`: own name to shown name)."""

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One member: a stdio command or a URL. Equal settings mean that a reload leaves it alone; time limits are no part of them."""

    name: str
    command: str | None = None
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    env_files: tuple[str, ...] = ()
    """Files of `NAME=value` lines that are read at each start; `env` has what they held when the configuration was read."""
    env_own: tuple[str, ...] = ()
    """Names in `env` that no such file sets."""
    cwd: str | None = None
    url: str | None = field(default=None, repr=False)
    transport: Transport = "auto"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: str | None = None
    insecure: bool = False
    cert_file: str | None = None
    key_file: str | None = None
    """TLS to a URL, as `mcpwatch.http_client.trust` takes it; not its class, because a cold start does not load ssl."""
    sessions: Sessions = "auto"
    digests: tuple[str, ...] = field(default=(), repr=False)
    """SHA-256 of each token that opens it, in hex: a token itself is never kept."""
    tools: ToolRules = ToolRules()
    restart: RestartPolicy = field(default=RestartPolicy(), compare=False)
    """Of a server with a command. One with a URL is tried for ever, with the pauses of this policy alone."""
    start_grace: float = field(default=0.0, compare=False)
    """Seconds from spawn to its first answer that this server may take, where that is more than `ServingLimits.start`."""


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """Bounds of the gateway. Bytes, seconds, counts; the defaults stand here and nowhere else."""

    body: int = 8 * 1024 * 1024
    headers: int = 64 * 1024
    connections: int = 8192
    connections_per_address: int = 2048
    sessions_per_token: int = 1000
    calls_per_second: float = 0
    session_idle: float = 1800
    call: float = 3600
    start: float = 60
    drain: float = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one gateway serves. `bridge`: `/sse` and `/mcp` are those of the only server."""

    listen: str = DEFAULT_LISTEN
    base_url: str | None = None
    digests: tuple[str, ...] = field(default=(), repr=False)
    """SHA-256 of each token that opens it, in hex: a token itself is never kept."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limits: ServingLimits = ServingLimits()
    bridge: bool = False
    replica: str = ""
    """The name of this gateway among `replicas`: name and base URL of every gateway that serves this file, itself too."""
    replicas: tuple[tuple[str, str], ...] = ()
    servers: tuple[ServerSettings, ...] = ()
    held: frozenset[str] = frozenset()
    """Servers with a command that are not started until somebody says so."""
    process: str = ""
    """Which process this is for, as its watchdog tells them apart; one of another process leaves it to that."""


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9090`, `[::1]:9090` or `:9090` (every interface). Raises `ValueError`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
