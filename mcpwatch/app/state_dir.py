"""The state directory while it is used: the lock and the control socket in it, put back when somebody removed them.

A cleaner of /tmp, or a person, may remove them under a running watchdog: then nobody could reach it, and a second one would begin
beside it. It must not know what the socket serves. See ADR 0026.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcpwatch.app.paths import StatePaths
from mcpwatch.model.errors import AlreadyRunning, McpwatchError
from mcpwatch.runtimes.lock import Lock, clear_way
from mcpwatch.web.serve import PageServer, listen_unix

CONTROL_STOP = 3.0
"""Seconds that open requests on the control socket are given at the end."""


class ControlSocket:
    """The control socket. Made, it listens; `run` serves an application on it."""

    def __init__(self, path: Path) -> None:
        """Raises `McpwatchError` where no socket can be made."""
        self._path = path
        with contextlib.suppress(OSError):
            clear_way(path)
        self._listener = listen_unix(path)
        self._inode = _inode(path)
        self._served: PageServer | None = None
        self._closing = False
        self._ended = asyncio.Event()

    @property
    def there(self) -> bool:
        """Whether whoever goes to the path comes to us."""
        return _inode(self._path) == self._inode

    async def run(self, app: Any) -> None:
        """Serve `app` until closed. May be called again after it failed."""
        self._ended.clear()
        try:
            while not self._closing:
                if self._listener.fileno() < 0:
                    self._listen()
                self._served = PageServer(app, self._listener)
                await self._served.run()
        finally:
            self._ended.set()

    def put_back(self) -> None:
        """Listen at the path again. What is connected through the old socket is ended. Raises `McpwatchError`."""
        self._listen()
        if self._served is not None:
            self._served.stop()

    async def close(self) -> None:
        """Answer what was asked, and no more."""
        self._closing = True
        if self._served is not None:
            self._served.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONTROL_STOP):
                    await self._ended.wait()

    def remove(self) -> None:
        """Take the socket away, unless it is another's by now."""
        if self.there:
            self._path.unlink(missing_ok=True)
        self._listener.close()

    def _listen(self) -> None:
        self._listener, self._inode = listen_unix(self._path), _inode(self._path)


class StateDirectory:
    """Keeps lock and socket: `look` every few seconds. `tell(text, bad)`; `lost` is called when another watchdog took over."""

    def __init__(
        self,
        paths: StatePaths,
        lock: Lock,
        socket: ControlSocket,
        *,
        tell: Callable[[str, bool], None],
        lost: Callable[[], None],
        put_back: Callable[[], object] = lambda: None,
    ) -> None:
        """`put_back` writes what else of the directory is missing."""
        self._paths = paths
        self._lock = lock
        self._socket = socket
        self._tell = tell
        self._lost = lost
        self._told = ""
        self._put_back = put_back

    def look(self) -> None:
        """Two looks at files; more only when one of them is not ours any more."""
        with contextlib.suppress(OSError):  # a full disk: it is written at a later look
            self._lock.name_owner()
        gone = [name for name, there in (("lock", self._lock.held), ("control socket", self._socket.there)) if not there]
        if not gone:
            return
        try:
            self._paths.make()
            for path in (self._paths.lock, self._paths.control):
                clear_way(path)
            self._lock.take_again()
            if not self._socket.there:
                self._socket.put_back()
            self._put_back()
        except AlreadyRunning as error:
            self._say(f"{error}; this one lost it, because its lock was removed, and goes; members stay", bad=True)
            self._lost()
        except (McpwatchError, OSError) as error:
            self._say(f"the {' and the '.join(gone)} of the state directory cannot be put back: {error}", bad=True)
        else:
            self._told = ""
            self._say(f"{self._paths.root}: somebody removed the {' and the '.join(gone)}; put back", bad=False)

    def _say(self, text: str, *, bad: bool) -> None:
        if text != self._told:
            self._tell(text, bad)
        self._told = text


def _inode(path: Path) -> tuple[int, int]:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return 0, 0
