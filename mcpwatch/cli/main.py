"""The command line: every command, its help and its examples. Bodies import what they need when they run.

It talks to the daemon through its API and knows no room's insides; `up` alone builds the daemon, in this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch import __version__
from mcpwatch.app.paths import state_paths
from mcpwatch.cli import clients as client_commands
from mcpwatch.cli import fleet_commands
from mcpwatch.cli.alerts import alerts_app, maintenance_app, silence_app
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit import catalog_commands
from mcpwatch.cli.edit import commands as edit_commands
from mcpwatch.cli.failure import told
from mcpwatch.cli.names import WholeOption, some
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
    epilog=(
        "Start with: mcpwatch add time -- uvx mcp-server-time (or mcpwatch import), then mcpwatch up.  "
        "Exits: 0 ok, 1 unhealthy, 2 usage, 3 bad config, 4 no daemon, 5 internal."
    ),
)
config_app = typer.Typer(
    no_args_is_help=True, help="Validate and show the configuration; print its JSON Schema.", rich_markup_mode=None
)
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


@app.command(epilog="Examples:  mcpwatch status    mcpwatch status time    mcpwatch status --all-contexts")
def status(
    names: NamesArgument = None,
    whole: WholeOption = False,
    json_: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(help="Time between refreshes, e.g. 500ms.", parser=positive_span, metavar="DURATION")
    ] = 2.0,
    pid: Annotated[bool, typer.Option("--pid", help="Print only the process id of the watchdog.")] = False,
    every: Annotated[
        bool, typer.Option("--all-contexts", help="Show the watchdogs of contexts.yaml, one that does not answer as unknown.")
    ] = False,
) -> None:
    """Show the status of members and routes. Exits 0 when all are healthy, 1 when not, 4 without a daemon."""
    from mcpwatch.cli.contexts import show_all
    from mcpwatch.cli.show import show_pid, show_status

    if every and (names or watch or pid):
        raise UsageError("--all-contexts shows every fleet whole; it goes with --json alone")
    if every:
        raise typer.Exit(show_all(as_json=json_))
    if pid:
        raise typer.Exit(show_pid())
    raise typer.Exit(show_status(some(names, whole=whole), as_json=json_, watch=watch, interval=interval))


@app.command(epilog="Examples:  mcpwatch health    mcpwatch health --daemon")
def health(
    daemon: Annotated[bool, typer.Option("--daemon", help="Ask only whether the watchdog itself works, not its fleet.")] = False,
    json_: JsonOption = False,
) -> None:
    """Tell in one line whether the fleet is healthy, or with --daemon the watchdog itself. Exits 0 when it is, 1 when not."""
    from mcpwatch.cli.show import show_health

    raise typer.Exit(show_health(daemon=daemon, as_json=json_))


@app.command(
    epilog="Examples:  mcpwatch check    mcpwatch check time --route    mcpwatch check --url http://127.0.0.1:9090/time/sse"
)
def check(
    name: MaybeName = None,
    direct: Annotated[bool, typer.Option("--direct", help="Probe only the member itself.")] = False,
    route: Annotated[bool, typer.Option("--route", help="Probe only the route through the proxy, as a client does.")] = False,
    url: Annotated[str | None, typer.Option(help="Probe any URL; needs no daemon.")] = None,
    token: Annotated[str | None, typer.Option(help="Bearer token for --url.", envvar="MCPWATCH_TOKEN", show_envvar=True)] = None,
    timeout: Annotated[str, typer.Option(help="Deadline of the whole probe, for example 5s.")] = "10s",
    transport: Annotated[Literal["auto", "sse", "http", "stateless"], typer.Option(help="Transport to use.")] = "auto",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="Extra request header for --url, 'Name: value'.")
    ] = None,
    tool: Annotated[str | None, typer.Option(help="Also call this tool, as a canary.")] = None,
    arguments: Annotated[str, typer.Option(help="Arguments for --tool, as JSON.")] = "{}",
    stdio: Annotated[bool, typer.Option("--stdio", help="Probe a stdio server: mcpwatch check --stdio -- COMMAND ARGS")] = False,
    command: Annotated[list[str] | None, typer.Argument(help="With --stdio: the command.", hidden=True)] = None,
    json_: JsonOption = False,
) -> None:
    """Probe a member or route now. Print each stage with its duration and, on failure, the symptom and the remedy."""
    from mcpwatch.cli.probe import ProbeRequest, check_fleet, check_target

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
        asked = ProbeRequest(url or "", argv, token, timeout, transport, tuple(header or ()), tool, arguments)
        raise typer.Exit(check_target(asked, as_json=json_))
    raise typer.Exit(check_fleet(name, vantage, as_json=json_))


def _command(verb: str, names: Sequence[str] | None, every: bool, *, as_json: bool, wait: bool = True) -> None:
    from mcpwatch.cli.members import command

    raise typer.Exit(command(verb, names or (), every=every, as_json=as_json, wait=wait))


WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the command is carried out.")]


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


@app.command(epilog="Examples:  mcpwatch logs time -n 50    mcpwatch logs time -f    mcpwatch logs -f --all")
def logs(
    names: NamesArgument = None,
    every: AllOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of latest lines.", min=0)] = 100,
    stream: Annotated[Literal["stdout", "stderr"] | None, typer.Option(help="Stream to show; both by default.")] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: 10m, 2h, or a time like 2026-11-21T04:00:00Z.")] = None,
    spool: Annotated[
        bool, typer.Option("--spool", help="Show lines that wait for Loki, and dead letters: lines that Loki refused.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Show the log of a member across rotations. With --spool, show the backlog and the dead letters for Loki. Needs no daemon."""
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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow new events.")] = False,
    since: Annotated[str | None, typer.Option(help="Start of the period: 10m, 2h, or a time like 2026-11-21T04:00:00Z.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of latest events.", min=0)] = 200,
    json_: JsonOption = False,
) -> None:
    """Show events: changes of phase and health, causes, repairs, and crash loops."""
    from mcpwatch.cli.show import show_events

    raise typer.Exit(show_events(name, follow=follow, since=since, lines=lines, as_json=json_))


