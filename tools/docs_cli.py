"""`docs/reference/cli.md`: every command with its arguments and options, read from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from mcpwatch.cli.fast import WIDTHS
from mcpwatch.cli.main import app

HEAD = """# Command line

<!-- Made of mcpwatch/cli by `make docs`. Do not edit. -->

Every command has `--help` with examples; most have `--json`. Output is plain when it is not a terminal, and `NO_COLOR` is honoured.
`mcpwatch --install-completion` completes commands, options and the names of your members.

| exit code | meaning |
|---|---|
| 0 | done; for `status` and `check`: all healthy |
| 1 | something is unhealthy, or the command could not be carried out |
| 2 | the command was misused |
| 3 | the configuration is wrong; every fault is listed, nothing was changed |
| 4 | no watchdog is running on this state directory |
| 5 | a fault inside mcpwatch |

The state directory is `--state-dir`, else `MCPWATCH_STATE_DIR`, else `$XDG_STATE_HOME/mcpwatch`, else `/var/lib/mcpwatch` for root
and `~/.local/state/mcpwatch` for others.
"""


def pages() -> Mapping[str, str]:
    """Path to text."""
    root: Any = typer.main.get_command(app)
    help_ = {f"mcpwatch/cli/help/{wide}.txt": _help(root, wide) for wide in WIDTHS}
    return {"docs/reference/cli.md": HEAD + "".join(_sections(root, "mcpwatch")), **help_}


def _help(root: Any, wide: int) -> str:
    """What `mcpwatch --help` prints on a terminal of so many columns."""
    context = root.make_context("mcpwatch", [], resilient_parsing=True, terminal_width=wide - 2)
    return root.get_help(context) + "\n"


def _sections(command: Any, name: str) -> Iterator[str]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if name != "mcpwatch":
        yield _section(command, name)
    for child in sorted(children):
        yield from _sections(children[child], f"{name} {child}")


def _section(command: Any, name: str) -> str:
    lines = [f"\n## `{name}`\n", f"{(command.help or '').strip()}\n"]
    rows: list[str] = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            spelled = f"`{(parameter.name or '').strip('_').upper()}`"
        else:
            spelled = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
        rows.append(f"| {spelled} | {getattr(parameter, 'help', '') or ''} |")
    if rows:
        lines += ["| | |\n|---|---|", *rows, ""]
    if command.epilog:
        lines += ["```console", *(f"$ {line.strip()}" for line in _examples(command.epilog)), "```", ""]
    return "\n".join(lines)


def _examples(epilog: str) -> list[str]:
    text = epilog.replace("\n", " ").removeprefix("Examples:").removeprefix("Example:")
    return [f"mcpwatch {part.strip()}" for part in text.split("mcpwatch ")[1:]]
