"""Serving an application on a unix socket or an address, inside the daemon's loop. The door to uvicorn of this room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn

from mcpwatch.model.errors import McpwatchError

STOP_TIMEOUT = 1
"""Seconds that open requests are given when the daemon stops."""

BACKLOG = 32
"""Connections that wait to be accepted. asyncio tries as many at once, and complains as often when descriptors run out."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, the daemon's signals are the daemon's, and without its ten looks a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait to be stopped: uvicorn's own loop would be most of what an idle watchdog does."""
        await self.told.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


class PageServer:
    """A running server. `run` until `stop`. `limit`: connections at once."""

    def __init__(self, app: Any, listener: socket.socket, limit: int | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            http="httptools",
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ws="none",
            limit_concurrency=limit,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            date_header=False,  # what the loop above refreshed
        )
        self._server = _Server(config)
        self._listener = listener

    async def run(self) -> None:
        """Serve until stopped."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Ask for the end; open streams are cut after `STOP_TIMEOUT`."""
        self._server.should_exit = True
        self._server.told.set()


def listen_tcp(listen: str) -> socket.socket:
    """A listening socket at `HOST:PORT`. Raises `OSError`."""
    host, _, port = listen.rpartition(":")
    name = host.strip("[]")
    listener = socket.create_server((name, int(port)), family=socket.AF_INET6 if ":" in name else socket.AF_INET, backlog=128)
    listener.setblocking(False)
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket at `path`, mode 0600 from its first moment. Raises `McpwatchError`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        hint = "; use a shorter --state-dir" if len(os.fspath(path)) > 100 else ""
        raise McpwatchError(f"{path}: cannot listen: {error.strerror or error}{hint}") from error
    finally:
        os.umask(before)
    listener.listen(128)
    return listener
