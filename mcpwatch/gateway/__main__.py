"""`python -m mcpwatch.gateway`: the gateway as the watchdog runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mcpwatch.gateway.program import run_gateway
from mcpwatch.model.errors import ConfigError


def main() -> int:
    """Read the arguments, serve, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mcpwatch.gateway", description="The MCP gateway of mcpwatch.")
    parser.add_argument(
        "--config", type=Path, required=True, help="native JSON, TBXark config.json, mcp-servers.json or sparfenyuk file"
    )
    parser.add_argument("--listen", help="HOST:PORT or :PORT; wins over the file")
    parser.add_argument("--admin", type=Path, help="path of the admin unix socket to make")
    parser.add_argument("--log-dir", type=Path, help="directory for the stderr of stdio servers")
    parser.add_argument("--log", choices=("stderr", "syslog"), default="stderr", help="where the gateway's own log goes")
    given = parser.parse_args()
    try:
        return run_gateway(given.config, listen=given.listen, admin=given.admin, logs=given.log_dir, log_to=given.log)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
