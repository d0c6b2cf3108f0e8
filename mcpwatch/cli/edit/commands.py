"""The commands that edit the fleet's file, their help and options. Mounted without a name, beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch.cli.options import JsonOption
from mcpwatch.cli.since import positive_span

app = typer.Typer(rich_markup_mode=None)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="File to edit; that of the running watchdog by default.")]
DryOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Show the difference; start nothing, write nothing.")]
NoTestOption = Annotated[bool, typer.Option("--no-test", help="Do not try the server before the file is edited.")]
WaitOption = Annotated[
    float,
    typer.Option(
        "--timeout", help="How long the trial, and then the proof, may take, e.g. 2m.", parser=positive_span, metavar="DURATION"
    ),
]
NameArgument = Annotated[str, typer.Argument(help="Name of a member.")]
ClientsOption = Annotated[str, typer.Option("--clients", help="Only these clients list it: kinds, separated by commas.")]
EnvOption = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", help="NAME=VALUE; NAME alone stands for ${NAME}. Secrets go to env_file."),
]
BridgeOption = Annotated[str, typer.Option("--bridge", help="Give it a bridge process of its own on this address, e.g. :9072.")]
TransportOption = Annotated[
    Literal["auto", "stdio", "sse", "http"], typer.Option("--transport", "-t", help="The wire; stdio for a command.")
]
WriteOption = Annotated[
    bool | None, typer.Option("--read-write/--read-only", help="For a server of the catalogue that can be either.")
]


@app.command(
    context_settings={"allow_interspersed_args": True},
    epilog=(
        "Examples:  mcpwatch add time -- uvx mcp-server-time    mcpwatch add fetch    "
        "mcpwatch add --transport sse linear https://mcp.linear.app/sse -H 'Authorization: Bearer ${LINEAR_TOKEN}'    "
        "mcpwatch add git --bridge :9073 -- uvx mcp-server-git"
    ),
)
def add(
    name: Annotated[str, typer.Argument(help="Its name, also of its route. Alone: the server of that name in the catalogue.")],
    server: Annotated[list[str] | None, typer.Argument(help="A URL, or after -- a command and its arguments.")] = None,
    transport: TransportOption = "auto",
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value', sent to a URL.")] = None,
    env: EnvOption = None,
    bridge: BridgeOption = "",
    docker: Annotated[str, typer.Option(help="Image of a container of its own; give the URL where it answers.")] = "",
    network: Annotated[list[str] | None, typer.Option(help="With --docker: a network it joins.")] = None,
    cwd: Annotated[str, typer.Option(help="Working directory of a command.")] = "",
    description: Annotated[str, typer.Option(help="A few words for people.")] = "",
    source: Annotated[str, typer.Option("--from", help="Server of the catalogue, when NAME is another.")] = "",
    read_write: WriteOption = None,
    clients: ClientsOption = "",
    config: ConfigOption = None,
    no_test: NoTestOption = False,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Add a server: try it, edit the file, prove its route; any step that fails puts everything back.

    Exits 0 when it is proved (or, without a watchdog, written), 1 when it failed its trial or proof, 2 or 3 when nothing was begun.
    """
    from mcpwatch.cli.edit import members
    from mcpwatch.cli.edit.definition import Definition, from_words, pairs

    given = pairs(env or (), "--env", "=")
    how = members.How(config, not no_test, dry_run, json_, timeout)
    if not server:
        from mcpwatch.cli.edit.catalog import from_catalog

        definition = from_catalog(source or name, given, bridge=bridge, read_write=read_write, description=description)
    else:
        definition = from_words(server, Definition(
            transport=transport, env=given, headers=pairs(header or (), "--header", ":"), bridge=bridge, image=docker,
            networks=tuple(network or ()), cwd=cwd, description=description,
        ))  # fmt: skip
    raise typer.Exit(members.add(name, definition, how, _split(clients)))


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


@app.command(name="add-json", epilog="""Example:  mcpwatch add-json time '{"command": "uvx", "args": ["mcp-server-time"]}'""")
def add_json(
    name: NameArgument,
    text: Annotated[str, typer.Argument(metavar="JSON", help="An entry as clients write it, or a member of a fleet.")],
    bridge: BridgeOption = "",
    clients: ClientsOption = "",
    config: ConfigOption = None,
    no_test: NoTestOption = False,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Add a server from JSON; otherwise as `mcpwatch add`."""
    from dataclasses import replace

    from mcpwatch.cli.edit import members
    from mcpwatch.cli.edit.definition import from_json

    definition = replace(from_json(text), bridge=bridge)
    raise typer.Exit(members.add(name, definition, members.How(config, not no_test, dry_run, json_, timeout), _split(clients)))


@app.command(epilog="Examples:  mcpwatch remove time    mcpwatch remove time --dry-run")
def remove(
    name: NameArgument,
    config: ConfigOption = None,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Take a member out of the fleet, and prove that its route is gone and clients dropped it."""
    from mcpwatch.cli.edit import members

    raise typer.Exit(members.remove(name, members.How(config, False, dry_run, json_, timeout)))


@app.command()
def enable(
    name: NameArgument,
    config: ConfigOption = None,
    no_test: NoTestOption = False,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Switch a member on in the file, and prove its route."""
    from mcpwatch.cli.edit import members

    raise typer.Exit(members.enable(name, members.How(config, not no_test, dry_run, json_, timeout), on=True))


@app.command()
def disable(
    name: NameArgument,
    config: ConfigOption = None,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Switch a member off in the file; it stays listed and is not started."""
    from mcpwatch.cli.edit import members

    raise typer.Exit(members.enable(name, members.How(config, False, dry_run, json_, timeout), on=False))


@app.command(
    epilog="Examples:  mcpwatch edit time start_grace=2m    mcpwatch edit time stdio.args='[--local-timezone, UTC]' description="
)
def edit(
    name: NameArgument,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Dots go deeper; KEY= takes a key out.")],
    config: ConfigOption = None,
    no_test: NoTestOption = False,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Set keys of a member, try it so, and prove its route; any step that fails puts everything back."""
    from mcpwatch.cli.edit import members

    raise typer.Exit(members.edit(name, settings, members.How(config, not no_test, dry_run, json_, timeout)))


@app.command()
def rename(
    old: NameArgument,
    new: Annotated[str, typer.Argument(help="Its new name, also of its route.")],
    config: ConfigOption = None,
    dry_run: DryOption = False,
    timeout: WaitOption = 120.0,
    json_: JsonOption = False,
) -> None:
    """Give a member another name, in its place; what depends on it follows."""
    from mcpwatch.cli.edit import members

    raise typer.Exit(members.rename(old, new, members.How(config, False, dry_run, json_, timeout)))


@app.command(name="list", epilog="Examples:  mcpwatch list    mcpwatch list --format names    mcpwatch list -c config.json --json")
def list_(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="File to read; by default that of the watchdog.")] = None,
    form: Annotated[Literal["table", "names", "json", "yaml"], typer.Option("--format", "-f", help="How it is printed.")] = "table",
    json_: JsonOption = False,
) -> None:
    """List the members of the file, and how they are when a watchdog runs it. Needs no daemon."""
    from mcpwatch.cli.edit.listing import list_members

    raise typer.Exit(list_members(config, "json" if json_ else form))
