"""goose: the `extensions` of `~/.config/goose/config.yaml`."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.yaml import Yaml
from mcpwatch.clients.route import Bridge, ClientEntry, Entry, switched


class GooseSpec(ClientSpec, frozen=True):
    """goose."""

    can_disable: ClassVar[bool] = True
    kind: Literal["goose"] = "goose"
    scope: Literal["user"] = "user"


def _remote(link: ClientEntry) -> Entry:
    entry: Entry = {"enabled": True, "type": "streamable_http", "name": link.name, "uri": link.url}
    secret: Entry = {"headers": link.headers, "env_keys": [link.token_env]} if link.headers else {}
    return {**entry, **secret, "timeout": 300}


def _stdio(bridge: Bridge) -> Entry:
    entry: Entry = {"enabled": True, "type": "stdio", "name": bridge.name, "cmd": bridge.command, "args": list(bridge.args)}
    return {**entry, **({"envs": dict(bridge.env)} if bridge.env else {}), "timeout": 300}


ADAPTER = Adapter(
    title="goose",
    syntax=Yaml(),
    container=("extensions",),
    places={
        "user": Location(
            linux=("${XDG_CONFIG_HOME:-~/.config}/goose/config.yaml",),
            win32=("${APPDATA:-~/AppData/Roaming}/Block/goose/config/config.yaml",),
        )
    },
    wires=("http",),
    reference="${NAME}",
    remote=_remote,
    stdio=_stdio,
    disabled=switched("enabled", False),
    reload="restart running sessions",
    summary="Speaks Streamable HTTP only.",
)
