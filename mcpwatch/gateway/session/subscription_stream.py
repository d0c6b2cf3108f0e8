"""A listening stream (`subscriptions/listen`) for a client of the stateless wire on members that only know handshakes. ADR 0014.

Owns what is let through, and its marks. Must not know HTTP.
"""

from __future__ import annotations

import json
from typing import Any, cast

from mcpwatch.gateway.protocol import json_edit, message
from mcpwatch.gateway.protocol.call import PART, Sink
from mcpwatch.gateway.protocol.message import SUBSCRIPTION, Envelope
from mcpwatch.gateway.session.target import OneSession
from mcpwatch.gateway.upstream.own_requests import PendingReply
from mcpwatch.gateway.upstream.upstream_subscriptions import ACKNOWLEDGED, KINDS

SUBSCRIBE_LIMIT = 10.0
"""Seconds that a member may take to accept one subscription."""
UPDATED = "notifications/resources/updated"


async def listen(session: OneSession, parsed: dict[str, Any], envelope: Envelope, sink: Sink) -> None:
    """Acknowledge what a client may hear of, then let it through to `sink` until the session ends. Raises `UpstreamUnavailable`."""
    wanted: object = parsed["params"].get("notifications")
    asked = cast("dict[str, Any]", wanted) if isinstance(wanted, dict) else {}
    raw_id = message.raw_id(envelope) or b"null"
    await session.attend()
    honored: dict[str, Any] = {flag: True for flag in KINDS.values() if asked.get(flag) is True}
    named: list[Any] = asked.get("resourceSubscriptions") or []
    uris = [str(uri) for uri in named if await _subscribed(session, str(uri))]
    if uris:
        honored["resourceSubscriptions"] = uris
    mark = b'"%b":%b' % (SUBSCRIPTION.encode(), raw_id)
    told = message.notification(ACKNOWLEDGED, {"notifications": honored})
    sink.deliver(json_edit.with_members(told, ("params", "_meta"), mark, SUBSCRIPTION.__eq__), PART)
    kinds = {f"notifications/{kind}/list_changed" for kind, flag in KINDS.items() if flag in honored} | {UPDATED}

    def heard(data: bytes) -> None:
        if message.peek(data).method in kinds:
            sink.deliver(json_edit.with_members(data, ("params", "_meta"), mark, SUBSCRIPTION.__eq__), PART)

    session.connect(heard)


async def _subscribed(session: OneSession, uri: str) -> bool:
    """Whether the member will tell of this resource."""
    raw = message.request(1, "resources/subscribe", {"uri": uri})
    answer = PendingReply()
    await session.take(raw, message.peek(raw), answer)
    return "result" in json.loads(await answer.within(SUBSCRIBE_LIMIT))
