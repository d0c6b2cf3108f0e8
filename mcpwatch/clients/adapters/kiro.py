"""Kiro: `~/.kiro/settings/mcp.json` and a project's."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.adapters.shapes import plain, stdio_plain, switched
from mcpwatch.clients.formats.jsonc import Jsonc


class KiroSpec(ClientSpec, frozen=True):
    """Kiro."""

    can_disable: ClassVar[bool] = True
    kind: Literal["kiro"] = "kiro"
    scope: Literal["user", "project"] = "user"


ADAPTER = Adapter(
    kind="kiro",
    title="Kiro",
    syntax=Jsonc(),
    container=("mcpServers",),
    places={"user": Location(linux=("~/.kiro/settings/mcp.json",)), "project": Location(linux=(".kiro/settings/mcp.json",))},
    wires=("http", "sse"),
    reference="${NAME}",
    remote=plain(),
    stdio=stdio_plain,
    disabled=switched("disabled", True),
    reload="reconnect in its MCP panel, or restart it",
)
