"""The command line: its root, the options before a command, and the groups of commands in the order in which help lists them.

It talks to the daemon through its API and knows no room's insides; `up` alone builds the daemon, in this process. Bodies of
commands import what they need when they run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mcpwatch import __version__
from mcpwatch.app.paths import state_paths
from mcpwatch.cli import clients as client_commands
from mcpwatch.cli import fleet_commands, run_commands, serve_commands, show_commands
from mcpwatch.cli.alerts import alerts_app, maintenance_app, silence_app
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit import catalog_commands
from mcpwatch.cli.edit import commands as edit_commands
from mcpwatch.cli.exits import told
from mcpwatch.cli.options import JsonOption
from mcpwatch.cli.out import say, say_answer
from mcpwatch.cli.telemetry import dashboards_app, rules_app

FIRST = (
    "up", "status", "health", "check", "start", "stop", "restart", "logs", "events", "history", "why", "drill", "tools", "pin",
    "down", "upgrade-in-place", "reload", "init", "report", "mcp", "version", "bridge", "gateway",
)  # fmt: skip
"""Commands that help lists first; the others follow in the order in which they are mounted."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [*(name for name in FIRST if name in names), *(name for name in names if name not in FIRST)]


app = typer.Typer(
    name="mcpwatch",
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Keep an MCP fleet alive and honest: supervise its members, prove every route by speaking MCP, repair what broke.",
    epilog=(
        "Start with: mcpwatch add time -- uvx mcp-server-time (or mcpwatch import), then mcpwatch up.  "
        "Exits: 0 ok, 1 unhealthy, 2 usage, 3 bad config, 4 no daemon, 5 internal."
    ),
)
for mounted in (run_commands, show_commands, serve_commands):
    app.add_typer(mounted.app)
app.add_typer(run_commands.config_app, name="config")
app.add_typer(alerts_app, name="alerts")
app.add_typer(silence_app, name="silence")
app.add_typer(maintenance_app, name="maintenance")
app.add_typer(catalog_commands.app, name="catalog")
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(rules_app, name="rules")
app.add_typer(client_commands.app)
app.add_typer(edit_commands.app)
app.add_typer(fleet_commands.app)
app.add_typer(client_commands.clients_app, name="clients")
app.add_typer(client_commands.token_app, name="token")


def _run() -> None:
    """Run the command line, and write all that it printed."""
    try:
        app()
    finally:
        sys.stdout.flush()


def main() -> None:
    """Run the command line; every error mcpwatch raises on purpose is one line and its exit code."""
    with told():
        _run()


def _version(wanted: bool) -> None:
    if wanted:
        say(f"mcpwatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Where the watchdog keeps its state, one directory per fleet.", envvar="MCPWATCH_STATE_DIR"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Speak to the watchdog at this address, e.g. http://linuxserver.lan:9465.", envvar="MCPWATCH_URL"),
    ] = None,
    token: Annotated[str | None, typer.Option(help="Token for --url.", envvar="MCPWATCH_TOKEN")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: ARG001
) -> None:
    """Options that come before the command."""
    ControlSettings.state_dir, ControlSettings.url, ControlSettings.token = state_dir, url or "", token or ""
    if (state_paths(state_dir).root / "edits" / "journal.json").exists():
        from mcpwatch.cli.edit.run import undo_interrupted

        undo_interrupted()


@app.command()
def version(json_: JsonOption = False) -> None:
    """Print the version."""
    say_answer({"version": __version__, "python": sys.version.split()[0]}, [f"mcpwatch {__version__}"], as_json=json_)
