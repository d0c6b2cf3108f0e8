"""The embedded gateway as a proxy kind: the file it reads, its routes, its traits. Knows nothing of how it works inside."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from mcpwatch.model.proxy import LogHint, RenderedFile
from mcpwatch.model.spec import ProxySpec, Traits, UpstreamSpec
from mcpwatch.model.wire import NOT_UTF8, SPREAD
from mcpwatch.ports import ProxyKind
from mcpwatch.registry import Kind, KindSpec
from mcpwatch.units import Size, Span

EXHAUSTED = re.compile(r"too many open files|out of system resource|EMFILE", re.IGNORECASE)
"""By these words a proxy says that it has no file descriptor left."""
_POLLUTED = re.compile(
    rf" WARNING (?P<member>[^ :]+): (?P<text>stdout holds (?:a line that is no JSON-RPC message|{NOT_UTF8}|{SPREAD}): .*)"
)
_UNASKED = re.compile(
    r" WARNING (?P<member>[^ :]+): (?P<text>answers (?:a request that was|\d+ more requests that were) not sent, .*)"
)


class GatewayLimits(KindSpec):
    """Bounds of the gateway. What is left out has the gateway's own default."""

    body: Size | None = Field(None, description="Longest request body. Default 8m.")
    headers: Size | None = Field(None, description="Most bytes of request headers. Default 64k.")
    connections: int | None = Field(None, ge=1, description="Connections that may be open in all. Default 8192.")
    connections_per_address: int | None = Field(
        None, ge=1, description="Connections of one address; a proxy in front is one. Default 2048."
    )
    sessions_per_token: int | None = Field(None, ge=1, description="Sessions one token may hold open. Default 1000.")
    calls_per_second: float | None = Field(None, ge=0, description="Calls one token may make; 0: any number. Default 0.")
    session_idle: Span | None = Field(None, description="A session without traffic is ended after this long. Default 30m.")
    call: Span | None = Field(None, description="Longest call. Default 1h.")
    start: Span | None = Field(None, description="Longest start of a server, from spawn to its first answer. Default 1m.")
    drain: Span | None = Field(
        None, description="Time that calls under way get when the gateway stops. Default 3s; keep it well below its `stop_grace`."
    )


class GatewaySpec(KindSpec):
    """What only the embedded gateway understands."""

    allowed_hosts: tuple[str, ...] = Field((), description="Host headers accepted beside loopback and the host of `base_url`.")
    allowed_origins: tuple[str, ...] = Field((), description="Origins that browsers may call from. Default: none but its own.")
    groups: dict[str, tuple[str, ...]] = Field(
        {}, description="Routes served together as one: name of the group to names of routes."
    )
    limits: GatewayLimits = Field(GatewayLimits.unwritten(), description="Bounds per request, session and token.")  # pyright: ignore[reportCallIssue]


class Gateway(ProxyKind):
    """Renders the native configuration; the program is `python -m mcpwatch.gateway`."""

    name = "gateway"
    traits = Traits(
        holds_sessions=False,
        lists_from_cache=False,
        mounts_late=True,
        reconnects=True,
        reloads=True,
        dies_on_bad_command=False,
        nudges=True,
        serves=("sse", "http"),
        generation="mcpwatch",
        health="/healthz",
        embedded=True,
    )

    def render(self, proxy: ProxySpec, directory: Path) -> tuple[RenderedFile, ...]:
        """`<state>/proxy/gateway.json`, mode 0600. Of the tokens that open it, it holds the digests alone."""
        options = GatewaySpec.or_default(proxy.options)
        body: dict[str, Any] = {
            "version": 1,
            "process": proxy.process,
            "listen": proxy.listen,
            "base_url": proxy.base_url,
            "token_digests": _digests(proxy.tokens),
            "allowed_hosts": list(options.allowed_hosts),
            "allowed_origins": list(options.allowed_origins),
            "servers": {upstream.name: _server(upstream) for upstream in proxy.upstreams},
        }
        if options.groups:
            body["groups"] = {name: list(routes) for name, routes in options.groups.items()}
        if limits := options.limits.model_dump(exclude_none=True):
            body["limits"] = limits
        return (RenderedFile(_directory(directory) / "gateway.json", json.dumps(body, indent=2, ensure_ascii=False) + "\n", 0o600),)

    def command(self, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:  # noqa: ARG002
        """The gateway program, its admin socket and where its children's stderr goes."""
        place = _directory(directory)
        return (
            sys.executable, "-m", "mcpwatch.gateway",
            "--config", str(place / "gateway.json"),
            "--admin", str(place / "admin.sock"),
            "--log-dir", str(directory / "logs"),
        )  # fmt: skip

    def container(self, proxy: ProxySpec, directory: Path) -> Mapping[str, object]:
        """What a container of it needs beside an image that has mcpwatch: its state, at the same place."""
        _, *arguments = self.command(proxy, directory)
        return {"entrypoint": ["python", *arguments], "volumes": [f"{directory}:{directory}"], "networks": "host"}

    def routes(self, proxy: ProxySpec, name: str) -> Mapping[Literal["sse", "http"], str]:  # noqa: ARG002
        """`/<name>/sse` and `/<name>/mcp`, both always."""
        return {"sse": f"/{name}/sse", "http": f"/{name}/mcp"}

    def hint(self, line: str) -> LogHint | None:
        """What it tells by its admin socket is not read here; only what it says of itself and of a server's stdout."""
        if match := _POLLUTED.search(line):
            return LogHint(match["member"], "polluted", match["text"][:300])
        if match := _UNASKED.search(line):
            return LogHint(match["member"], "unasked", match["text"][:300])
        return LogHint("", "exhausted", line[:300]) if EXHAUSTED.search(line) else None


def _directory(state_dir: Path) -> Path:
    return state_dir / "proxy"


def _server(upstream: UpstreamSpec) -> dict[str, Any]:
    """One server of the native configuration."""
    options = cast("dict[str, Any]", json.loads(upstream.options))
    common: dict[str, Any] = {"token_digests": _digests(upstream.tokens)} if upstream.tokens else {}
    if upstream.transport == "stdio":
        own: dict[str, Any] = {
            "command": upstream.command, "args": list(upstream.args), "env": dict(upstream.env), "cwd": upstream.cwd,
        }  # fmt: skip
    else:
        own = {"url": upstream.url, "transport": upstream.transport, "headers": dict(upstream.headers)}
    return {**own, **common, **options}


def _digests(tokens: tuple[str, ...]) -> list[str]:
    """SHA-256 of each token, in hex."""
    return [hashlib.sha256(token.encode()).hexdigest() for token in tokens]


KIND: Kind[Gateway] = Kind("gateway", GatewaySpec, Gateway, "the embedded gateway: every wire, hot reload, no cached lies")
