"""The admin API on the unix socket: what is there, what happens, and a few commands.

Owns its paths and documents. Must not know clients' wires.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Awaitable, Callable, Mapping

from mcpwatch import __version__
from mcpwatch.gateway.http.http_exchange import HttpExchange, OpenStream, Serve
from mcpwatch.gateway.serve.fleet import ServedMembers
from mcpwatch.gateway.upstream.member import ServedMember
from mcpwatch.model.errors import ConfigError

KEEP_ALIVE = 10.0
"""Seconds of silence after which an event stream gets a comment."""
STARTING = frozenset({"start", "restart"})
"""Commands that may start a server."""


async def _nothing() -> str:
    return ""


class Admin:
    """The application on the admin socket. `reload` reads the configuration again; it raises `ConfigError`.

    `refusal` says why no server may be started here now, and nothing where it may.
    """

    body_limit = 64 * 1024

    def __init__(
        self,
        fleet: ServedMembers,
        reload: Callable[[], Awaitable[list[str]]],
        token_uses: Callable[[], dict[str, float]] = dict,
        clients: Callable[[], Mapping[str, int]] = dict,
        refusal: Callable[[], Awaitable[str]] = _nothing,
    ) -> None:
        self._fleet = fleet
        self._reload = reload
        self._token_uses = token_uses
        self._clients = clients
        self._refusal = refusal
        self._streams: set[OpenStream] = set()
        self.listen = ""

    def end(self) -> None:
        """End every event stream."""
        for stream in list(self._streams):
            stream.end("stop")

    def admit(self, turn: HttpExchange) -> Serve | None:
        """Whoever can open the socket may come in."""
        return functools.partial(self._serve, turn)

    def too_large(self, turn: HttpExchange) -> None:
        """No request here has a body."""
        turn.answer(413, _json({"error": "no body is needed here"}))

    async def _serve(self, turn: HttpExchange) -> None:
        match turn.method, [part for part in turn.path.split("/") if part]:
            case "GET", ["members"]:
                turn.answer(200, _json(self._document()))
            case "GET", ["tokens"]:
                turn.answer(200, _json(self._token_uses()))
            case "GET", ["events"]:
                await self._events(turn)
            case "POST", ["reload"]:
                await self._run_reload(turn)
            case "POST", ["members", name, ("restart" | "stop" | "start" | "nudge") as command]:
                await self._command(turn, name, command)
            case _:
                turn.answer(404, _json({"error": f"no {turn.method} {turn.path} here"}))

    def _document(self) -> dict[str, object]:
        clients = self._clients()
        members = [member | {"clients": clients.get(str(member["name"]), 0)} for member in self._fleet.show()]
        return {
            "pid": os.getpid(),
            "version": __version__,
            "listen": self.listen,
            "sequence": self._fleet.sequence,
            "members": members,
        }

    async def _events(self, turn: HttpExchange) -> None:
        queue = self._fleet.listen()
        try:
            stream = turn.stream()
            self._streams.add(stream)
            stream.raw(_event("snapshot", self._document()))
            try:
                await self._pump(queue, stream)
            finally:
                self._streams.discard(stream)
            stream.finish()
        finally:
            self._fleet.unlisten(queue)

    async def _pump(self, queue: asyncio.Queue[tuple[str, dict[str, object]]], stream: OpenStream) -> None:
        while not stream.ended.done():
            waiting = asyncio.get_running_loop().create_task(queue.get(), name="admin events")
            await asyncio.wait({waiting, stream.ended}, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                stream.raw(_event(*waiting.result()))
            else:
                waiting.cancel()
                stream.raw(b": ping\n\n")

    async def _command(self, turn: HttpExchange, name: str, command: str) -> None:
        if command in STARTING and (why := await self._refusal()):
            turn.answer(503, _json({"error": why}))
            return
        member = self._fleet.members.get(name)
        if member is None:
            turn.answer(404, _json({"error": f"no member {name!r}; there are {', '.join(self._fleet.members) or 'none'}"}))
            return
        _do(member, command)
        turn.answer(200, _json({"member": name, "done": command}))

    async def _run_reload(self, turn: HttpExchange) -> None:
        try:
            changed = await self._reload()
        except ConfigError as error:
            turn.answer(422, _json({"faults": [str(fault) for fault in error.faults]}))
            return
        turn.answer(200, _json({"changed": changed}))


def _do(member: ServedMember, command: str) -> None:
    match command:
        case "restart":
            member.main.restart()
        case "stop":
            member.main.hold()
        case "nudge":
            member.nudge()
        case _:
            member.main.release()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