@app.command(epilog="Examples:  mcpwatch history    mcpwatch history fetch --since 7d    mcpwatch history --json")
def history(
    name: MaybeName = None,
    since: Annotated[
        str, typer.Option(help="Start of the period, in whole hours: 12h, 7d, or a time like 2026-11-21T04:00:00Z.")
    ] = "24h",
    json_: JsonOption = False,
) -> None:
    """Show the results of each check over time: success rate, latency, worst hour. Kept for 30 days."""
    from mcpwatch.cli.history import show_history

    raise typer.Exit(show_history(name, since=since, as_json=json_))


@app.command(epilog="Examples:  mcpwatch why fetch    mcpwatch why fetch --json | jq .causes")
def why(
    name: Annotated[str, typer.Argument(help="Name of a member or route.", autocompletion=_names)], json_: JsonOption = False
) -> None:
    """Explain the health of a member or route: evidence of each vantage, cause, repairs tried, next step."""
    from mcpwatch.cli.why import show_why

    raise typer.Exit(show_why(name, as_json=json_))


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


@app.command(epilog="Examples:  mcpwatch tools    mcpwatch tools git    mcpwatch tools git --diff")
def tools(
    name: MaybeName = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print only the difference from the pinned contract; exit 1 when there is one.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Show tools, prompts and resources, their token weight, and the difference from the accepted contract."""
    from mcpwatch.cli.tools import show_tools

    raise typer.Exit(show_tools(name, diff=diff, as_json=json_))


@app.command(name="pin")
def pin_(name: NameArgument, json_: JsonOption = False) -> None:
    """Accept the tools, prompts and resources that a member lists now as its contract."""
    from mcpwatch.cli.tools import pin

    raise typer.Exit(pin(name, as_json=json_))


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


@app.command(epilog="Examples:  mcpwatch report    mcpwatch report --since 30d --html report.html    mcpwatch report --json")
def report(
    since: Annotated[str, typer.Option(help="From then on, by whole hours: 24h, 7d, or a time like 2026-11-21T04:00:00Z.")] = "7d",
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that stands alone; - for standard output.")] = None,
    json_: JsonOption = False,
) -> None:
    """Hold what was promised against what was measured. Exits 1 when an objective is missed. Needs no daemon."""
    from mcpwatch.cli.report import show_report

    raise typer.Exit(show_report(since=since, html=html, as_json=json_))


@app.command(epilog="Examples:  mcpwatch mcp    mcpwatch mcp --operate")
def mcp(
    operate: Annotated[
        bool, typer.Option("--operate", help="Also offer the tools that act: restart, silence, accept_contract.")
    ] = False,
    socket: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve MCP on standard input and output: tools by which an agent asks what is down and why."""
    from mcpwatch.cli.mcp import serve

    raise typer.Exit(serve(operate=operate, socket=socket))


@app.command()
def version(json_: JsonOption = False) -> None:
    """Print the version."""
    if json_:
        say_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        say(f"mcpwatch {__version__}")


@app.command(epilog="Example:  mcpwatch bridge --listen 127.0.0.1:9072 -- mcp-server-fetch")
def bridge(
    command: Annotated[list[str], typer.Argument(help="Command of the stdio server and its arguments, after --.")],
    listen: Annotated[str, typer.Option(help="Address to listen on, HOST:PORT or :PORT.")] = "127.0.0.1:9072",
    name: Annotated[str, typer.Option(help="Route name: also serve /<name>/sse and /<name>/mcp.")] = "bridge",
    sessions: Annotated[
        Literal["auto", "shared", "isolated"],
        typer.Option(help="How client sessions share the server; isolated: one child process per session."),
    ] = "auto",
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="Name of an environment variable to pass to the server.")
    ] = None,
    log: Annotated[Literal["stderr", "syslog"], typer.Option(help="Destination of the program's own log lines.")] = "stderr",
) -> None:
    """Serve one stdio server over SSE and Streamable HTTP, without a watchdog."""
    from mcpwatch.cli.serve import bridge as run

    raise typer.Exit(run(command, listen=listen, name=name, sessions=sessions, env=tuple(env or ()), log=log))


@app.command(epilog="Example:  mcpwatch gateway -c mcp-servers.json --listen :12009 --log syslog")
def gateway(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="mcp-servers.json, TBXark config.json, sparfenyuk or native file.")
    ],
    listen: Annotated[str | None, typer.Option(help="Address to listen on, HOST:PORT or :PORT; overrides the file.")] = None,
    log: Annotated[Literal["stderr", "syslog"], typer.Option(help="Destination of the program's own log lines.")] = "stderr",
    replica: Annotated[
        str, typer.Option(envvar="MCPWATCH_REPLICA", help="Name of this gateway among the file's replicas.", show_envvar=False)
    ] = "",
) -> None:
    """Run only the gateway: serve each server of a file at /<name>/sse and /<name>/mcp, and all of them at /sse and /mcp."""
    from mcpwatch.cli.serve import gateway as run

    raise typer.Exit(run(config, listen=listen, log=log, replica=replica))


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
