"""LM Studio: `~/.lmstudio/mcp.json`."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import plain


class LMStudioSpec(ClientSpec, frozen=True):
    """LM Studio."""

    kind: Literal["lmstudio"] = "lmstudio"
    scope: Literal["user"] = "user"


ADAPTER = Adapter(
    title="LM Studio",
    syntax=Jsonc(),
    places={
        "user": Location(
            linux=("~/.lmstudio/mcp.json",),
            darwin=("~/.lmstudio/mcp.json", "~/.cache/lm-studio/mcp.json", "~/.lmstudio/mcp.json"),
        )
    },
    remote=plain(),
    reload="when its window gets the file, or on restart",
    summary="Knows no reference for secrets: a guarded route needs `allow_literal: true`.",
)
