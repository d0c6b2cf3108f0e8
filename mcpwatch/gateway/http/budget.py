"""What the connections of one listener may take together: their number and the bytes of their requests, by address and in all.

Owns the counting alone. Pure; must not know sockets or HTTP.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from mcpwatch.gateway.http import limits


@dataclass(slots=True, eq=False)
class Share:
    """What one address takes: connections, and bytes of requests in memory. An empty address is a unix socket's."""

    address: str
    connections: int = 0
    held: int = 0


class Budget:
    """Counts of connections and of bytes of requests in memory. Unix sockets are counted and never refused."""

    def __init__(self, connections: int, per_address: int) -> None:
        self._most, self._most_each = connections, per_address
        self._shares: dict[str, Share] = {}
        self.connections = 0
        self.held = 0
        """Bytes of requests in memory now."""

    def enter(self, address: str) -> tuple[Share, bool]:
        """Count a connection: its share, and whether it may stay. `leave` is due either way."""
        share = self._shares.setdefault(address, Share(address))
        self.connections += 1
        share.connections += 1
        return share, not address or (self.connections <= self._most and share.connections <= self._most_each)

    def leave(self, share: Share) -> None:
        """A connection is gone."""
        self.connections -= 1
        share.connections -= 1
        if not share.connections and not share.held:
            self._shares.pop(share.address, None)

    def hold(self, share: Share, size: int, body_limit: int) -> bool:
        """Count bytes of a request that are kept. False, and nothing counted, when full; `body_limit`: the largest body (bytes)."""
        held = share.held + size
        most = limits.HELD_PER_ADDRESS
        if held > most or self.held + size > most:  # else there is room whatever the bounds are in full
            most = max(most, 4 * body_limit)
            if share.address and (held > most or self.held + size > limits.HELD_FACTOR * most):
                return False
        share.held = held
        self.held += size
        return True

    def free(self, share: Share, size: int) -> None:
        """Bytes of a request are needed no more."""
        self.held -= size
        share.held -= size
        if not share.connections and not share.held:
            self._shares.pop(share.address, None)


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
