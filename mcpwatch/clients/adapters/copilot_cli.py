"""GitHub Copilot CLI: `~/.copilot/mcp-config.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.adapters.shapes import stdio_plain, typed
from mcpwatch.clients.formats.jsonc import Jsonc


class CopilotCliSpec(ClientSpec, frozen=True):
    """GitHub Copilot CLI."""

    kind: Literal["copilot-cli"] = "copilot-cli"
    scope: Literal["user"] = "user"


ADAPTER = Adapter(
    kind="copilot-cli",
    title="Copilot CLI",
    syntax=Jsonc(),
    container=("mcpServers",),
    places={"user": Location(linux=("${COPILOT_HOME:-~/.copilot}/mcp-config.json",))},
    wires=("sse", "http"),
    reference="${NAME}",
    remote=typed("sse", "http", tools=["*"]),
    stdio=lambda bridge: {**stdio_plain(bridge), "tools": ["*"]},
    reload="restart running sessions",
    summary="Disabling is kept in another file of its own, so entries are removed.",
)
