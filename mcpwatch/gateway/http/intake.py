"""What one client sends, on its way to the parser: only as much of it as there is room for requests; the rest stays in the socket.

Owns the pausing of a socket and what is thrown away of a refused client. Must not know HTTP.
"""

from __future__ import annotations

from typing import Protocol, cast

from mcpwatch.gateway.http import limits
from mcpwatch.gateway.http.http_exchange import HttpExchange
from mcpwatch.gateway.http.output import NO_TRANSPORT
from mcpwatch.gateway.http.request_reader import RequestReader


class Gate(Protocol):
    """Whether more is wanted. `deaf`: nothing at all; `current`: the answer under way, because of which nothing can be closed."""

    deaf: bool
    current: HttpExchange | None

    @property
    def full(self) -> bool:
        """No more requests for now."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...


NO_GATE = cast("Gate", None)
"""Stands for a gate once nothing comes any more."""


class Intake:
    """The receiving side of one socket. `transport` is set as soon as there is one."""

    def __init__(self, reader: RequestReader, gate: Gate) -> None:
        self._reader = reader
        self._gate = gate
        self._rest = b""
        self._feeding = self._paused = False
        self._discarded = 0
        self.transport = NO_TRANSPORT

    @property
    def waits(self) -> bool:
        """Whether there is something that was not parsed, or may be in the socket."""
        return self._paused or self._rest != b""

    def take(self, data: bytes) -> None:
        """Bytes from the socket."""
        if self._gate.deaf:
            self._discard(len(data))
        elif self._rest or self._paused or self._feeding or len(data) > limits.SLICE:
            self._rest += data
            self.go_on()
        else:
            self._feeding = True
            try:
                used = self._reader.feed(data)
            finally:
                self._feeding = False
            if used < len(data):
                self._rest = data[used:]
                self.go_on()
            elif self._gate.full:
                self._pause(True)

    def go_on(self) -> None:
        """Parse what was received, as long as there is room for requests."""
        if self._feeding or not (self._rest or self._paused):
            return
        rest, self._rest = memoryview(self._rest), b""
        self._feeding = True
        try:
            while rest and not self._gate.deaf and not self._gate.full:
                rest = rest[self._reader.feed(rest) :]
        finally:
            self._feeding = False
        if self._gate.deaf:
            self._discard(len(rest))
            return
        self._rest = bytes(rest)
        self._pause(self._gate.full)

    def drop(self) -> None:
        """Nothing more is wanted: let the socket run empty."""
        self._rest = b""
        self._pause(False)

    def close(self) -> None:
        """Nothing comes any more: let go of the gate, which holds this."""
        self.drop()
        self._gate = NO_GATE

    def _pause(self, wanted: bool) -> None:
        if wanted != self._paused and not self.transport.is_closing():
            self._paused = wanted
            if wanted:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _discard(self, size: int) -> None:
        """Bytes came that are not wanted: bounded too."""
        self._discarded += size
        if self._discarded <= limits.LINGER_BYTES:
            return
        if self._gate.current is not None:
            self._pause(True)
        else:
            self._gate.abort()
