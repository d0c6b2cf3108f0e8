"""What sessions want of a member beyond their calls: subscriptions and a log level, told once for all.

Owns which of them are passed on. Must not know links, ids or restarts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mcpwatch.gateway.protocol import json_edit
from mcpwatch.gateway.protocol.call import Peer, PeerState

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
METHODS = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})


class Subscriptions:
    """The wishes of the sessions in `places`, which is the link's own."""

    def __init__(self, places: Mapping[Peer, PeerState]) -> None:
        self._places = places
        self._level = -1

    def take(self, place: PeerState, method: str, data: bytes) -> bool:
        """A session wishes something. Whether the member need not hear of it."""
        if method == "logging/setLevel":
            return self._set_level(place, level(data))
        if method == "resources/subscribe":
            place.uris.add(uri(data))
            return False
        place.uris.discard(uri(data))
        return self.wanted(uri(data))

    def wanted(self, which: bytes) -> bool:
        """Whether a session is subscribed to this resource (its URI as raw JSON)."""
        return any(which in place.uris for place in self._places.values())

    def restore(self) -> list[tuple[str, bytes]]:
        """Method and parameters of what a fresh member must be told again."""
        uris = {which for place in self._places.values() for which in place.uris}
        params = [("resources/subscribe", b'{"uri":' + which + b"}") for which in sorted(uris)]
        if self._level >= 0:
            params.append(("logging/setLevel", b'{"level":"' + LEVELS[self._level].encode() + b'"}'))
        return params

    def _set_level(self, place: PeerState, wished: int) -> bool:
        place.level = wished
        lowest = min(other.level for other in self._places.values())
        if self._level >= 0 and wished > lowest:
            return True
        self._level = wished
        return False


def uri(data: bytes) -> bytes:
    """The `uri` parameter of a message as raw JSON."""
    span = json_edit.locate(data, ("params", "uri"))
    return data[span[0] : span[1]] if span else b"null"


def level(data: bytes) -> int:
    """The `level` parameter of a message as its place in `LEVELS`, 0 when it is none of them."""
    span = json_edit.locate(data, ("params", "level"))
    try:
        return LEVELS.index(json.loads(data[span[0] : span[1]])) if span else 0
    except ValueError:
        return 0
