"""How a member is greeted: `initialize`, or `server/discover` where it speaks the stateless wire alone.

Owns the handshake with a member. Must not know links, restarts or clients.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, cast

from mcpwatch.gateway.protocol import json_edit, message
from mcpwatch.gateway.protocol.call import Peer
from mcpwatch.gateway.upstream.link import LinkFailed
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.own_requests import DISCOVER, Handshake, PendingReply
from mcpwatch.model.wire import SPREAD

REASON = 500
"""Characters that are kept of what a member says of itself."""


class GreetingRefused(LinkFailed):
    """The member answered the greeting with an error."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """What a member answered: the greeting it took, its whole result as raw JSON, its protocol version."""

    hello: Handshake
    server: bytes
    protocol: str


async def greet(mux: Mux, own: Peer, hello: Handshake, wire: str, lost: asyncio.Future[str]) -> Greeted:
    """Greet a member that was just opened. Raises `LinkFailed`; `GreetingRefused` when it answered with an error."""
    data = await _introduce(mux, own, hello, lost)
    if wire == "stdio" and hello.method == "initialize" and json_edit.locate(data, ("result",)) is None:
        other = await _introduce(mux, own, DISCOVER, lost)
        if json_edit.locate(other, ("result", "supportedVersions")) is not None:
            hello, data = DISCOVER, other
    body: dict[str, Any] = json.loads(data)
    result: Any = body.get("result")
    span = json_edit.locate(data, ("result",))
    if not isinstance(result, dict) or span is None:
        error: Any = body.get("error")
        said: Any = error.get("message") if isinstance(error, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        why = str(said or "no reason given")[:REASON]  # pyright: ignore[reportUnknownArgumentType]
        raise GreetingRefused(f"refused {hello.method}: {why}", permanent=why.endswith(SPREAD))
    version = cast("dict[str, Any]", result).get("protocolVersion", "")
    return Greeted(hello, data[span[0] : span[1]], str(version)[:REASON])


async def _introduce(mux: Mux, own: Peer, hello: Handshake, lost: asyncio.Future[str]) -> bytes:
    """The member's answer to a greeting. Raises `LinkFailed`."""
    answer = PendingReply()
    raw = b'{"jsonrpc":"2.0","id":0,"method":"%b","params":%b}' % (hello.method.encode(), hello.params)
    mux.request(own, message.peek(raw), raw, answer)
    await asyncio.wait({answer.future, lost}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.future.done():
        raise LinkFailed(lost.result())
    return answer.future.result()
