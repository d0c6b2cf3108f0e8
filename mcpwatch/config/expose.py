"""`proxy.expose_mcpwatch`: the watchdog's own MCP server as one more hosted member, for agents on the proxy to ask. Pure."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mcpwatch.config.models import MemberConfig, StdioConfig
from mcpwatch.config.parse import Config, WrittenMember
from mcpwatch.foreign.document import Path as Where

NAME = "mcpwatch"
AT: Where = ("proxy", "expose_mcpwatch")


def fault(config: Config) -> tuple[tuple[Where, str], ...]:
    """What stands in the way."""
    if not _wanted(config):
        return ()
    if config.proxy is not None and not config.proxy.traits.runs:
        return ((AT, "an external proxy is not told what to serve; add the command 'mcpwatch mcp' there"),)
    if NAME in config.names:
        return ((AT, f"there is a member '{NAME}' already; give it another name"),)
    return ()


def exposed(config: Config, state_dir: Path) -> Config:
    """The configuration with that member, when it is asked for. It only reads: its tools act on nothing."""
    if not _wanted(config) or NAME in config.names:
        return config
    args = ("-m", "mcpwatch", "--state-dir", str(state_dir), "mcp")
    stdio = StdioConfig.model_validate({"command": sys.executable, "args": args})
    written = MemberConfig.model_validate({"stdio": stdio.model_dump(), "description": "Asks mcpwatch what is down and why."})
    member = WrittenMember(NAME, written, keys=frozenset({"stdio", "description"}))
    return replace(config, members=(*config.members, member), names=config.names | {NAME})


def _wanted(config: Config) -> bool:
    return config.proxy is not None and config.proxy.written.expose_mcpwatch
