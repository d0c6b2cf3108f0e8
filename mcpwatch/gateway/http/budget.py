"""What the connections of one listener may take together: their number and the bytes of their requests, by address and in all.

Owns the counting alone. Pure; must not know sockets or HTTP.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

from mcpwatch.gateway.http import limits


class Budget:
    """Counts of connections and of bytes of requests in memory. An empty address (a unix socket) is never refused."""

    def __init__(self, connections: int, per_address: int) -> None:
        self._most, self._most_each = connections, per_address
        self._open: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self.connections = 0
        self.held = 0
        """Bytes of requests in memory now."""

    def enter(self, address: str) -> bool:
        """Count a connection. False when it is one too many; `leave` is due either way."""
        self.connections += 1
        self._open[address] += 1
        return not address or (self.connections <= self._most and self._open[address] <= self._most_each)

    def leave(self, address: str) -> None:
        """A connection is gone."""
        self.connections -= 1
        self._subtract(self._open, address, 1)

    def hold(self, address: str, size: int, body_limit: int) -> bool:
        """Count bytes of a request that are kept. False, and nothing counted, when full; `body_limit`: the largest body (bytes)."""
        each = max(limits.HELD_PER_ADDRESS, 4 * body_limit)
        if address and (self._held[address] + size > each or self.held + size > limits.HELD_FACTOR * each):
            return False
        self._held[address] += size
        self.held += size
        return True

    def free(self, address: str, size: int) -> None:
        """Bytes of a request are needed no more."""
        self.held -= size
        self._subtract(self._held, address, size)

    @staticmethod
    def _subtract(counts: Counter[str], address: str, size: int) -> None:
        counts[address] -= size
        if counts[address] <= 0:
            del counts[address]


def address_of(peer: object) -> str:
    """The address that a connection is counted under, from `peername`; empty for a unix socket."""
    if not isinstance(peer, tuple) or not peer:
        return ""
    host = str(peer[0])  # pyright: ignore[reportUnknownArgumentType]
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
