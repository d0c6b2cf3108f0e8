"""A TCP connection that lives for one probe: read and written at once, without the turns of the loop that asyncio's own takes.

asyncio opens a transport in three turns of the loop, and lets the kernel map and unmap memory for each piece that it reads. A
probe opens two and reads six times, so that this was a fifth of what it costs (ADR 0141). To a protocol it is like asyncio's own;
it knows no TLS, no buffered protocols and no half-closed connections.
"""

from __future__ import annotations

import asyncio
import mmap
import socket

from mcpwatch.http_client.connection import READ

_ROOM = memoryview(mmap.mmap(-1, READ, flags=mmap.MAP_PRIVATE))
"""Where every connection reads: its bytes are copied out before another turn. Memory of it is used as far as it was ever filled."""


class BriefTransport(asyncio.Transport):
    """Carries a protocol over a connected socket that does not block, which it owns from now on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._sock, self._fd = sock, sock.fileno()
        self._protocol: asyncio.BaseProtocol = protocol
        self._unsent = bytearray()
        self._paused = self._closing = self._lost = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        protocol.connection_made(self)
        loop.add_reader(self._fd, self._readable)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told what comes."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Somebody else is told from now on."""
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once all is sent."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what comes is told."""
        return not (self._closing or self._paused)

    def pause_reading(self) -> None:
        """Leave what comes to the kernel for now."""
        if self.is_reading():
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Tell what comes again."""
        if self._paused and not self._closing:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        """It has one end only."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what the kernel takes, and the rest when it takes more."""
        if self._lost or not data:
            return
        if self._unsent:
            self._unsent += data
            return
        sent = self._sent(data)
        if sent is not None and sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def close(self) -> None:
        """Read no more; close once all is sent."""
        if not self._closing:
            self._stop_reading()
            if not self._unsent:
                self._lose(None)

    def abort(self) -> None:
        """Close now, whatever waits to be sent."""
        self._lose(None)

    def _readable(self) -> None:
        if self._lost:
            return
        try:
            size = self._sock.recv_into(_ROOM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not size:
            self.close()
            return
        assert isinstance(self._protocol, asyncio.Protocol)
        try:
            self._protocol.data_received(bytes(_ROOM[:size]))
        except Exception as error:  # noqa: BLE001 - as asyncio has it: told, and the connection is of no use any more
            words = "Fatal error: protocol.data_received() call failed."
            self._loop.call_exception_handler({"message": words, "exception": error, "transport": self, "protocol": self._protocol})
            self._lose(error)

    def _writable(self) -> None:
        sent = self._sent(self._unsent)
        if sent is not None:
            del self._unsent[:sent]
            if not self._unsent:
                self._loop.remove_writer(self._fd)
                if self._closing:
                    self._lose(None)

    def _sent(self, data: bytes | bytearray | memoryview) -> int | None:
        """How many bytes the kernel took; `None` when the connection is lost."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._lose(error)
            return None

    def _stop_reading(self) -> None:
        self._closing = True
        if not self._paused:
            self._loop.remove_reader(self._fd)

    def _lose(self, error: Exception | None) -> None:
        """It is over: its protocol is told in the next turn, when whoever uses it now has let go."""
        if self._lost:
            return
        if not self._closing:
            self._stop_reading()
        if self._unsent:
            self._unsent.clear()
            self._loop.remove_writer(self._fd)
        self._lost = True
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()
            self._protocol = asyncio.Protocol()  # it refers to this transport: a cycle for the garbage collector
