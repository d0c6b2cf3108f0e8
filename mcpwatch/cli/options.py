"""Options and arguments that several commands share, and the completion of names.

None of the names of members and `--all` both mean the whole fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mcpwatch.model.errors import McpwatchError, UsageError


def complete_names(incomplete: str) -> list[str]:
    """Names of members and routes that the running daemon knows, for completion."""
    from mcpwatch.cli.control import call

    try:
        found = call("GET", "/status", timeout=1.0)
    except McpwatchError:
        return []
    return sorted(entry["name"] for entry in (*found["members"], *found["routes"]) if entry["name"].startswith(incomplete))


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file: mcpwatch YAML, TBXark config.json, mcp-servers.json or sparfenyuk."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
NameArgument = Annotated[str, typer.Argument(help="Name of a member.", autocompletion=complete_names)]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(help="Names of members.", autocompletion=complete_names, show_default=False)
]
AnyName = Annotated[str, typer.Argument(help="Name of a member or route.", autocompletion=complete_names)]
MaybeName = Annotated[str | None, typer.Argument(help="Name of a member or route.", autocompletion=complete_names)]
AllOption = Annotated[bool, typer.Option("--all", help="Every member.")]
WholeOption = Annotated[bool, typer.Option("--all", help="Every member, which is meant without names too.")]


def some(names: Sequence[str] | None, *, whole: bool) -> Sequence[str]:
    """The names that were given; none stands for all. Raises `UsageError` for names beside `--all`."""
    if names and whole:
        raise UsageError("give names or --all, not both")
    return names or ()
