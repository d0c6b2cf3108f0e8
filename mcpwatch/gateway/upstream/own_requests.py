"""What the gateway asks of a member on its own account: the greeting, whoever asks, and where the answer goes.

Must not know links, restarts or clients.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass

from mcpwatch.gateway.protocol import message, stateless_protocol
from mcpwatch.gateway.protocol.call import Delivery


@dataclass(frozen=True, slots=True)
class Handshake:
    """How the member is greeted: the raw parameters of `initialize` or `server/discover`, and who says `initialized`."""

    params: bytes
    announce: bool = True
    method: str = "initialize"


DISCOVER = Handshake(json.dumps(stateless_protocol.QUESTION).encode(), announce=False, method="server/discover")
"""The greeting of a member of the stateless wire."""


class PendingReply:
    """A sink for requests of the gateway's own: the whole answer, as bytes."""

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def deliver(self, data: bytes, share: Delivery) -> None:
        """Keep the answer."""
        if share == "final" and not self.future.done():
            self.future.set_result(data)

    async def within(self, limit: float) -> bytes:
        """The answer, an error when it does not come in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                return await self.future
        return message.error(None, message.INTERNAL_ERROR, f"no answer within {limit:g} s")


class GatewayPeer:
    """The gateway itself as a session of a member: it asks, and can be asked nothing."""

    id = "gateway"
    capabilities: frozenset[str] = frozenset()
    attended = True
    checking = True

    def push(self, data: bytes) -> None:
        """Nothing to pass on to."""
