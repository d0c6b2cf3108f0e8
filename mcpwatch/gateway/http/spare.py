"""How many file descriptors are left to a connection's number: clients must not take what children, logs and upstreams need.

Owns that arithmetic alone. The kernel gives the lowest number that is free, so that a connection with a high one says that all
below it are taken, whoever took them; nothing has to be counted.
"""

from __future__ import annotations

import asyncio
import resource

from mcpwatch.gateway.http import limits

SHORT = "too many connections: file descriptors run short, those left are kept for servers"


def scarce(transport: asyncio.BaseTransport, share: float = 1.0) -> bool:
    """Whether a connection stands in the reserve of descriptors, or in the last `share` of it (0 to 1); of the limit now."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    sock = transport.get_extra_info("socket")
    return sock is not None and most != resource.RLIM_INFINITY and sock.fileno() >= most - share * reserve(most)


def reserve(files: int) -> int:
    """The descriptors that are kept free of clients, of so many."""
    return min(limits.FILES_SPARED, files // 4)
