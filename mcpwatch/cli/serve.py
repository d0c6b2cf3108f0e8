"""`bridge` and `gateway`: the gateway's program from the command line, without a watchdog."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from mcpwatch.gateway.serve.entry import run_bridge, run_gateway
from mcpwatch.gateway.settings import Sessions
from mcpwatch.model.errors import UsageError

LogTo = Literal["stderr", "syslog"]


def bridge(command: list[str], *, listen: str, name: str, sessions: Sessions, env: tuple[str, ...], log: LogTo) -> int:
    """Serve one stdio server until a signal."""
    missing = [variable for variable in env if variable not in os.environ]
    if missing:
        raise UsageError(f"--env {missing[0]}: not set in this environment")
    passed = {variable: os.environ[variable] for variable in env}
    return run_bridge(command, name=name, listen=listen, sessions=sessions, env=passed, log_to=log)


def gateway(config: Path, *, listen: str | None, log: LogTo, replica: str = "") -> int:
    """Serve the servers of a file until a signal."""
    return run_gateway(config, listen=listen, log_to=log, replica=replica)
