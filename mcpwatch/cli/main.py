"""The command line: every command, its help and its examples. Bodies import what they need when they run.

It talks to the daemon through its API and knows no room's insides; `up` alone builds the daemon, in this process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch import __version__
from mcpwatch.app.paths import state_paths
from mcpwatch.cli import clients as client_commands
from mcpwatch.cli import exits, fleet_commands
from mcpwatch.cli.alerts import alerts_app, maintenance_app, silence_app
from mcpwatch.cli.control import Settings
from mcpwatch.cli.edit import catalog_commands
from mcpwatch.cli.edit import commands as edit_commands
from mcpwatch.cli.out import say, say_json
from mcpwatch.cli.since import positive_span, span
from mcpwatch.cli.telemetry import dashboards_app, rules_app
from mcpwatch.model.errors import McpwatchError, UsageError

app = typer.Typer(
    name="mcpwatch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Keep an MCP fleet alive and honest: supervise its members, prove every route by speaking MCP, repair what broke.",
    epilog="Start with: mcpwatch init && mcpwatch up.  Exits: 0 ok, 1 unhealthy, 2 usage, 3 bad config, 4 no daemon, 5 internal.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration: validate, show, schema.", rich_markup_mode=None)
app.add_typer(config_app, name="config")
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


def _names(incomplete: str) -> list[str]:
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
NameArgument = Annotated[str, typer.Argument(help="Name of a member.", autocompletion=_names)]
NamesArgument = Annotated[list[str] | None, typer.Argument(help="Names of members.", autocompletion=_names, show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="Every member.")]
MaybeName = Annotated[str | None, typer.Argument(help="Name of a member or route.", autocompletion=_names)]


def main() -> None:
    """Run the command line; every error mcpwatch raises on purpose is one line and its exit code."""
    try:
        app()
    except McpwatchError as error:
        print(f"mcpwatch: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)  # noqa: T201
        if "up" in sys.argv[1:2] and sys.stderr.isatty():
            print("mcpwatch: 'mcpwatch doctor' says what mends it", file=sys.stderr)  # noqa: T201
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(exits.OK) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


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
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: ARG001
) -> None:
    """Options that come before the command."""
    Settings.state_dir = state_dir
    if (state_paths(state_dir).root / "edits" / "journal.json").exists():
        from mcpwatch.cli.edit.run import undo_interrupted

        undo_interrupted()


@app.command(epilog="Examples:  mcpwatch up -c fleet.yaml    mcpwatch up -c config.json --detach    mcpwatch up time fetch")
def up(
    names: NamesArgument = None,
    config: ConfigOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background; returns once the daemon answers.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines even on a terminal.")] = False,
    log_format: Annotated[
        Literal["auto", "human", "json", "config"],
        typer.Option(help="How plain lines look; config: what the file says; auto: that, else human."),
    ] = "auto",
    watch: Annotated[
        bool, typer.Option("--watch-config/--no-watch-config", help="Reload when the configuration file changes.")
    ] = True,
    rehearse: Annotated[bool, typer.Option("--rehearse", hidden=True)] = False,
) -> None:
    """Run the watchdog: start (or adopt) the fleet, and keep it alive and proven. With names, start those of the running one."""
    if names:
        _command("start", names, False, as_json=False)
    from mcpwatch.cli.up import rehearse_here, run_detached, run_here

    if rehearse:
        raise typer.Exit(rehearse_here(config))
    if detach:
        raise typer.Exit(run_detached(config, watch=watch))
    raise typer.Exit(run_here(config, plain=plain, log_format=log_format, watch=watch))


@app.command(
    epilog="Examples:  mcpwatch status    mcpwatch status time    mcpwatch status --watch    mcpwatch status --json | jq .routes"
)
def status(
    names: NamesArgument = None,
    json_: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(help="Time between refreshes, e.g. 500ms.", parser=positive_span, metavar="DURATION")
    ] = 2.0,
    pid: Annotated[bool, typer.Option("--pid", help="Print only the process id of the watchdog.")] = False,
) -> None:
    """Show every member and route at a glance. Exits 0 when all is healthy, 1 when not, 4 without a daemon."""
    from mcpwatch.cli.show import show_pid, show_status

    if pid:
        raise typer.Exit(show_pid())
    raise typer.Exit(show_status(names or (), as_json=json_, watch=watch, interval=interval))


@app.command(
    epilog="Examples:  mcpwatch check    mcpwatch check time --route    mcpwatch check --url http://127.0.0.1:9090/time/sse"
)
def check(
    name: MaybeName = None,
    direct: Annotated[bool, typer.Option("--direct", help="Only past the proxy, at the member itself.")] = False,
    route: Annotated[bool, typer.Option("--route", help="Only through the proxy, as a client does.")] = False,
    url: Annotated[str | None, typer.Option(help="Check any URL; needs no daemon.")] = None,
    token: Annotated[str | None, typer.Option(help="Bearer token for --url.", envvar="MCPWATCH_TOKEN", show_envvar=True)] = None,
    timeout: Annotated[str, typer.Option(help="Deadline of the whole probe, e.g. 5s.")] = "10s",
    transport: Annotated[Literal["auto", "sse", "http", "stateless"], typer.Option(help="The wire to speak.")] = "auto",
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="Extra header for --url, 'Name: value'.")] = None,
    tool: Annotated[str | None, typer.Option(help="Also call this tool (a canary).")] = None,
    arguments: Annotated[str, typer.Option(help="JSON arguments for --tool.")] = "{}",
    stdio: Annotated[bool, typer.Option("--stdio", help="Check a stdio server: mcpwatch check --stdio -- COMMAND ARGS")] = False,
    command: Annotated[list[str] | None, typer.Argument(help="With --stdio: the command.", hidden=True)] = None,
    json_: JsonOption = False,
) -> None:
    """Probe now and print each stage with its time; on failure the symptom and what to do. With --url, the curl of MCP."""
    from mcpwatch.cli.probe import Asked, check_fleet, check_target

    vantage = "direct" if direct and not route else "route" if route and not direct else None
    if url and name and not stdio:
        raise UsageError(f"check either --url or a member, not both ('{name}' was given too)")
    if not (url or stdio):
        alone = {"--tool": tool, "--token": token if token != os.environ.get("MCPWATCH_TOKEN") else None, "--header": header}
        refused = next((option for option, given in alone.items() if given), "--timeout" if timeout != "10s" else None)
        if refused:
            raise UsageError(f"{refused} goes with --url or --stdio; a member's checks are those of the configuration")
    if url or stdio:
        argv = tuple(part for part in (name, *(command or ())) if part) if stdio else ()
        asked = Asked(url or "", argv, token, timeout, transport, tuple(header or ()), tool, arguments)
        raise typer.Exit(check_target(asked, as_json=json_))
    raise typer.Exit(check_fleet(name, vantage, as_json=json_))


def _command(verb: str, names: list[str] | None, every: bool, *, as_json: bool, wait: bool = True) -> None:
    from mcpwatch.cli.members import command

    raise typer.Exit(command(verb, names or (), every=every, as_json=as_json, wait=wait))


WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]


@app.command(epilog="Examples:  mcpwatch start time fetch    mcpwatch start --all")
def start(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Start members, forgetting earlier failures."""
    _command("start", names, every, as_json=json_, wait=wait)


