"""Kiro: `~/.kiro/settings/mcp.json` and a project's."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import plain, switched


class KiroSpec(ClientSpec, frozen=True):
    """Kiro."""

    can_disable: ClassVar[bool] = True
    kind: Literal["kiro"] = "kiro"
    scope: Literal["user", "project"] = "user"


ADAPTER = Adapter(
    title="Kiro",
    syntax=Jsonc(),
    places={"user": Location(linux=("~/.kiro/settings/mcp.json",)), "project": Location(linux=(".kiro/settings/mcp.json",))},
    wires=("http", "sse"),
    reference="${NAME}",
    remote=plain(),
    disabled=switched("disabled", True),
    reload="reconnect in its MCP panel, or restart it",
)
