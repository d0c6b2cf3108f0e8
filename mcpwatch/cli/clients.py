"""Commands about AI clients: sync, clients, print, token. Bodies import what they need when they run.

Mounted without a name, so that its commands stand beside the others.
"""

from __future__ import annotations

from typing import Annotated

import typer

from mcpwatch.cli.control import call
from mcpwatch.cli.options import JsonOption

app = typer.Typer(rich_markup_mode=None)
clients_app = typer.Typer(help="Manage the configuration files of AI clients.", rich_markup_mode=None)
token_app = typer.Typer(no_args_is_help=True, help="Rotate the bearer token of the routes.", rich_markup_mode=None)
app.add_typer(clients_app, name="clients")
app.add_typer(token_app, name="token")

Names = Annotated[list[str] | None, typer.Argument(help="Clients, by kind or by file; all by default.", show_default=False)]


@app.command(epilog="Examples:  mcpwatch sync    mcpwatch sync claude-code --diff    mcpwatch sync vscode --force")
def sync(
    clients: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print what would change; write nothing.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Print the changes as a diff; write nothing.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Skip hold-downs, restore drifted entries, and take over entries with names of this fleet."),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Sync the files of AI clients with the fleet now."""
    from mcpwatch.cli.clientview import print_sync

    answers = call("POST", "/clients/sync", {"clients": clients or [], "dry_run": dry_run, "diff": diff, "force": force})
    raise typer.Exit(print_sync(answers, dry_run=dry_run or diff, as_json=json_))


@app.command(name="print", epilog="Examples:  mcpwatch print cursor    mcpwatch print codex-cli >> ~/.codex/config.toml")
def print_(client: Annotated[str, typer.Argument(help="Kind of client.")], json_: JsonOption = False) -> None:
    """Print the entries for a client's file, to paste where mcpwatch may not write."""
    from mcpwatch.cli.clientview import print_snippet

    raise typer.Exit(print_snippet(call("POST", "/clients/print", {"client": client}), as_json=json_))


@clients_app.callback(invoke_without_command=True)
def clients_root(ctx: typer.Context) -> None:
    """Manage the configuration files of AI clients."""
    if ctx.invoked_subcommand is None:
        list_()


@clients_app.command(name="list")
def list_(json_: JsonOption = False) -> None:
    """List clients: file, sync state, drift, last write, and whether the client must be restarted."""
    from mcpwatch.cli.clientview import print_table

    raise typer.Exit(print_table(call("GET", "/clients"), as_json=json_))


@clients_app.command(epilog="Example:  mcpwatch clients undo claude-code")
def undo(client: Annotated[str, typer.Argument(help="Client, by kind or by file.")], json_: JsonOption = False) -> None:
    """Undo the last write of a client's file and stop syncing it until the next `mcpwatch sync`."""
    from mcpwatch.cli.clientview import print_undo

    raise typer.Exit(print_undo(call("POST", "/clients/undo", {"client": client}), as_json=json_))


@clients_app.command()
def detect(json_: JsonOption = False) -> None:
    """Detect AI clients on this machine and print the configuration that adds them. Needs no daemon."""
    from mcpwatch.cli.clientview import print_detected

    raise typer.Exit(print_detected(as_json=json_))


@clients_app.command(epilog="Examples:  mcpwatch clients purge    mcpwatch clients purge cursor --apply")
def purge(
    clients: Names = None,
    apply: Annotated[bool, typer.Option("--apply", help="Remove the entries; a backup is kept.")] = False,
    json_: JsonOption = False,
) -> None:
    """List hand-written entries that point at routes of this fleet under an old name or address. Remove them with --apply."""
    from mcpwatch.cli.clientview import print_purge

    raise typer.Exit(print_purge(call("POST", "/clients/purge", {"clients": clients or [], "apply": apply}), as_json=json_))


@token_app.command(epilog="Examples:  mcpwatch token rotate --wait 1h    mcpwatch token rotate --env-file .env")
def rotate(
    wait: Annotated[str, typer.Option(help="Longest time for which the old token stays valid.")] = "24h",
    env_file: Annotated[
        str | None, typer.Option(help="File that holds the token; env_file of the configuration by default.")
    ] = None,
    variable: Annotated[str, typer.Option(help="Variable that holds the token.")] = "MCP_PROXY_TOKEN",
    json_: JsonOption = False,
) -> None:
    """Rotate the token without a refused request. The old token stays valid until it is unused or --wait ends."""
    from mcpwatch.cli.clientview import print_rotation

    body = {"wait": wait, "env_file": env_file, "variable": variable}
    raise typer.Exit(print_rotation(call("POST", "/token/rotate", body), as_json=json_))


@token_app.command(name="status")
def token_status(json_: JsonOption = False) -> None:
    """Show the token rotation in progress and the last use of the old token."""
    from mcpwatch.cli.clientview import print_rotation

    raise typer.Exit(print_rotation(call("GET", "/token/rotate"), as_json=json_))
