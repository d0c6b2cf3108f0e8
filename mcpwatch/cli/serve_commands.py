"""Commands that serve in the foreground: a gateway, a bridge, the MCP server of the watchdog. Mounted beside the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(rich_markup_mode=None)


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
    from mcpwatch.gateway.serve.entry import run_bridge
    from mcpwatch.model.errors import UsageError

    missing = [variable for variable in env or () if variable not in os.environ]
    if missing:
        raise UsageError(f"--env {missing[0]}: not set in this environment")
    passed = {variable: os.environ[variable] for variable in env or ()}
    raise typer.Exit(run_bridge(command, name=name, listen=listen, sessions=sessions, env=passed, log_to=log))


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
    from mcpwatch.gateway.serve.entry import run_gateway

    raise typer.Exit(run_gateway(config, listen=listen, log_to=log, replica=replica))
