"""`bridge` and `gateway`: the gateway's program from the command line, without a watchdog."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast, get_args

from mcpwatch.gateway.program import run_bridge, run_gateway
from mcpwatch.gateway.settings import Sessions
from mcpwatch.model.errors import UsageError

LOGS = ("stderr", "syslog")


def bridge(command: list[str], *, listen: str, name: str, sessions: str, env: tuple[str, ...], log: str) -> int:
    """Serve one stdio server until a signal."""
    _one_of("--log", log, LOGS)
    _one_of("--sessions", sessions, get_args(Sessions))
    missing = [variable for variable in env if variable not in os.environ]
    if missing:
        raise UsageError(f"--env {missing[0]}: not set in this environment")
    passed = {variable: os.environ[variable] for variable in env}
    return run_bridge(command, name=name, listen=listen, sessions=cast("Sessions", sessions), env=passed, log_to=log)


def gateway(config: Path, *, listen: str | None, log: str) -> int:
    """Serve the servers of a file until a signal."""
    _one_of("--log", log, LOGS)
    return run_gateway(config, listen=listen, log_to=log)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} {value}: unknown; use one of {', '.join(known)}")
