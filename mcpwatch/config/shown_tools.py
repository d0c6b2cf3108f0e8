"""Under which names clients see a member's tools, and what its checks therefore ask a route for. Pure."""

from __future__ import annotations

from dataclasses import replace

from mcpwatch.config.models import ToolsConfig
from mcpwatch.model.spec import CheckSpec


def shown_as(tools: ToolsConfig, name: str) -> str | None:
    """The name that clients see of a tool, which a check names by the member's own name or by this one; `None`: it is hidden."""

    def shown(own: str) -> bool:
        return own not in tools.block and (not tools.allow or own in tools.allow)

    if shown(name):
        return tools.rename.get(name, name)
    return name if any(new == name and shown(own) for own, new in tools.rename.items()) else None


def through_route(check: CheckSpec, tools: ToolsConfig) -> CheckSpec:
    """The check as a route is asked: with the names that clients see."""
    expect = replace(check.expect, tools=tuple(shown_as(tools, name) or name for name in check.expect.tools))
    canary = check.canary and replace(check.canary, tool=shown_as(tools, check.canary.tool) or check.canary.tool)
    return replace(check, expect=expect, canary=canary)
