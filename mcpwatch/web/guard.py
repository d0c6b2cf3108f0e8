"""The guard before everything on the web address: Host, Origin, tokens, sessions, forged forms, and the headers of every answer.

It finds who calls and puts that into the scope, and slows down who guesses tokens; what a role may do is decided where it is
done. It must not know any page. Against DNS rebinding only the names in `hosts` and addresses are served; nothing is readable for
pages of other origins.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcpwatch.clock import Clock
from mcpwatch.model.time import Instant
from mcpwatch.web.problems import problem
from mcpwatch.web.sessions import COOKIE, Caller, LoginSessions, genuine
from mcpwatch.web.spec import WebSpec, loopback

FIRST = 0.25
"""Seconds that the answer to the first wrong token takes; it doubles from there."""
LONGEST = 8.0
FORGET = 600.0
"""Seconds after the last wrong token until a peer starts anew."""
PEERS = 1024
"""Peers remembered; the ones longest silent are forgotten first."""
WAITING = 16
"""Wrong tokens that wait for their answer at the same time; more are refused at once."""


@dataclass(frozen=True, slots=True)
class _Peer:
    failures: int
    at: Instant


class Throttle:
    """Failed logins by peer."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether no more wrong tokens may wait."""
        return self.waiting >= WAITING

    def failed(self, peer: str, now: Instant) -> tuple[float, int]:
        """Note a wrong token: how many seconds its answer takes, and how many there were."""
        old = self._peers.pop(peer, None)
        count = 1 if old is None or now - old.at > FORGET else old.failures + 1
        self._peers[peer] = _Peer(count, now)
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return min(LONGEST, FIRST * 2 ** min(count - 1, 20)), count


CSRF_HEADER = "x-csrf-token"
OPEN = ("/static/", "/login", "/healthz")
"""What is served to everybody."""
PUBLIC = ("/public", "/badge/")
"""What is served to everybody where `public` says so; the pages themselves know whether."""
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; img-src 'self'; "
    "script-src 'self'; style-src 'self'; connect-src 'self'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with `no-referrer` a browser calls the origin of our own forms "null"
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

Told = Callable[[str, int], None]
"""Called with the peer and its number of wrong tokens."""


class GuardMiddleware:
    """ASGI middleware. `told` hears of failed logins."""

    def __init__(self, app: ASGIApp, spec: WebSpec, sessions: LoginSessions, clock: Clock, told: Told) -> None:
        self._app = app
        self._spec = spec
        self._host = spec.listen.rpartition(":")[0].strip("[]").lower()
        self._private = loopback(self._host)
        self._hosts = {host.lower() for host in spec.hosts} | {"localhost", self._host, socket.gethostname().lower()}
        self._sessions = sessions
        self._clock = clock
        self._told = told
        self._throttle = Throttle()
        self._tokens = {_digest(one.token.get_secret_value()): Caller(one.role, one.name or one.role) for one in spec.tokens}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = await self._admit(scope, headers)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    async def _admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Put the caller into the scope, or say why not."""
        path = str(scope["path"])
        host = _name(headers.get("host", ""))
        if not self._serves(host):
            return problem(421, f"'{host[:100]}' is not a name of this page; add it to web.hosts")
        if (origin := headers.get("origin")) is not None and not _same(origin, headers.get("host", "")):
            return problem(403, "requests from other origins are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["method"] not in ("GET", "HEAD"):
            return problem(403, "requests from other sites are refused")
        found = await self._find(scope, headers, host)
        if isinstance(found, Response):
            return found
        scope["mcpwatch.caller"] = found
        if not found.may("read") and not path.startswith((*OPEN, *PUBLIC)):
            return _ask(path)
        changes = scope["method"] not in ("GET", "HEAD") and found.csrf and path.startswith(("/api/", "/mcp"))
        if changes and not genuine(found, headers.get(CSRF_HEADER, "")):
            return problem(403, f"a request of a browser session needs the header {CSRF_HEADER}")
        return None

    def _serves(self, host: str) -> bool:
        """Whether this is a name of ours. Addresses are: nobody else's page has an address of ours as its origin."""
        if host in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or not self._private or host in self._hosts

    async def _find(self, scope: Scope, headers: Headers, host: str) -> Caller | Response:
        """Who calls."""
        shown = headers.get("authorization")
        if shown is not None:
            kind, _, token = shown.partition(" ")
            caller = self.login(token.strip()) if kind.lower() == "bearer" else None
            return caller or await self.slowed(peer(scope))
        if (session := self._sessions.find(_cookie(headers), self._clock.now())) is not None:
            return session
        if self._private and loopback(host) and loopback(peer(scope)):
            return Caller("read")
        return Caller("public")

    def login(self, token: str) -> Caller | None:
        """Whose token that is. Compared in constant time, all of them."""
        shown, found = _digest(token), None
        for digest, caller in self._tokens.items():
            if hmac.compare_digest(digest, shown):
                found = caller
        return found

    async def slowed(self, who: str) -> Response:
        """The answer to a wrong token, after a while that grows."""
        wait, count = self._throttle.failed(who, self._clock.now())
        if count & (count - 1) == 0:
            self._told(who, count)
        if self._throttle.full:
            return problem(429, "too many wrong tokens", headers={"Retry-After": str(math.ceil(wait))})
        self._throttle.waiting += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self._throttle.waiting -= 1
        return problem(401, "this token is not known", headers={"WWW-Authenticate": "Bearer"})


def peer(scope: Scope) -> str:
    """The address of the other end."""
    client = cast("tuple[str, int] | None", scope.get("client"))
    return client[0] if client else ""


def _ask(path: str) -> Response:
    """Who are you? As a page for people, as a problem for programs."""
    if path.startswith(("/api/", "/mcp", "/live")):
        return problem(401, "a token is needed: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"})
    return RedirectResponse("/login", 303)


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is the page that the Host header names."""
    return origin.partition("://")[2].lower() == host.lower() and origin.startswith(("http://", "https://"))


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")[:4096]).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _with_headers(send: Send) -> Send:
    """Every answer carries the same headers."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own: list[tuple[bytes, bytes]] = list(message.get("headers", []))
            names = {name.lower() for name, _ in own}
            rest: list[Any] = [(name, value) for name, value in HEADERS if name not in names]
            if b"cache-control" not in names:
                rest.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*own, *rest]}
        await send(message)

    return sent
