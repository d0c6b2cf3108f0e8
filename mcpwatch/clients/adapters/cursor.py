"""Cursor: `~/.cursor/mcp.json` and a project's `.cursor/mcp.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.adapters.shapes import plain, stdio_plain
from mcpwatch.clients.formats.jsonc import Jsonc


class CursorSpec(ClientSpec, frozen=True):
    """Cursor."""

    kind: Literal["cursor"] = "cursor"
    scope: Literal["user", "project"] = "user"


ADAPTER = Adapter(
    kind="cursor",
    title="Cursor",
    syntax=Jsonc(),
    container=("mcpServers",),
    places={"user": Location(linux=("~/.cursor/mcp.json",)), "project": Location(linux=(".cursor/mcp.json",))},
    wires=("sse", "http"),
    reference="${env:NAME}",
    remote=plain(),
    stdio=stdio_plain,
    reload="refresh in its MCP settings, or restart it",
    summary="The variable must exist in the environment that Cursor was started from.",
)
