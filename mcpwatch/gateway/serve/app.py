"""The gateway's HTTP side: which path means what, and who may come in.

Owns routing, authorization and rates. Must not know what a message says or what a member is.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mcpwatch.gateway.digests import new_id, sha256
from mcpwatch.gateway.http.http_exchange import Headers, HttpExchange, Rest, Serve
from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.serve import guard, pages
from mcpwatch.gateway.serve.replicas import Replicas
from mcpwatch.gateway.serve.wires import Wires
from mcpwatch.gateway.session.group import GroupTarget
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.member_target import MemberTarget
from mcpwatch.gateway.session.sessions import ClientSessions, TooMany
from mcpwatch.gateway.session.target import RouteTarget
from mcpwatch.gateway.settings import Settings, split_listen
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable
from mcpwatch.gateway.upstream.member import ServedMember

log = logging.getLogger("mcpwatch.gateway")

HOSTS_KEPT = 256
"""Host headers whose verdict is remembered until the next reload."""

_KINDS = {"sse": "sse", "mcp": "mcp", "messages": "messages", "message": "messages", "rpc": "rpc", "health": "health"}
_OPEN_PAGES = frozenset({"/healthz", "/_healthz", "/readyz", "/_readyz"})
_METHODS = {"sse": b"GET, HEAD", "messages": b"POST", "mcp": b"GET, POST, DELETE", "rpc": b"POST", "health": b"GET, HEAD"}
_ALLOWED_HEADERS = b"Authorization, Content-Type, Accept, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID"
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", _ALLOWED_HEADERS),
    (b"access-control-max-age", b"600"),
]


@dataclass(frozen=True, slots=True)
class Route:
    """What one path means."""

    kind: str
    target: RouteTarget
    member: ServedMember | None
    digests: tuple[bytes, ...]


MARK_DIGITS = 16
"""Hex digits of a token's digest that stand for it where its use is told."""


@dataclass(slots=True)
class Bucket:
    """How many calls a token may still make now."""

    left: float
    at: float


