"""`python -m mcpwatch.gateway`: the gateway as the watchdog runs it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mcpwatch.gateway.serve.entry import run_bridge, run_gateway
from mcpwatch.model.errors import ConfigError


def main() -> int:
    """Read the arguments, serve, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mcpwatch.gateway", description="The MCP gateway of mcpwatch.")
    parser.add_argument("--config", type=Path, help="native JSON, TBXark config.json, mcp-servers.json or sparfenyuk file")
    parser.add_argument("--listen", help="HOST:PORT or :PORT; wins over the file")
    parser.add_argument("--admin", type=Path, help="path of the admin unix socket to make")
    parser.add_argument("--log-dir", type=Path, help="directory for the stderr of stdio servers")
    parser.add_argument("--log", choices=("stderr", "syslog"), default="stderr", help="where the gateway's own log goes")
    name = os.environ.get("MCPWATCH_REPLICA", "")
    parser.add_argument("--replica", default=name, help="the name of this gateway among the file's replicas; else MCPWATCH_REPLICA")
    bridge = parser.add_argument_group("bridge", "one stdio server instead of a file: --bridge-listen HOST:PORT -- COMMAND ARGS…")
    bridge.add_argument("--bridge-listen", help="HOST:PORT; serves the command after -- at /sse and /mcp")
    bridge.add_argument("--name", default="bridge", help="the server's name, in logs and below /NAME/")
    bridge.add_argument("--sessions", default="auto", choices=("auto", "shared", "isolated"))
    bridge.add_argument("--pass-env", action="append", default=[], metavar="NAME", help="give the server this variable of ours")
    bridge.add_argument("command", nargs="*", help="the server's program and arguments")
    given = parser.parse_args()
    if (given.config is None) == (given.bridge_listen is None):
        parser.error("write either --config or --bridge-listen")
    try:
        if given.bridge_listen is not None:
            env = {name: os.environ[name] for name in given.pass_env if name in os.environ}
            return run_bridge(
                given.command, name=given.name, listen=given.bridge_listen, sessions=given.sessions, env=env, log_to=given.log
            )
        return run_gateway(
            given.config, listen=given.listen, admin=given.admin, logs=given.log_dir, log_to=given.log, replica=given.replica
        )
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
