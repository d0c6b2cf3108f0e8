"""A member of the gateway in this process, on a link that only notes what it is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mcpwatch.gateway.http.listener import Listener
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.protocol.call import FINAL, Delivery
from mcpwatch.gateway.serve.app import App
from mcpwatch.gateway.settings import ServerSettings, ServingLimits, Settings
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.member import ServedMember

LIMIT = 60.0


class Wire:
    """A link that greets, and answers nothing else until it is told to."""

    pid: int | None = None

    def __init__(self, ends: Ends, wire: str, gate: anyio.Event) -> None:
        self.wire, self._ends, self._gate = wire, ends, gate
        self.sent: list[dict[str, Any]] = []
        self.closed = anyio.Event()

    async def open(self) -> None:
        """Open when the gate is."""
        await self._gate.wait()

    def send(self, data: bytes, number: int | None) -> int:
        sent = json.loads(data)
        self.sent.append(sent)
        if sent.get("method") == "initialize":
            self.say({"id": sent["id"], "result": {"protocolVersion": message.HANDSHAKE[-1], "capabilities": {}}})
        elif sent.get("method") == "server/discover" and len(self.sent) == 1:
            self.say({"id": sent["id"], "result": {"supportedVersions": [message.MODERN], "capabilities": {}}})
        return len(self.sent)

    def say(self, said: dict[str, Any]) -> None:
        """The member says something."""
        data = json.dumps({"jsonrpc": "2.0"} | said).encode()
        self._ends.on_message(data, message.peek(data), None)

    def last(self, method: str) -> dict[str, Any]:
        """The last message that asked for `method`."""
        return next(sent for sent in reversed(self.sent) if sent.get("method") == method)

    async def close(self) -> None:
        self.closed.set()


class Inside(ServedMember):
    """A member whose links are in `wires`, the main one first."""

    def __init__(self, wire: str = "stdio") -> None:
        self.wires: list[Wire] = []
        self.gate = anyio.Event()
        self._wire = wire
        super().__init__(ServerSettings("inside", command="true"), ServingLimits(), None, lambda _: None)

    def _link(self, ends: Ends) -> Wire:
        self.wires.append(Wire(ends, self._wire, self.gate))
        return self.wires[-1]


@asynccontextmanager
async def inside(wire: str = "stdio", *, starting: bool = False) -> AsyncGenerator[Inside]:
    """A running member, or one that is `starting` until its gate is opened."""
    member = Inside(wire)
    try:
        if not starting:
            member.gate.set()
            await member.main.ready()
        yield member
    finally:
        await member.stop()


@asynccontextmanager
async def served(member: ServedMember) -> AsyncGenerator[str]:
    """A gateway in this process that serves it; its base URL."""
    settings = Settings(servers=(member.settings,))
    app = App(settings)
    app.serve(settings, {member.name: member})
    listener = Listener(app, 65536)
    port = await listener.tcp("127.0.0.1", 0)
    try:
        await member.main.ready()
        yield f"http://127.0.0.1:{port}"
    finally:
        app.sessions.end()
        listener.refuse()
        await listener.drain(LIMIT)
        await member.stop()


class Taken:
    """A sink that keeps what it gets; `end` is set with the last of it."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.end = anyio.Event()

    def deliver(self, data: bytes, share: Delivery) -> None:
        self.said += [json.loads(data)] if data else []
        if share == FINAL:
            self.end.set()

    async def last(self) -> dict[str, Any]:
        """The answer."""
        with anyio.fail_after(LIMIT):
            await self.end.wait()
        return self.said[-1]


async def until(event: anyio.Event) -> None:
    """Wait for it, bounded."""
    with anyio.fail_after(LIMIT):
        await event.wait()
