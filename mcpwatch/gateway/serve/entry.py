"""The two entries of the gateway: a file of servers, or one command. Starts the servers first, then loads the gateway.

Owns the order of a cold start. Imports little at the top: everything here is paid for before the first server is started.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import cast

from mcpwatch.gateway.dialects import load, stamp
from mcpwatch.gateway.settings import SESSIONS, ServerSettings, Settings, split_listen
from mcpwatch.gateway.settings_reader import digest
from mcpwatch.gateway.upstream import spawn
from mcpwatch.http_client import late_tls
from mcpwatch.model.errors import ConfigError, Fault
from mcpwatch.model.held import held

OPTIONAL = "typing_extensions"


def run_gateway(
    config: Path, *, listen: str | None = None, admin: Path | None = None, logs: Path | None = None, log_to: str = "stderr",
    replica: str = "",
) -> int:  # fmt: skip
    """Serve the servers of a configuration file until SIGTERM or SIGINT.

    `config` is the native file, a TBXark `config.json`, an `mcp-servers.json` or a sparfenyuk file; it is read again when it
    changes and on SIGHUP. `listen` (`HOST:PORT` or `:PORT`) wins over the file. `admin` is the path of a unix socket to make.
    `logs` is the directory for the stderr of stdio servers. `log_to` is `stderr` or `syslog`.
    `replica` is the name of this gateway among the `replicas` of the file.
    Returns the exit code; raises `ConfigError` before anything is started.
    """

    def read() -> Settings:
        settings = _named(replace(load(config), held=held(admin) if admin else frozenset()), replica)
        return replace(settings, listen=listen) if listen else settings

    return _run(read, config, admin, logs, log_to)


def run_bridge(
    command: list[str], *, name: str = "bridge", listen: str = "127.0.0.1:9072", sessions: str = "auto",
    tokens: tuple[str, ...] = (), env: dict[str, str] | None = None, log_to: str = "stderr",
) -> int:  # fmt: skip
    """Serve one stdio server at `/sse` and `/mcp` (and below `/<name>/`) until SIGTERM or SIGINT.

    `command` is the program and its arguments. Returns the exit code; raises `ConfigError` when it cannot be a command.
    """
    if not command:
        raise ConfigError(Fault("", "no command given; write it after --, e.g. mcpwatch bridge -- mcp-server-fetch"))
    if sessions not in SESSIONS:
        raise ConfigError(Fault("sessions", f"{sessions!r} is not one of {', '.join(SESSIONS)}"))
    server = ServerSettings(name, command[0], tuple(command[1:]), tuple((env or {}).items()), sessions=sessions)
    settings = Settings(listen=listen, digests=tuple(map(digest, tokens)), servers=(server,), bridge=True)
    return _run(lambda: settings, None, None, None, log_to)


def _named(settings: Settings, replica: str) -> Settings:
    """The settings of this one of several gateways. Raises `ConfigError` when its name is not among them."""
    names = [name for name, _ in settings.replicas]
    if not names:
        return settings  # it stands alone, whatever it is called
    if replica not in names:
        given = f"{replica!r} is none of them" if replica else "which of them this one is, is not known"
        raise ConfigError(Fault("replicas", f"{given}; give one of {', '.join(names)} with --replica or MCPWATCH_REPLICA"))
    return replace(settings, replica=replica)


def _run(read: Callable[[], Settings], config: Path | None, admin: Path | None, logs: Path | None, log_to: str) -> int:
    seen = stamp(config) if config is not None else None
    settings = read()
    try:
        split_listen(settings.listen)
    except ValueError:
        raise ConfigError(Fault("listen", f"{settings.listen!r} is no HOST:PORT")) from None
    gc.disable()  # nothing that is loaded now is ever garbage; the program turns it on when it serves
    spawn.begin(tuple(server for server in settings.servers if server.name not in settings.held), logs)
    try:
        with nullcontext() if _needs_tls(settings) else late_tls.postponed(), spared():
            from mcpwatch.gateway.serve.program import run

        return run(settings, read, config, admin, logs, log_to, seen=seen)
    finally:
        spawn.discard()


@contextmanager
def spared() -> Generator[None]:
    """What is imported within does without `typing_extensions`, which msgspec takes where it is there: a tenth of its loading."""
    if OPTIONAL in sys.modules:
        yield
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules[OPTIONAL] = None
    try:
        yield
    finally:
        modules.pop(OPTIONAL, None)


def _needs_tls(settings: Settings) -> bool:
    """Whether a server or a replica is reached by `https`; one that a reload brings gets its TLS then."""
    urls = [server.url or "" for server in settings.servers] + [url for _, url in settings.replicas]
    return any(url[:6].lower() == "https:" for url in urls)