class App:
    """The application on the public socket. `serve` gives it what to serve, again at each reload."""

    def __init__(self, settings: Settings) -> None:
        self.sessions = ClientSessions(settings.limits)
        self.replicas = Replicas()
        self._wires = wires = Wires(self.sessions, "")
        self._served: dict[tuple[str, str], Callable[[McpRequest], Rest]] = {
            ("messages", "POST"): wires.post_message, ("mcp", "POST"): wires.post, ("sse", "GET"): wires.open_sse,
            ("mcp", "GET"): wires.listen, ("mcp", "DELETE"): wires.delete,
        }  # fmt: skip
        self._routes: dict[str, Route] = {}
        self._targets: dict[str, MemberTarget] = {}
        self._groups: dict[str, GroupTarget] = {}
        self._members: dict[str, ServedMember] = {}
        self._buckets: dict[str, Bucket] = {}
        self._refused: Counter[int] = Counter()
        self._used: dict[str, float] = {}
        self.serve(settings, {})

    def serve(self, settings: Settings, members: dict[str, ServedMember]) -> None:
        """Serve these members from now on. Sessions of members that are gone are closed."""
        self._limits = self.sessions.limits = settings.limits
        self.sessions.replica = settings.replica
        self.replicas.serve(settings.replica, settings.replicas)
        self.body_limit = int(settings.limits.body)
        self._members = members
        host = split_listen(settings.listen)[0]
        self._guard = guard.make(host, settings.base_url, settings.allowed_hosts, settings.allowed_origins)
        self._hosts: dict[bytes, bool] = {}
        self._wires.prefix = urlsplit(settings.base_url or "").path.rstrip("/")
        self._everyone = tuple(bytes.fromhex(digest) for digest in settings.digests)
        self._targets = {
            name: known if (known := self._targets.get(name)) and known.member is member else MemberTarget(member)
            for name, member in members.items()
        }
        groups = {"": tuple(members), **dict(settings.groups)}
        self._groups = {name: self._groups.get(name) or GroupTarget(name) for name in groups}
        routes: dict[str, Route] = {}
        for name, named in groups.items():
            group = self._groups[name]
            group.serve([members[member] for member in named if member in members])
            alone = self._targets[named[0]] if settings.bridge and not name and len(named) == 1 else None
            self._mount(routes, f"/{name}" if name else "", alone or group, alone.member if alone else None, self._shared(group))
        for name, target in self._targets.items():
            for base in (f"/servers/{name}", f"/{name}"):
                self._mount(routes, base, target, target.member, self._digests(target.member))
        self._routes = routes
        self.sessions.keep({route.target for route in routes.values()})

    def member_changed(self, name: str) -> None:
        """A member is connected again: sessions on several members may list anew."""
        member = self._members.get(name)
        for group in self._groups.values():
            if member is not None:
                group.changed(member)

    def admit(self, turn: HttpExchange) -> Serve | None:
        """Decide who may come in, by the head alone; answers what needs no body."""
        path, headers = turn.path, turn.headers
        prefix = self._wires.prefix
        if prefix and path.startswith(prefix + "/"):
            path = path[len(prefix) :]
        route = self._routes.get(path)
        extra: list[tuple[bytes, bytes]] = []
        if b"origin" in headers or not self._hosts.get(headers.get(b"host", b"")):  # else it is let in at once
            refusal = None if self._is_old_health_check(turn, path, route) else self._refuse(headers)
            if refusal is not None:
                return self._say(turn, *refusal)
            if b"origin" in headers:
                extra = self._cors(headers[b"origin"])
        if turn.method == "OPTIONS":
            return self._options(turn, route, extra)
        if route is None:
            return self._page(path, turn, extra)
        owner = self._owner(headers, route.digests) if route.digests else ""
        if owner is None:
            return self._say(turn, 401, "a valid bearer token is needed", [*extra, (b"www-authenticate", b"Bearer")])
        self._used[owner] = time.time()
        if self._limits.calls_per_second and not self._allow(owner):
            return self._say(turn, 429, "too many requests for this token", [*extra, (b"retry-after", b"1")])
        return functools.partial(self._begin, route, McpRequest(turn, route.target, owner, headers, extra))

    def too_large(self, turn: HttpExchange) -> None:
        """Refuse a body."""
        self._refused[413] += 1
        turn.answer(413, message.error(None, message.INVALID_REQUEST, f"message of more than {self.body_limit} bytes"))

    def _begin(self, route: Route, request: McpRequest) -> Rest:
        """Do what can be done at once; the rest, if there is any, is for a task."""
        serve = self._served.get((route.kind, request.turn.method))
        if other := self.replicas.holder(route.kind, request.turn):
            return self.replicas.pass_on(request, other)
        if serve is None:
            return self._finish(request, self._serve_page(route, request, request.turn.method))
        try:
            rest = serve(request)
        except TooMany:
            return self._too_many(request)
        return self._finish(request, rest) if rest is not None else None

    async def _finish(self, request: McpRequest, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
        except TooMany:
            self._too_many(request)
        except UpstreamUnavailable as down:
            self._refused[503] += 1
            request.unavailable(down, None)

    def _too_many(self, request: McpRequest) -> None:
        self._refused[429] += 1
        text = f"more than {self._limits.sessions_per_token} sessions for this token; close some"
        request.respond(429, message.error(None, message.INVALID_REQUEST, text), [(b"retry-after", b"10")])

    async def _serve_page(self, route: Route, request: McpRequest, method: str) -> None:
        """What belongs to no wire of clients."""
        match route.kind, method:
            case "rpc", "POST":
                await pages.rpc(request, route.target)
            case "health", "GET" | "HEAD" if route.member is not None:
                await pages.health(request, route.member)
            case "sse", "HEAD":
                await route.target.ready()
                request.turn.answer(200, extra=[*request.extra, (b"content-type", b"text/event-stream")])
            case _:
                text = json.dumps({"error": "method not allowed"}).encode()
                request.respond(405, text, [(b"allow", _METHODS[route.kind])])

    def _mount(
        self, routes: dict[str, Route], base: str, target: RouteTarget, member: ServedMember | None, digests: tuple[bytes, ...]
    ) -> None:
        for word, kind in _KINDS.items():
            if kind != "health" or member is not None:
                routes[f"{base}/{word}"] = routes[f"{base}/{word}/"] = Route(kind, target, member, digests)

    def _digests(self, member: ServedMember) -> tuple[bytes, ...]:
        return tuple(bytes.fromhex(digest) for digest in member.settings.digests) or self._everyone

    def _shared(self, group: GroupTarget) -> tuple[bytes, ...]:
        """The tokens that open every member of a group: a group must be no way around a member's own tokens."""
        sets = [set(digests) for member in group.members if (digests := self._digests(member))]
        if not sets:
            return self._everyone
        return tuple(sorted(set[bytes].intersection(*sets))) or (sha256(new_id().encode()),)

    # --- pages of the gateway itself ---

    def _page(self, path: str, turn: HttpExchange, extra: Headers) -> None:
        if path not in _OPEN_PAGES and path != "/metrics":
            self._say(turn, 404, "no such route", extra)
        elif turn.method not in {"GET", "HEAD"}:
            self._say(turn, 405, "method not allowed", [*extra, (b"allow", b"GET, HEAD")])
        elif path != "/metrics":
            status, body = (200, pages.alive(self._members)) if path.endswith("healthz") else pages.readiness(self._members)
            turn.answer(status, body, extra=extra)
        elif self._owner(turn.headers, self._everyone) is None:
            self._say(turn, 401, "a valid bearer token is needed", [(b"www-authenticate", b"Bearer")])
        else:
            body = pages.metrics(self._members, self.sessions, self._refused, self.replicas)
            turn.answer(200, body, b"text/plain; version=0.0.4; charset=utf-8", extra)

    def _options(self, turn: HttpExchange, route: Route | None, extra: Headers) -> None:
        """What a browser asks before it calls (only a listed origin gets a yes), or anybody about one path."""
        allow = _METHODS[route.kind] if route is not None else b"GET, HEAD"
        turn.answer(204, extra=[*extra, *_PREFLIGHT] if extra else [(b"allow", allow + b", OPTIONS")])

    def _say(self, turn: HttpExchange, status: int, text: str, extra: Headers = ()) -> None:
        self._refused[status] += 1
        turn.answer(status, json.dumps({"error": text}).encode(), extra=extra)

    # --- who may come in ---

    def _owner(self, headers: dict[bytes, bytes], digests: tuple[bytes, ...]) -> str | None:
        """A mark of the token that came, empty where none is needed, `None` when it is not a valid one."""
        if not digests:
            return ""
        index = guard.bearer(headers.get(b"authorization"), digests)
        return None if index is None else digests[index].hex()[:MARK_DIGITS]

    def token_uses(self) -> dict[str, float]:
        """When each token was last used, in seconds since the epoch, by its mark; one that holds a session is used now."""
        now = time.time()
        return {owner: now if owner in self.sessions.owners else at for owner, at in self._used.items() if owner}

    def _allow(self, owner: str) -> bool:
        rate, now = self._limits.calls_per_second, time.monotonic()
        bucket = self._buckets.setdefault(owner, Bucket(max(rate, 1.0), now))
        bucket.left = min(max(rate, 1.0), bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    def _refuse(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        host = headers.get(b"host", b"")
        known = self._hosts.get(host)
        if known is None:
            known = self._guard.host(host.decode("latin-1"))
            if len(self._hosts) < HOSTS_KEPT:
                self._hosts[host] = known
        if not known:
            return 421, "Invalid Host header; name it in allowed_hosts or base_url"
        origin = headers.get(b"origin")
        if origin is not None and not self._guard.origin(origin.decode("latin-1").rstrip("/"), host.decode("latin-1")):
            return 403, "Invalid Origin header; name it in allowed_origins"
        return None

    @staticmethod
    def _is_old_health_check(turn: HttpExchange, path: str, route: Route | None) -> bool:
        """Whether HTTP/1.0 asks for a health page without a Host, as HAProxy does. No browser does that: nothing is rebound."""
        if turn.newer or b"host" in turn.headers or b"origin" in turn.headers:
            return False
        return path in _OPEN_PAGES or (route is not None and route.kind == "health")

    def _cors(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        listed = self._guard.origins
        if "*" not in listed and origin.decode("latin-1").lower().rstrip("/") not in listed:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"Mcp-Session-Id, WWW-Authenticate, Retry-After"),
            (b"vary", b"Origin"),
        ]
