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
"""Questions without an answer that end a connection, where the next bound is not known."""
GONE = 60
"""Seconds after which a connection ends whose other host acknowledges nothing, neither data nor questions."""

_OPTIONS = (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 1), ("TCP_USER_TIMEOUT", 1000))


def notice_vanished(sock: Any, *, stalls: bool = False) -> None:
    """Set it on a TCP socket; on Linux, what a listening socket accepts has it too. Other sockets, and other systems, are left.

    `stalls`: the other side may be there and take nothing for long (a member that computes), which `GONE` would end.
    """
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for (name, unit), seconds in list(zip(_OPTIONS, (IDLE, INTERVAL, COUNT, GONE), strict=True))[: 3 if stalls else 4]:
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds * unit)
