"""How a member is greeted: `initialize`, or `server/discover` where it speaks the stateless wire alone.

Owns the handshake with a member. Must not know links, restarts or clients.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.call import Peer
from mcpwatch.gateway.upstream.link import LinkFailed
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.own_requests import DISCOVER, Handshake, PendingReply


class Refused(LinkFailed):
    """The member answered the greeting with an error."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """What a member answered: the greeting it took, its whole result as raw JSON, its protocol version."""

    hello: Handshake
    server: bytes
    protocol: str


async def greet(mux: Mux, own: Peer, hello: Handshake, wire: str, lost: asyncio.Future[str]) -> Greeted:
    """Greet a member that was just opened. Raises `LinkFailed`; `Refused` when it answered with an error."""
    data = await _introduce(mux, own, hello, lost)
    if wire == "stdio" and hello.method == "initialize" and message.locate(data, ("result",)) is None:
        other = await _introduce(mux, own, DISCOVER, lost)
        if message.locate(other, ("result", "supportedVersions")) is not None:
            hello, data = DISCOVER, other
    body = json.loads(data)
    if "result" not in body:
        raise Refused(f"refused {hello.method}: {body.get('error', {}).get('message', 'no reason given')}")
    span = message.locate(data, ("result",))
    return Greeted(hello, data[span[0] : span[1]] if span else b"{}", str(body["result"].get("protocolVersion", "")))


async def _introduce(mux: Mux, own: Peer, hello: Handshake, lost: asyncio.Future[str]) -> bytes:
    """The member's answer to a greeting. Raises `LinkFailed`."""
    answer = PendingReply()
    raw = b'{"jsonrpc":"2.0","id":0,"method":"%b","params":%b}' % (hello.method.encode(), hello.params)
    mux.request(own, message.peek(raw), raw, answer)
    await asyncio.wait({answer.future, lost}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.future.done():
        raise LinkFailed(lost.result())
    return answer.future.result()
