"""Cursor: `~/.cursor/mcp.json` and a project's `.cursor/mcp.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import plain


class CursorSpec(ClientSpec, frozen=True):
    """Cursor."""

    kind: Literal["cursor"] = "cursor"
    scope: Literal["user", "project"] = "user"


ADAPTER = Adapter(
    title="Cursor",
    syntax=Jsonc(),
    places={"user": Location(linux=("~/.cursor/mcp.json",)), "project": Location(linux=(".cursor/mcp.json",))},
    reference="${env:NAME}",
    remote=plain(),
    reload="refresh in its MCP settings, or restart it",
    summary="The variable must exist in the environment that Cursor was started from.",
)
