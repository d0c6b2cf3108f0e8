"""opencode: `~/.config/opencode/` and a project's `opencode.json`."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import Bridge, ClientEntry, Entry, switched


class OpencodeSpec(ClientSpec, frozen=True):
    """opencode."""

    can_disable: ClassVar[bool] = True
    kind: Literal["opencode"] = "opencode"
    scope: Literal["user", "project"] = "user"


def _remote(link: ClientEntry) -> Entry:
    entry: Entry = {"type": "remote", "url": link.url}
    return {**entry, "headers": link.headers, "oauth": False, "enabled": True} if link.headers else {**entry, "enabled": True}


def _stdio(bridge: Bridge) -> Entry:
    entry: Entry = {"type": "local", "command": [bridge.command, *bridge.args], "enabled": True}
    return {**entry, "environment": dict(bridge.env)} if bridge.env else entry


_HOME = "${XDG_CONFIG_HOME:-~/.config}/opencode"

ADAPTER = Adapter(
    title="opencode",
    syntax=Jsonc(),
    container=("mcp",),
    places={
        "user": Location(linux=(f"{_HOME}/opencode.jsonc", f"{_HOME}/opencode.json", f"{_HOME}/config.json")),
        "project": Location(linux=("opencode.jsonc", "opencode.json")),
    },
    wires=("http", "sse"),
    reference="{env:NAME}",
    remote=_remote,
    stdio=_stdio,
    disabled=switched("enabled", False),
    reload="restart it",
    summary="Without a file of yours, `config.json` beside it is made: opencode merges them.",
)
