"""Slowing down whoever guesses tokens. Time comes in as data; the waiting itself is the guard's."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mcpwatch.model.time import Instant

FIRST = 0.25
"""Seconds that the answer to the first wrong token takes; it doubles from there."""
LONGEST = 8.0
FORGET = 600.0
"""Seconds after the last wrong token until a peer starts anew."""
PEERS = 1024
"""Peers remembered; the ones longest silent are forgotten first."""
WAITING = 16
"""Wrong tokens that wait for their answer at the same time; more are refused at once."""


@dataclass(frozen=True, slots=True)
class _Peer:
    failures: int
    at: Instant


class Throttle:
    """Failed logins by peer."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether no more wrong tokens may wait."""
        return self.waiting >= WAITING

    def failed(self, peer: str, now: Instant) -> tuple[float, int]:
        """Note a wrong token: how many seconds its answer takes, and how many there were."""
        old = self._peers.pop(peer, None)
        count = 1 if old is None or now - old.at > FORGET else old.failures + 1
        self._peers[peer] = _Peer(count, now)
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return min(LONGEST, FIRST * 2 ** min(count - 1, 20)), count
