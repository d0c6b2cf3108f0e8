"""GitHub Copilot CLI: `~/.copilot/mcp-config.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import stdio_plain, typed


class CopilotCliSpec(ClientSpec, frozen=True):
    """GitHub Copilot CLI."""

    kind: Literal["copilot-cli"] = "copilot-cli"
    scope: Literal["user"] = "user"


ADAPTER = Adapter(
    title="Copilot CLI",
    syntax=Jsonc(),
    places={"user": Location(linux=("${COPILOT_HOME:-~/.copilot}/mcp-config.json",))},
    reference="${NAME}",
    remote=typed("sse", "http", tools=["*"]),
    stdio=lambda bridge: {**stdio_plain(bridge), "tools": ["*"]},
    reload="restart running sessions",
    summary="Disabling is kept in another file of its own, so entries are removed.",
)
