"""A session on several members as one: their lists side by side, each item under a name that says whose it is.

Owns the merging of answers and the way of a request to its member. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from msgspec import UNSET, Raw

from mcpwatch import __version__
from mcpwatch.gateway.digests import new_id
from mcpwatch.gateway.protocol import json_edit, message, tools
from mcpwatch.gateway.protocol.call import FINAL, Delivery, Sink
from mcpwatch.gateway.protocol.message import HANDSHAKE, Envelope
from mcpwatch.gateway.session.session import Session
from mcpwatch.gateway.session.session_output import SessionOutput
from mcpwatch.gateway.session.tool_outcome import Refusals
from mcpwatch.gateway.upstream.interactive_pool import ClientIdentity
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.member import PLAIN, ServedMember
from mcpwatch.gateway.upstream.own_requests import PendingReply

SEPARATOR = "__"
"""Between a member's name and an item's own name: `git__git_status`."""
LIST_LIMIT = 30.0
"""Seconds that a member may take for its part of a list."""
PAGES = 100
"""Pages of one list that are followed."""

_LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_CAPABILITY = {"tools": "tools", "prompts": "prompts", "resources": "resources", "resourceTemplates": "resources"}
_BY_NAME = {"tools/call": ("name",), "prompts/get": ("name",)}


class GroupSession(SessionOutput):
    """One client session on several members: a session on each, begun when it is needed."""

    def __init__(self, members: Sequence[ServedMember], owner: str) -> None:
        super().__init__()
        self.id = new_id()
        self.owner = owner
        self._members = {member.name: member for member in members}
        self.served_by = self._parts = dict[str, Session]()
        self._opening: dict[str, asyncio.Lock] = {}
        self._hello: dict[str, Any] | None = None
        self.identity: ClientIdentity | None = None
        self._calls: dict[bytes, Session] = {}
        self._owners: dict[str, str] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def costly(self) -> bool:
        """Whether it keeps processes of its own."""
        return any(part.costly for part in self._parts.values())

    def serve(self, members: Sequence[ServedMember]) -> None:
        """Lead to these members from now on. What led to others is closed."""
        self._members = {member.name: member for member in members}
        for name, part in list(self._parts.items()):
            if self._members.get(name) is not part.member:
                del self._parts[name]
                task = asyncio.get_running_loop().create_task(part.close(), name="part close")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        self._owners.clear()
        self.tell_changed()

    def tell_changed(self) -> None:
        """Tell the client to list again."""
        if self._hello is not None:
            for kind in ("tools", "prompts", "resources"):
                self.push(message.notification(f"notifications/{kind}/list_changed"))

    async def attend(self) -> None:
        """Hear of what every session of the members hears, as far as they run."""
        self._hello = PLAIN
        for name, member in self._members.items():
            if member.main.phase is UpstreamPhase.RUNNING:
                with suppress(UpstreamUnavailable):
                    await self._part(name)

    def end(self) -> Coroutine[Any, Any, None] | None:
        """The session is over, on every member."""
        self.finish()
        parts = list(self._parts.values())
        self._parts.clear()
        rests = [rest for part in parts if (rest := part.end()) is not None]
        return _all(rests) if rests else None

    # --- the way in ---

    def try_take(self, data: bytes, envelope: Envelope, sink: Sink) -> bool:  # noqa: ARG002
        """Whether a message needs no waiting: which member it belongs to is not known here."""
        return False

    async def take(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """One message of the client. Raises `UpstreamUnavailable` when it belongs to one member and that is down."""
        self.seen = time.monotonic()
        if envelope.method is UNSET:
            any(part.answer(data, envelope) for part in list(self._parts.values()))
            return
        if envelope.id is UNSET:
            await self._notify(data, envelope)
            return
        assert isinstance(envelope.id, Raw)
        raw_id = bytes(envelope.id)
        method = str(envelope.method)
        if method == "initialize":
            asked: dict[str, Any] = tools.parameter(data) or {}
            self._hello = asked
            answer = introduction(tuple(self._members.values()), asked)
            self.version = json.loads(answer)["protocolVersion"]
            sink.deliver(message.result(raw_id, answer), FINAL)
        elif method == "ping":
            sink.deliver(message.result(raw_id, b"{}"), FINAL)
        elif method in _LISTS:
            sink.deliver(message.result(raw_id, await self._list(method, _LISTS[method])), FINAL)
        elif method == "logging/setLevel":
            await asyncio.gather(*(self._part_take(name, data) for name in self._members))
            sink.deliver(message.result(raw_id, b"{}"), FINAL)
        else:
            await self._route(data, envelope, sink)

    async def _route(self, data: bytes, envelope: Envelope, sink: Sink) -> None:
        """A request that belongs to one member."""
        raw_id = bytes(envelope.id) if isinstance(envelope.id, Raw) else b"null"
        method = str(envelope.method)
        path = _BY_NAME.get(method) or (("ref", "name") if method == "completion/complete" else ())
        given = tools.parameter(data, *path) if path else None
        if isinstance(given, str):
            name, separator, own = given.partition(SEPARATOR)
            name, own = self._whose(given) if not separator or name not in self._members else (name, own)
            data = tools.with_parameter(data, own, *path)
        else:
            uri = tools.parameter(data, "uri") or tools.parameter(data, "ref", "uri")
            name = await self._owner_of(str(uri)) if uri is not None else ""
        if name not in self._members:
            text = f"Unknown tool: {given}" if method == "tools/call" else f"{method}: no member of this route has it"
            sink.deliver(message.error(raw_id, message.INVALID_PARAMS, text), FINAL)
            return
        with Refusals(self._members[name].counts if method == "tools/call" and not self.checking else None):
            part = await self._part(name)
        self._calls[raw_id] = part
        await part.take(data, message.peek(data), _Done(sink, lambda: self._calls.pop(raw_id, None)))

    def _whose(self, given: str) -> tuple[str, str]:
        """A member whose own name has the separator in it."""
        found = max((name for name in self._members if given.startswith(name + SEPARATOR)), key=len, default="")
        return found, given[len(found) + len(SEPARATOR) :]

    async def _notify(self, data: bytes, envelope: Envelope) -> None:
        if envelope.method == "notifications/cancelled" and isinstance(envelope.params, message.Params):
            raw = envelope.params.request_id
            part = self._calls.get(bytes(raw)) if isinstance(raw, Raw) else None
            if part is not None:
                await part.take(data, envelope, part)
        elif envelope.method != "notifications/initialized":
            for part in list(self._parts.values()):
                await part.take(data, envelope, part)

    async def _part(self, name: str) -> Session:
        """The session on one member, greeted on the client's behalf. Raises `UpstreamUnavailable`."""
        async with self._opening.setdefault(name, asyncio.Lock()):
            part = self._parts.get(name)
            if part is None:
                part = Session(self._members[name], self.owner)
                part.checking, part.whole = self.checking, self
                part.connect(self.push)
                hello = self._hello if self._hello is not None else PLAIN
                raw = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}).encode()
                answer = PendingReply()
                await part.take(raw, message.peek(raw), answer)
                await answer.future
                done = message.notification("notifications/initialized")
                await part.take(done, message.peek(done), part)
                self._parts[name] = part
            return part

    async def _part_take(self, name: str, data: bytes) -> bytes | None:
        """A member's answer to a request of ours or of the client; `None` when it is down or too slow."""
        try:
            async with asyncio.timeout(LIST_LIMIT):
                part = await self._part(name)
                answer = PendingReply()
                await part.take(data, message.peek(data), answer)
                return await answer.future
        except (UpstreamUnavailable, TimeoutError):
            return None

    async def _list(self, method: str, key: str) -> bytes:
        names = [name for name, member in self._members.items() if _can(member, _CAPABILITY[key])]
        lists = await asyncio.gather(*(self._pages(name, method, key) for name in names))
        merged: list[bytes] = []
        for name, found in zip(names, lists, strict=True):
            for item in found:
                if key in {"tools", "prompts"}:
                    merged.append(tools.renamed(item, "name", lambda own, name=name: f"{name}{SEPARATOR}{own}") or item)
                else:
                    uri = json.loads(item).get("uri")
                    self._owners.setdefault(str(uri), name)
                    merged.append(item)
        return b'{"' + key.encode() + b'":[' + b",".join(merged) + b"]}"

    async def _pages(self, name: str, method: str, key: str) -> list[bytes]:
        found: list[bytes] = []
        params: dict[str, Any] = {}
        for number in range(PAGES):
            body = await self._part_take(name, message.request(number + 1, method, params))
            if body is None:
                break
            found += tools.items(body, key)
            span = json_edit.locate(body, ("result", "nextCursor"))
            cursor = json.loads(body[span[0] : span[1]]) if span is not None else None
            if not isinstance(cursor, str) or cursor == params.get("cursor"):
                break
            params = {"cursor": cursor}
        return found

    async def _owner_of(self, uri: str) -> str:
        """The member that lists this resource, or the only one that has resources at all."""
        if uri not in self._owners:
            await self._list("resources/list", "resources")
        able = [name for name, member in self._members.items() if _can(member, "resources")]
        if uri in self._owners:
            return self._owners[uri]
        scheme = uri.partition(":")[0]
        for name in able:
            for item in await self._pages(name, "resources/templates/list", "resourceTemplates"):
                if str(json.loads(item).get("uriTemplate", "")).partition(":")[0] == scheme:
                    return name
        return able[0] if len(able) == 1 else ""


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*works)


