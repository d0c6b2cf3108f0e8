"""The stdin of a child, written straight to the kernel, so that it is known to the byte what the child was given and has read.

Owns one file descriptor. Must not know lines or processes. Why not a transport of the loop: ADR 0010.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
from array import array

WRITE_LIMIT = 32 * 1024 * 1024
"""A reader that leaves more than this unread is given nothing more (bytes)."""


class Pipe:
    """The writing end of a pipe. Takes ownership of `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = bytearray()
        self._given = 0
        self._waiting = False
        self._broken = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> int:
        """Give `data` to the reader, together with what else is given in this turn of the loop.

        Returns all it was given so far (bytes), 0 when it is gone or reads too slowly.
        """
        if self._descriptor < 0 or self._broken or len(self._rest) > WRITE_LIMIT:
            return 0
        if not self._rest:
            self._loop.call_soon(self._flush)
        self._rest += data
        self._given += len(data)
        return self._given

    def read(self) -> int | None:
        """How much of what was given has been read; of a dead reader for ever, as long as this end is open. Linux only."""
        if self._descriptor < 0 or sys.platform != "linux":
            return None
        left = array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, left)
        return self._given - left[0] - len(self._rest)

    def close(self) -> None:
        """Let the reader see the end."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._loop.remove_writer(descriptor)
            os.close(descriptor)

    def _flush(self) -> None:
        if self._descriptor < 0:
            return
        try:
            written = os.write(self._descriptor, self._rest)
        except BlockingIOError:
            written = 0
        except OSError:
            self._broken = True
            self._loop.remove_writer(self._descriptor)
            return
        del self._rest[:written]
        if self._rest and not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._descriptor, self._flush)
        elif not self._rest and self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._descriptor)
