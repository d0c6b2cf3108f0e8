"""Cline: the settings file of its CLI, or of its VS Code extension."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import switched, typed

_EXTENSION = "Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"


class ClineSpec(ClientSpec, frozen=True):
    """Cline."""

    can_disable: ClassVar[bool] = True
    kind: Literal["cline"] = "cline"
    scope: Literal["user", "vscode"] = "user"


ADAPTER = Adapter(
    title="Cline",
    syntax=Jsonc(strict=True),
    places={
        "user": Location(linux=("${CLINE_MCP_SETTINGS_PATH:-~/.cline/data/settings/cline_mcp_settings.json}",)),
        "vscode": Location(
            linux=(f"${{XDG_CONFIG_HOME:-~/.config}}/{_EXTENSION}",),
            darwin=(f"~/Library/Application Support/{_EXTENSION}",),
            win32=(f"${{APPDATA:-~/AppData/Roaming}}/{_EXTENSION}",),
        ),
    },
    remote=typed("sse", "streamableHttp", disabled=False),
    disabled=switched("disabled", True),
    reload="the next session",
    summary="Expands no variable: a guarded route needs `allow_literal: true`.",
)
