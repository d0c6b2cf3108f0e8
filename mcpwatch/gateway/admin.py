"""The admin API on the unix socket: what is there, what happens, and a few commands.

Owns its paths and documents. Must not know clients' wires.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable

from mcpwatch import __version__
from mcpwatch.gateway.asgi import Receive, Scope, Send, Stream, answer, end_stream, open_stream
from mcpwatch.gateway.fleet import Fleet
from mcpwatch.gateway.member import Member
from mcpwatch.model.errors import ConfigError

KEEP_ALIVE = 10.0
"""Seconds of silence after which an event stream gets a comment."""


class Admin:
    """The ASGI application on the admin socket. `reload` reads the configuration again; it raises `ConfigError`."""

    def __init__(
        self, fleet: Fleet, reload: Callable[[], Awaitable[list[str]]], token_uses: Callable[[], dict[str, float]] = dict
    ) -> None:
        self._fleet = fleet
        self._reload = reload
        self._token_uses = token_uses
        self._streams: set[Stream] = set()
        self.listen = ""

    def end(self) -> None:
        """End every event stream."""
        for stream in list(self._streams):
            stream.end("stop")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request."""
        method, parts = scope["method"], [part for part in scope["path"].split("/") if part]
        match method, parts:
            case "GET", ["members"]:
                await answer(send, 200, _json(self._document()))
            case "GET", ["tokens"]:
                await answer(send, 200, _json(self._token_uses()))
            case "GET", ["events"]:
                await self._events(scope, send)
            case "POST", ["reload"]:
                await self._run_reload(send)
            case "POST", ["members", name, ("restart" | "stop" | "start") as command]:
                await self._command(send, name, command)
            case _:
                await answer(send, 404, _json({"error": f"no {method} {scope['path']} here"}))

    def _document(self) -> dict[str, object]:
        return {"pid": os.getpid(), "version": __version__, "listen": self.listen, "members": self._fleet.show()}

    async def _events(self, scope: Scope, send: Send) -> None:
        queue = self._fleet.listen()
        try:
            await open_stream(send, [])
            stream = Stream(scope)
            self._streams.add(stream)
            stream.raw(_event("snapshot", self._document()))
            try:
                await self._pump(queue, stream)
            finally:
                self._streams.discard(stream)
            await end_stream(send)
        finally:
            self._fleet.unlisten(queue)

    async def _pump(self, queue: asyncio.Queue[tuple[str, dict[str, object]]], stream: Stream) -> None:
        while not stream.ended.done():
            waiting = asyncio.get_running_loop().create_task(queue.get(), name="admin events")
            await asyncio.wait({waiting, stream.ended}, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                stream.raw(_event(*waiting.result()))
            else:
                waiting.cancel()
                stream.raw(b": ping\n\n")

    async def _command(self, send: Send, name: str, command: str) -> None:
        member = self._fleet.members.get(name)
        if member is None:
            await answer(send, 404, _json({"error": f"no member {name!r}; there are {', '.join(self._fleet.members) or 'none'}"}))
            return
        await _do(member, command)
        await answer(send, 200, _json({"member": name, "done": command}))

    async def _run_reload(self, send: Send) -> None:
        try:
            changed = await self._reload()
        except ConfigError as error:
            await answer(send, 422, _json({"faults": [str(fault) for fault in error.faults]}))
            return
        await answer(send, 200, _json({"changed": changed}))


async def _do(member: Member, command: str) -> None:
    match command:
        case "restart":
            member.main.restart()
        case "stop":
            await member.main.hold()
        case _:
            member.main.release()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
