"""Which directory is the state directory: the one rule, for every command. Imports nothing: `mcpwatch status` needs it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def state_root(environment: Mapping[str, str]) -> str:
    """`MCPWATCH_STATE_DIR`, else `mcpwatch` in `XDG_STATE_HOME`, else in `/var/lib` for root and in `~/.local/state`."""
    if named := environment.get("MCPWATCH_STATE_DIR"):
        return f"{os.getcwd()}/{named}" if not named.startswith("/") else named
    if xdg := environment.get("XDG_STATE_HOME"):
        return f"{xdg}/mcpwatch"
    if os.geteuid() == 0:
        return "/var/lib/mcpwatch"
    return f"{os.path.expanduser('~')}/.local/state/mcpwatch"
