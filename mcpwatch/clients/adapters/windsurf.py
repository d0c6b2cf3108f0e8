"""Windsurf, since June 2026 Devin Desktop: the new file, or the old one where only that exists."""

from __future__ import annotations

from typing import ClassVar, Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import plain, switched


class WindsurfSpec(ClientSpec, frozen=True):
    """Windsurf or Devin Desktop."""

    can_disable: ClassVar[bool] = True
    kind: Literal["windsurf"] = "windsurf"
    scope: Literal["user", "codeium", "project"] = "user"


ADAPTER = Adapter(
    title="Windsurf / Devin Desktop",
    syntax=Jsonc(),
    places={
        "user": Location(
            linux=("~/.config/devin/mcp_config.json", "~/.codeium/windsurf/mcp_config.json", "~/.config/devin/mcp_config.json"),
            win32=(
                "${APPDATA:-~/AppData/Roaming}/devin/mcp_config.json",
                "~/.codeium/windsurf/mcp_config.json",
                "${APPDATA:-~/AppData/Roaming}/devin/mcp_config.json",
            ),
        ),
        "codeium": Location(
            linux=("~/.codeium/windsurf/mcp_config.json",), note="The file of Windsurf before it became Devin Desktop."
        ),
        "project": Location(linux=(".devin/mcp_config.json",)),
    },
    reference="${env:NAME}",
    remote=plain(),
    disabled=switched("disabled", True),
    reload="press refresh in its MCP settings",
    summary="Of the new and the old file, the one that exists is written.",
)