@app.command(epilog="Examples:  mcpwatch stop time fetch    mcpwatch stop --all")
def stop(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Stop members; they stay down until started, over restarts of the watchdog too."""
    _command("stop", names, every, as_json=json_, wait=wait)


@app.command(epilog="Examples:  mcpwatch restart time fetch    mcpwatch restart --all")
def restart(names: NamesArgument = None, every: AllOption = False, wait: WaitOption = True, json_: JsonOption = False) -> None:
    """Restart members one after the other: a new generation of each."""
    _command("restart", names, every, as_json=json_, wait=wait)


@app.command(epilog="Examples:  mcpwatch logs time -n 50    mcpwatch logs time -f    mcpwatch logs -f --all")
def logs(
    names: NamesArgument = None,
    every: AllOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the latest lines.", min=0)] = 100,
    stream: Annotated[Literal["stdout", "stderr"] | None, typer.Option(help="Only this one; both by default.")] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: 10m, 2h, or a time like 2026-11-21T04:00:00Z.")] = None,
    spool: Annotated[bool, typer.Option("--spool", help="Show what waits for Loki, and what Loki refused.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what a member wrote, across rotations; or, with --spool, how shipping to Loki stands. Needs no daemon."""
    if spool:
        from mcpwatch.cli.telemetry import show_spool

        raise typer.Exit(show_spool(as_json=json_))
    if not names and not every:
        raise typer.BadParameter("name a member, say --all, or use --spool", param_hint="NAME")
    from mcpwatch.cli.logs import show_logs

    raise typer.Exit(show_logs(names or (), follow=follow, lines=lines, stream=stream, since=since, as_json=json_))


@app.command(epilog="Examples:  mcpwatch events -f    mcpwatch events --since 1h    mcpwatch events time -n 20 --json")
def events(
    name: MaybeName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
    since: Annotated[str | None, typer.Option(help="Only since then: 10m, 2h, or a time like 2026-11-21T04:00:00Z.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the latest.", min=0)] = 200,
    json_: JsonOption = False,
) -> None:
    """Show what happened and why: every change of phase or verdict, every cause, every repair."""
    from mcpwatch.cli.show import show_events

    raise typer.Exit(show_events(name, follow=follow, since=since, lines=lines, as_json=json_))


@app.command(epilog="Examples:  mcpwatch history    mcpwatch history fetch --since 7d    mcpwatch history --json")
def history(
    name: MaybeName = None,
    since: Annotated[str, typer.Option(help="From then on, by whole hours: 12h, 7d, or a time like 2026-11-21T04:00:00Z.")] = "24h",
    json_: JsonOption = False,
) -> None:
    """Show how each check did: share of good probes, how long they took, and the worst hour. Kept for 30 days."""
    from mcpwatch.cli.history import show_history

    raise typer.Exit(show_history(name, since=since, as_json=json_))


@app.command(epilog="Examples:  mcpwatch why fetch    mcpwatch why fetch --json | jq .causes")
def why(
    name: Annotated[str, typer.Argument(help="Name of a member or route.", autocompletion=_names)], json_: JsonOption = False
) -> None:
    """Explain: what each vantage said, the cause, the repairs tried and what came of them."""
    from mcpwatch.cli.why import show_why

    raise typer.Exit(show_why(name, as_json=json_))


@app.command(epilog="Examples:  mcpwatch drill fetch --fault kill    mcpwatch drill fetch --fault hang --timeout 2m")
def drill(
    name: NameArgument,
    fault: Annotated[Literal["kill", "hang", "stale", "oom", "partition"], typer.Option(help="What is done to it.")] = "kill",
    timeout: Annotated[
        float, typer.Option(help="How long to wait for the recovery, e.g. 2m.", parser=positive_span, metavar="DURATION")
    ] = 120.0,
    json_: JsonOption = False,
) -> None:
    """Hurt a member on purpose and time how it is detected, named and healed. It interrupts that member's clients."""
    from mcpwatch.cli.drill import drill as run

    raise typer.Exit(run(name, fault, timeout=timeout, as_json=json_))


@app.command(epilog="Examples:  mcpwatch tools    mcpwatch tools git    mcpwatch tools git --diff")
def tools(
    name: MaybeName = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only how it differs from what was pinned; exits 1 when it does.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show what servers list, what it weighs in a model's context, and how it differs from what was accepted."""
    from mcpwatch.cli.tools import show_tools

    raise typer.Exit(show_tools(name, diff=diff, as_json=json_))


@app.command(name="pin")
def pin_(name: NameArgument, json_: JsonOption = False) -> None:
    """Accept the tools, prompts and resources that a member lists now."""
    from mcpwatch.cli.tools import pin

    raise typer.Exit(pin(name, as_json=json_))


@app.command()
def down(
    names: NamesArgument = None,
    leave: Annotated[bool, typer.Option("--leave", help="Leave the members running; the next `up` adopts them.")] = False,
    timeout: Annotated[float, typer.Option(help="How long to wait for the end, e.g. 2m.", parser=span, metavar="DURATION")] = 60.0,
    json_: JsonOption = False,
) -> None:
    """Stop the watchdog and, unless --leave, the whole fleet. With names, stop only those members."""
    if names:
        if leave:
            raise UsageError("--leave goes without names: it leaves all members running")
        _command("stop", names, False, as_json=json_)
    from mcpwatch.cli.members import take_down

    raise typer.Exit(take_down(leave=leave, timeout=timeout, as_json=json_))


@app.command(name="upgrade-in-place")
def upgrade_in_place() -> None:
    """Make the running watchdog become the code that is installed now; members are not touched."""
    from mcpwatch.cli.members import upgrade

    raise typer.Exit(upgrade())


@app.command(name="reload")
def reload_(json_: JsonOption = False) -> None:
    """Load the configuration again and apply what changed, touching nothing else."""
    from mcpwatch.cli.members import reload

    raise typer.Exit(reload(as_json=json_))


@app.command(epilog="Examples:  mcpwatch init    mcpwatch init fleet.yaml --from config.json")
def init(
    path: Annotated[Path, typer.Argument(help="File to write; - for standard output.")] = Path("mcpwatch.yaml"),
    source: Annotated[
        Path | None, typer.Option("--from", help="Import a TBXark config.json, an mcp-servers.json or a sparfenyuk file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a commented starter configuration."""
    from mcpwatch.cli.config import write_starter

    raise typer.Exit(write_starter(path, source, force=force))


@app.command()
def version(json_: JsonOption = False) -> None:
    """Print the version."""
    if json_:
        say_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        say(f"mcpwatch {__version__}")


@app.command(epilog="Example:  mcpwatch bridge --listen 127.0.0.1:9072 -- mcp-server-fetch")
def bridge(
    command: Annotated[list[str], typer.Argument(help="The stdio server and its arguments, after --.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT or :PORT to serve it on.")] = "127.0.0.1:9072",
    name: Annotated[str, typer.Option(help="Its name: it also answers at /<name>/sse and /<name>/mcp.")] = "bridge",
    sessions: Annotated[
        Literal["auto", "shared", "isolated"], typer.Option(help="isolated: one child per client session.")
    ] = "auto",
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME of a variable to hand on to the server.")] = None,
    log: Annotated[Literal["stderr", "syslog"], typer.Option(help="Where its own lines go.")] = "stderr",
) -> None:
    """Serve one stdio server over SSE and Streamable HTTP, with no watchdog around it."""
    from mcpwatch.cli.serve import bridge as run

    raise typer.Exit(run(command, listen=listen, name=name, sessions=sessions, env=tuple(env or ()), log=log))


@app.command(epilog="Example:  mcpwatch gateway -c mcp-servers.json --listen :12009 --log syslog")
def gateway(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="mcp-servers.json, TBXark config.json, sparfenyuk or native file.")
    ],
    listen: Annotated[str | None, typer.Option(help="HOST:PORT or :PORT; wins over the file.")] = None,
    log: Annotated[Literal["stderr", "syslog"], typer.Option(help="Where its own lines go.")] = "stderr",
) -> None:
    """Run the gateway alone: every server of a file at /<name>/sse and /<name>/mcp, all together at /sse and /mcp."""
    from mcpwatch.cli.serve import gateway as run

    raise typer.Exit(run(config, listen=listen, log=log))


@config_app.command()
def validate(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Find every fault of the configuration, a line each. Exits 3 when there is one."""
    from mcpwatch.cli.config import validate as run

    raise typer.Exit(run(config, as_json=json_))


@config_app.command()
def show(config: ConfigOption = None) -> None:
    """Print the configuration in force, every default filled in, secrets masked."""
    from mcpwatch.cli.config import show as run

    raise typer.Exit(run(config))


@config_app.command()
def schema() -> None:
    """Print the JSON Schema, for editors to complete and check the file."""
    from mcpwatch.cli.config import print_schema

    raise typer.Exit(print_schema())
