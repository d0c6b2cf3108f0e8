"""What goes to one client: written, waiting, and whether the client still takes it.

Owns the count of bytes and the look at progress. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
from socket import AF_UNIX
from typing import Literal, cast

from mcpwatch.gateway.http import limits

NO_TRANSPORT = cast("asyncio.Transport", None)
"""What stands for a transport until there is one."""
Progress = Literal["idle", "behind", "stalled"]


class Output:
    """The sending side of one socket. `transport` is set as soon as there is one; `written`: what it was given so far (bytes)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room: asyncio.Future[None] | None = None
        self.written = self._taken = 0
        self._stalled = math.inf
        self.transport = NO_TRANSPORT

    @property
    def full(self) -> bool:
        """Whether the client is behind with its reading."""
        return self._room is not None

    def pause(self) -> None:
        """The client is behind with its reading."""
        self._room = self._loop.create_future()

    def resume(self) -> None:
        """It has caught up, or is gone."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def room(self) -> None:
        """Return when the client is not behind with its reading."""
        if self._room is not None:
            await self._room

    def look(self, now: float) -> Progress:
        """Whether the client has something to take, and took any of it within `STALL_LIMIT` (`now`: seconds of the loop's clock).

        A byte counts as taken when the client's machine has acknowledged it, where the kernel says so. "idle": what is left, if
        anything, is in the kernel.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent and self._taken == self.written:
            return "idle"
        taken = self.written - unsent - self._in_kernel(unsent)
        if taken > self._taken or self._stalled == math.inf:
            self._taken, self._stalled = taken, now + limits.STALL_LIMIT
        if taken == self.written:
            self._stalled = math.inf
            return "idle"
        if now >= self._stalled and now > self._stalled - limits.STALL_LIMIT:
            return "stalled"
        return "behind" if unsent else "idle"

    def _in_kernel(self, unsent: int) -> int:
        """Bytes that the kernel holds for the client; 0 where it does not say.

        A unix socket counts what its reader left unread, which is no sign of a vanished one: there it is asked only while `unsent`.
        """
        socket = self.transport.get_extra_info("socket")
        try:
            if not unsent and socket.family == AF_UNIX:
                return 0
            return struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except (OSError, AttributeError):
            return 0
