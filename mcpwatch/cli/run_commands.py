"""Commands that change what runs: the watchdog, its members and its configuration. Mounted without a name, beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch.cli.options import AllOption, ConfigOption, JsonOption, NameArgument, NamesArgument, WholeOption, some
from mcpwatch.cli.since import positive_span, span
from mcpwatch.model.errors import UsageError

app = typer.Typer(rich_markup_mode=None)
config_app = typer.Typer(
    no_args_is_help=True, help="Validate and show the configuration; print its JSON Schema.", rich_markup_mode=None
)

WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the command is carried out.")]


def _command(verb: str, names: Sequence[str] | None, every: bool, *, as_json: bool, wait: bool = True) -> None:
    from mcpwatch.cli.members import command

    raise typer.Exit(command(verb, names or (), every=every, as_json=as_json, wait=wait))


@app.command(epilog="Examples:  mcpwatch up -c fleet.yaml    mcpwatch up -c config.json --detach    mcpwatch up time fetch")
def up(
    names: NamesArgument = None,
    whole: WholeOption = False,
    config: ConfigOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background; return when the daemon answers.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="With --detach, return when every route is proved; exits 1 if not.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print plain lines, also on a terminal.")] = False,
    log_format: Annotated[
        Literal["auto", "human", "json", "config"],
        typer.Option(help="Format of plain lines; config: as configured; auto: as configured, else human."),
    ] = "auto",
    watch: Annotated[
        bool, typer.Option("--watch-config/--no-watch-config", help="Reload when the configuration file changes.")
    ] = True,
    rehearse: Annotated[bool, typer.Option("--rehearse", hidden=True)] = False,
) -> None:
    """Run the watchdog: start or adopt the fleet, check it and repair it. With names, start members of the running fleet."""
    if chosen := some(names, whole=whole):
        _command("start", chosen, False, as_json=False)
    from mcpwatch.cli.up import rehearse_here, run_detached, run_here

    if rehearse:
        raise typer.Exit(rehearse_here(config))
    if detach:
        raise typer.Exit(run_detached(config, watch=watch, wait=wait))
    raise typer.Exit(run_here(config, plain=plain, log_format=log_format, watch=watch))


@app.command(epilog="Examples:  mcpwatch start time fetch    mcpwatch start --all")
def start(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Start members and clear their crash loops."""
    _command("start", names, every, as_json=json_, wait=wait)


@app.command(epilog="Examples:  mcpwatch stop time fetch    mcpwatch stop --all")
def stop(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Stop members. They stay stopped, across restarts of the watchdog, until `mcpwatch start`."""
    _command("stop", names, every, as_json=json_, wait=wait)


@app.command(epilog="Examples:  mcpwatch restart time fetch    mcpwatch restart --all")
def restart(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Restart members one after the other, each as a new generation."""
    _command("restart", names, every, as_json=json_, wait=wait)


@app.command()
def down(
    names: NamesArgument = None,
    whole: WholeOption = False,
    leave: Annotated[bool, typer.Option("--leave", help="Leave the members running; the next `up` adopts them.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Longest time to wait for the watchdog to stop, e.g. 2m.", parser=span, metavar="DURATION")
    ] = 60.0,
    json_: JsonOption = False,
) -> None:
    """Stop the watchdog and, unless --leave, the whole fleet. With names, stop only those members."""
    if chosen := some(names, whole=whole):
        if leave:
            raise UsageError("--leave goes without names: it leaves all members running")
        _command("stop", chosen, False, as_json=json_)
    from mcpwatch.cli.members import take_down

    raise typer.Exit(take_down(leave=leave, timeout=timeout, as_json=json_))


@app.command(epilog="Examples:  mcpwatch drill fetch --fault kill    mcpwatch drill fetch --fault hang --timeout 2m")
def drill(
    name: NameArgument,
    fault: Annotated[
        Literal["kill", "hang", "stale", "oom", "partition", "child", "pause", "recover", "slow", "flap"],
        typer.Option(
            help="Fault to inject. recover, slow and flap end by themselves: the drill fails when anything is restarted for them."
        ),
    ] = "kill",
    timeout: Annotated[
        float, typer.Option(help="Longest time to wait for the recovery, e.g. 2m.", parser=positive_span, metavar="DURATION")
    ] = 120.0,
    json_: JsonOption = False,
) -> None:
    """Inject a fault into a member and time its detection, diagnosis and repair. Interrupts the clients of that member."""
    from mcpwatch.cli.drill import drill as run

    raise typer.Exit(run(name, fault, timeout=timeout, as_json=json_))


@app.command(name="upgrade-in-place")
def upgrade_in_place() -> None:
    """Replace the running watchdog by the installed version; members keep running."""
    from mcpwatch.cli.members import upgrade

    raise typer.Exit(upgrade())


@app.command(name="reload")
def reload_(json_: JsonOption = False) -> None:
    """Reload the configuration and apply the differences; unchanged members keep running."""
    from mcpwatch.cli.members import reload

    raise typer.Exit(reload(as_json=json_))


@app.command(epilog="Examples:  mcpwatch init    mcpwatch init fleet.yaml --from config.json")
def init(
    path: Annotated[Path, typer.Argument(help="File to write; - for standard output.")] = Path("mcpwatch.yaml"),
    source: Annotated[
        Path | None, typer.Option("--from", help="Import a TBXark config.json, an mcp-servers.json or a sparfenyuk file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented starter configuration."""
    from mcpwatch.cli.config import write_starter

    raise typer.Exit(write_starter(path, source, force=force))


@config_app.command()
def validate(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Validate the configuration. Print each fault on one line; exit 3 when there is one."""
    from mcpwatch.cli.config import validate as run

    raise typer.Exit(run(config, as_json=json_))


@config_app.command()
def show(config: ConfigOption = None) -> None:
    """Print the effective configuration with every default and with secrets masked."""
    from mcpwatch.cli.config import show as run

    raise typer.Exit(run(config))


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from mcpwatch.cli.config import print_schema

    raise typer.Exit(print_schema())
