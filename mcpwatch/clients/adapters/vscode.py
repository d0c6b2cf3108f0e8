"""VS Code and GitHub Copilot in it: `mcp.json` of the user or a workspace, and the superseded `settings.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.formats.path import Element, Path, Value
from mcpwatch.clients.route import ClientEntry, stdio_typed, typed

INPUT = "mcp-proxy-token"


class VSCodeSpec(ClientSpec, frozen=True):
    """VS Code."""

    kind: Literal["vscode"] = "vscode"
    scope: Literal["user", "project", "settings"] = "user"


def _inputs(scope: str, on: Sequence[ClientEntry], off: Sequence[ClientEntry]) -> dict[Path, Value]:
    if not any(link.bearer for link in (*on, *off)):
        return {}
    root: Path = ("mcp", "inputs") if scope == "settings" else ("inputs",)
    prompt = {"type": "promptString", "id": INPUT, "description": "Token of the MCP proxy", "password": True}
    return {(*root, Element("id", INPUT)): prompt}


ADAPTER = Adapter(
    title="VS Code",
    syntax=Jsonc(),
    container=("servers",),
    places={
        "user": Location(
            linux=("${XDG_CONFIG_HOME:-~/.config}/Code/User/mcp.json",),
            darwin=("~/Library/Application Support/Code/User/mcp.json",),
            win32=("${APPDATA:-~/AppData/Roaming}/Code/User/mcp.json",),
        ),
        "project": Location(linux=(".vscode/mcp.json",)),
        "settings": Location(
            linux=("${XDG_CONFIG_HOME:-~/.config}/Code/User/settings.json",),
            darwin=("~/Library/Application Support/Code/User/settings.json",),
            win32=("${APPDATA:-~/AppData/Roaming}/Code/User/settings.json",),
            container=("mcp", "servers"),
            note="Superseded by mcp.json since VS Code 1.102, which moves these entries there; use scope 'user' on newer ones.",
        ),
    },
    reference="${input:" + INPUT + "}",
    remote=typed("sse", "http"),
    stdio=stdio_typed,
    extras=_inputs,
    reload="at once",
    summary="Asks once for the token (`${input:mcp-proxy-token}`) and keeps it in its own secret storage.",
)
