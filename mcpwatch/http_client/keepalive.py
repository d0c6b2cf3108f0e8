"""A peer whose host vanishes without a word: the kernel asks for it and ends the connection, so that nobody waits for ever.

Owns the socket options for that. Must not know HTTP. ADR 0087.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

IDLE = 15
"""Seconds of silence after which the kernel asks whether the other host is there."""
INTERVAL = 5
"""Seconds between its questions."""
COUNT = 3
"""Questions without an answer that end a connection."""

_OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")


def notice_vanished(sock: Any) -> None:
    """Set it on a TCP socket; on Linux, what a listening socket accepts has it too. Other sockets, and other systems, are left.

    `TCP_USER_TIMEOUT` is left alone: to Linux a reader whose window is smaller than the next packet makes no progress
    (ADR 0105). What a client does not acknowledge is watched by `output.Output`.
    """
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(_OPTIONS, (IDLE, INTERVAL, COUNT), strict=True):
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
