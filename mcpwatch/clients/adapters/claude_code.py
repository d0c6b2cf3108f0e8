"""Claude Code: `~/.claude.json`, a project's `.mcp.json`, and `~/.config/claude/mcp-settings.json`, which it does not read."""

from __future__ import annotations

from typing import Literal

from mcpwatch.clients.adapter import Adapter, ClientSpec, Location
from mcpwatch.clients.formats.jsonc import Jsonc
from mcpwatch.clients.route import typed


class ClaudeCodeSpec(ClientSpec, frozen=True):
    """Claude Code."""

    kind: Literal["claude-code"] = "claude-code"
    scope: Literal["user", "project", "mcp-settings"] = "user"


ADAPTER = Adapter(
    title="Claude Code",
    syntax=Jsonc(strict=True),
    places={
        "user": Location(
            linux=("${CLAUDE_CONFIG_DIR:-~/.claude}/.config.json", "${CLAUDE_CONFIG_DIR:-~}/.claude.json"), lock="mkdir"
        ),
        "project": Location(
            linux=(".mcp.json",),
            note="Each person must approve the servers of a project once; Claude Code itself will not write a symlinked .mcp.json.",
        ),
        "mcp-settings": Location(
            linux=("~/.config/claude/mcp-settings.json",),
            note="Current Claude Code does not read this file; it is written because you asked. Use scope 'user' to be heard.",
        ),
    },
    reference="${NAME}",
    remote=typed("sse", "http"),
    reload="restart running sessions",
    summary="Takes its own lock (`~/.claude.json.lock`) and refuses a file that is not strict JSON.",
)
