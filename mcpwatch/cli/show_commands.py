"""Commands that show how the fleet is, was and answers. Mounted without a name, beside the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mcpwatch.cli.options import AllOption, AnyName, JsonOption, MaybeName, NameArgument, NamesArgument, WholeOption, some
from mcpwatch.cli.since import positive_span
from mcpwatch.model.errors import UsageError

app = typer.Typer(rich_markup_mode=None)


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
def why(name: AnyName, json_: JsonOption = False) -> None:
    """Explain the health of a member or route: evidence of each vantage, cause, repairs tried, next step."""
    from mcpwatch.cli.show import show_why

    raise typer.Exit(show_why(name, as_json=json_))


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


@app.command(epilog="Examples:  mcpwatch report    mcpwatch report --since 30d --html report.html    mcpwatch report --json")
def report(
    since: Annotated[str, typer.Option(help="From then on, by whole hours: 24h, 7d, or a time like 2026-11-21T04:00:00Z.")] = "7d",
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that stands alone; - for standard output.")] = None,
    json_: JsonOption = False,
) -> None:
    """Hold what was promised against what was measured. Exits 1 when an objective is missed. Needs no daemon."""
    from mcpwatch.cli.report import show_report

    raise typer.Exit(show_report(since=since, html=html, as_json=json_))
