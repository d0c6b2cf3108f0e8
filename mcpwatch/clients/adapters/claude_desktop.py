"""Claude Desktop: its file takes stdio programs only, so every route goes through a stdio bridge."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc


class ClaudeDesktopSpec(ClientSpec, frozen=True):
    """Claude Desktop."""

    kind: Literal["claude-desktop"] = "claude-desktop"
    scope: Literal["user"] = "user"
    bridge: Literal["none", "mcp-proxy", "mcp-remote"] = "mcp-proxy"


ADAPTER = Adapter(
    title="Claude Desktop",
    syntax=Jsonc(strict=True),
    places={
        "user": Location(
            linux=("${XDG_CONFIG_HOME:-~/.config}/Claude/claude_desktop_config.json",),
            darwin=("~/Library/Application Support/Claude/claude_desktop_config.json",),
            win32=("${APPDATA:-~/AppData/Roaming}/Claude/claude_desktop_config.json",),
            note="It inherits no shell environment, so the bridge needs the token itself: 'allow_literal: true'.",
        )
    },
    wires=(),
    reload="quit and start Claude Desktop",
    summary="Speaks stdio only; the bridge is PyPI `mcp-proxy` or npm `mcp-remote`.",
)
