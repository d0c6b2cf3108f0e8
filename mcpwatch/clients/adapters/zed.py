"""Zed: the `context_servers` of its settings."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import plain, stdio_plain, switched


class ZedSpec(ClientSpec, frozen=True):
    """Zed."""

    can_disable: ClassVar[bool] = True
    kind: Literal["zed"] = "zed"
    scope: Literal["user", "project"] = "user"


ADAPTER = Adapter(
    title="Zed",
    syntax=Jsonc(),
    container=("context_servers",),
    places={
        "user": Location(linux=("${XDG_CONFIG_HOME:-~/.config}/zed/settings.json",), darwin=("~/.config/zed/settings.json",)),
        "project": Location(linux=(".zed/settings.json",)),
    },
    wires=("http",),
    remote=plain(),
    stdio=lambda bridge: {"source": "custom", **stdio_plain(bridge)},
    disabled=switched("enabled", False),
    reload="at once",
    summary="Speaks Streamable HTTP only and expands no variable in headers; `enabled: false` is not in its documentation.",
)