def introduction(members: Sequence[ServedMember], asked: dict[str, Any]) -> bytes:
    """The answer to `initialize`: what running members can do together; lists may change when one comes or goes."""
    together: dict[str, Any] = {"tools": {"listChanged": True}}
    for member in members:
        for name, value in _capabilities(member).items():
            if isinstance(value, dict) and name != "tasks":
                together[name] = together.get(name, {}) | value
    version = asked.get("protocolVersion")
    body = {
        "protocolVersion": version if version in HANDSHAKE else HANDSHAKE[-1],
        "capabilities": together,
        "serverInfo": {"name": "mcpwatch-gateway", "version": __version__},
    }
    return json.dumps(body).encode()


class _Done:
    """A sink that says when its request is over."""

    def __init__(self, sink: Sink, done: Callable[[], object]) -> None:
        self._sink, self._done = sink, done

    def deliver(self, data: bytes, share: Delivery) -> None:
        if share == FINAL:
            self._done()
        self._sink.deliver(data, share)


def _can(member: ServedMember, capability: str) -> bool:
    return member.main.phase is UpstreamPhase.RUNNING and capability in _capabilities(member)


def _capabilities(member: ServedMember) -> dict[str, Any]:
    span = json_edit.locate(member.main.server, ("capabilities",))
    return json.loads(member.main.server[span[0] : span[1]]) if span is not None else {}
