"""One listening stream to a stateless member for all its handshake sessions, who know `list_changed` and subscriptions. ADR 0013.

Owns what is listened for and who hears of it. Must not know HTTP, processes or requests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from typing import Any

from mcpwatch.gateway.protocol import json_edit, message, stateless_protocol, translation
from mcpwatch.gateway.protocol.call import FINAL, SUSPENDED, Delivery, Peer
from mcpwatch.gateway.upstream.mux import Mux

ACKNOWLEDGE_LIMIT = 10.0
"""Seconds until a member must have acknowledged that it is listened to."""
AGAIN = 1.0
"""Seconds before a stream that ended is opened again."""
KINDS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

log = logging.getLogger("mcpwatch.gateway")


class UpstreamSubscription:
    """What the sessions of one upstream want to hear of. `own` is the gateway as a peer of its own requests."""

    def __init__(self, name: str, mux: Mux, own: Peer) -> None:
        self._name, self._mux, self._own = name, mux, own
        self._uris: dict[Peer, set[str]] = {}
        self._can: dict[str, Any] = {}
        self._requests: list[SubscriptionRequest] = []
        self._missed = False
        self._deaf = False

    def join(self, peer: Peer) -> None:
        """A session wants to hear of changed lists."""
        self._uris.setdefault(peer, set())
        self._renew()

    def leave(self, peer: Peer) -> None:
        """A session is over."""
        if self._uris.pop(peer, None) is not None:
            self._renew()

    def subscribe(self, peer: Peer, uri: str, done: Callable[[], None]) -> None:
        """A session wants to hear of a resource; `done` is called once the member knows."""
        self._uris.setdefault(peer, set()).add(uri)
        request = self._renew()
        if request is None:
            done()
        else:
            request.then(done)

    def unsubscribe(self, peer: Peer, uri: str) -> None:
        """It does not any more."""
        self._uris.setdefault(peer, set()).discard(uri)
        self._renew()

    def opened(self, discovered: bytes) -> None:
        """The member is there (again); its answer to `server/discover`."""
        can = json.loads(discovered).get("capabilities")
        self._can = can if isinstance(can, dict) else {}
        self._deaf = False
        self._requests.clear()
        self._renew()

    # --- inside ---

    def _wanted(self) -> dict[str, Any]:
        uris = sorted({uri for wanted in self._uris.values() for uri in wanted})
        found: dict[str, Any] = {}
        for kind, flag in KINDS.items():
            able: object = self._can.get(kind)
            if self._uris and isinstance(able, dict) and able.get("listChanged"):  # pyright: ignore[reportUnknownMemberType]
                found[flag] = True
        return found | ({"resourceSubscriptions": uris} if uris else {})

    def _renew(self) -> SubscriptionRequest | None:
        """Listen for what is wanted now; the stream that does, `None` when there is nothing to listen for."""
        wanted = self._wanted()
        if self._requests and self._requests[-1].wanted == wanted:
            return self._requests[-1]
        if not wanted or self._deaf:
            for request in list(self._requests):
                self._close(request)
            return None
        request = SubscriptionRequest(wanted, self._heard, self._ended)
        self._requests.append(request)
        params = stateless_protocol.QUESTION | {"notifications": wanted}
        request.number = self._mux.own("subscriptions/listen", params, request, self._own, math.inf)
        return request

    def _close(self, request: SubscriptionRequest) -> None:
        if request in self._requests:
            self._requests.remove(request)
        self._mux.cancel(request.number, "no longer listened to")
        request.finish()

    def _heard(self, request: SubscriptionRequest, data: bytes) -> None:
        method = json.loads(data).get("method")
        if method == ACKNOWLEDGED:
            for older in self._requests[: self._requests.index(request)] if request in self._requests else []:
                self._close(older)
            missed, self._missed = self._missed, False
            for kind in [kind for kind, flag in KINDS.items() if missed and flag in request.wanted]:
                self._tell_all(message.notification(f"notifications/{kind}/list_changed"))
        elif request in self._requests:
            self._pass_on(method, translation.without_subscription(data))

    def _pass_on(self, method: object, data: bytes) -> None:
        if method != "notifications/resources/updated":
            self._tell_all(data)
            return
        changed = str(json.loads(data)["params"].get("uri"))
        for peer, uris in list(self._uris.items()):
            if any(changed == uri or changed.startswith(uri.rstrip("/") + "/") for uri in uris):
                peer.push(data)

    def _tell_all(self, data: bytes) -> None:
        for peer in list(self._uris):
            peer.push(data)

    def _ended(self, request: SubscriptionRequest, data: bytes) -> None:
        """A stream is over that nobody closed: open another one, and say then that something may have been missed."""
        if request not in self._requests:
            return
        self._requests.remove(request)
        if not request.acknowledged and json_edit.locate(data, ("error",)) is not None:
            self._deaf = True
            log.info("%s: cannot be listened to: %s", self._name, json.loads(data)["error"].get("message"))
            return
        self._missed = True
        asyncio.get_running_loop().call_later(AGAIN, self._renew)


class SubscriptionRequest:
    """One `subscriptions/listen` request on its way: a sink that never has enough."""

    def __init__(
        self,
        wanted: dict[str, Any],
        heard: Callable[[SubscriptionRequest, bytes], None],
        ended: Callable[[SubscriptionRequest, bytes], None],
    ) -> None:
        self.wanted = wanted
        self.number = 0
        self.acknowledged = False
        self._heard, self._ended = heard, ended
        self._then: list[Callable[[], None]] = []
        self._timer = asyncio.get_running_loop().call_later(ACKNOWLEDGE_LIMIT, self.finish)

    def then(self, done: Callable[[], None]) -> None:
        """Call this once the member has acknowledged, or will not."""
        if self._timer is None:
            done()
        else:
            self._then.append(done)

    def deliver(self, data: bytes, share: Delivery) -> None:
        """A change, or the end."""
        if share == FINAL:
            self.finish()
            self._ended(self, data)
            return
        if share == SUSPENDED:
            return
        acknowledged = json.loads(data).get("method") == ACKNOWLEDGED
        self.acknowledged = self.acknowledged or acknowledged
        self._heard(self, data)
        if acknowledged:
            self.finish()

    def finish(self) -> None:
        """Whoever waited for the acknowledgement need not wait longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._then = self._then, []
        for done in waiting:
            done()
