"""The gateway's HTTP side: which path means what, who may come in, and how each answer looks.

Owns routing, authorization, client sessions by id, and both session wires. Must not know processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from msgspec import UNSET

from mcpwatch.gateway import guard, message
from mcpwatch.gateway.asgi import (
    Headers,
    Receive,
    Scope,
    Send,
    Stream,
    TooLarge,
    answer,
    end_stream,
    open_stream,
    read_body,
)  # fmt: skip
from mcpwatch.gateway.member import Member
from mcpwatch.gateway.mux import FINAL, Share
from mcpwatch.gateway.session import Session
from mcpwatch.gateway.settings import Settings
from mcpwatch.gateway.upstream import Down

KEEP_ALIVE = 10.0
"""Seconds of silence after which an open stream gets a comment, and a waiting POST becomes a stream."""
TICK = 1.0

log = logging.getLogger("mcpwatch.gateway")


@dataclass(frozen=True, slots=True)
class Route:
    """What one path means."""

    kind: str
    member: Member
    tokens: tuple[bytes, ...]


@dataclass(slots=True)
class Request:
    """One HTTP request, its few interesting headers read."""

    scope: Scope
    receive: Receive
    send: Send
    route: Route
    owner: str
    headers: dict[bytes, bytes]
    extra: Headers


class Exchange:
    """The sink of one POST: messages in order, until the answer."""

    __slots__ = ("done", "messages", "wake")

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.done = False
        self.wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(self, data: bytes, share: Share) -> None:
        """One more message."""
        if data:
            self.messages.append(data)
        self.done = self.done or share == FINAL
        if not self.wake.done():
            self.wake.set_result(None)

    async def more(self, limit: float) -> list[bytes]:
        """What came since the last call, after at most `limit` seconds; empty when nothing did."""
        if not self.messages and not self.done:
            self.wake = asyncio.get_running_loop().create_future()
            await asyncio.wait((self.wake,), timeout=limit)
        messages, self.messages = self.messages, []
        return messages


class App:
    """The ASGI application. `serve` gives it what to serve, again at each reload."""

    def __init__(self, settings: Settings) -> None:
        self._routes: dict[str, Route] = {}
        self._sessions: dict[str, Session] = {}
        self._streams: set[Stream] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.serve(settings, {})

    @property
    def sessions(self) -> int:
        """How many client sessions are open."""
        return len(self._sessions)

    def serve(self, settings: Settings, members: dict[str, Member]) -> None:
        """Serve these members from now on. Sessions of members that are gone are closed."""
        self._settings = settings
        self._guard = guard.make(
            split_listen(settings.listen)[0], settings.base_url, settings.allowed_hosts, settings.allowed_origins
        )
        self._prefix = urlsplit(settings.base_url or "").path.rstrip("/")
        everyone = tuple(token.encode() for token in settings.tokens)
        routes: dict[str, Route] = {}
        for name, member in members.items():
            tokens = tuple(token.encode() for token in member.settings.tokens) or everyone
            for kind in ("sse", "mcp", "messages", "message"):
                route = Route("messages" if kind == "message" else kind, member, tokens)
                for path in (f"/{name}/{kind}", f"/servers/{name}/{kind}"):
                    routes[path] = routes[f"{path}/"] = route
        self._routes = routes
        for session in list(self._sessions.values()):
            if members.get(session.member.name) is not session.member:
                self._drop(session)

    async def run(self) -> None:
        """Keep streams awake and reap idle sessions, until cancelled."""
        turn = 0
        while True:
            await asyncio.sleep(TICK)
            turn += 1
            if turn % int(KEEP_ALIVE / TICK) == 0:
                for stream in list(self._streams):
                    stream.raw(b": ping\r\n\r\n")
            oldest = time.monotonic() - self._settings.limits.session_idle
            for session in [s for s in self._sessions.values() if s.open == 0 and s.seen < oldest]:
                log.info("%s: a session was idle for %g s and is closed", session.member.name, self._settings.limits.session_idle)
                self._drop(session)

    def end(self) -> None:
        """End every stream, so that running requests finish."""
        for stream in list(self._streams):
            stream.end("stop")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path[len(self._prefix) :]
        headers = dict(scope["headers"])
        route = self._routes.get(path)
        extra: Headers = []
        refusal = self._refuse(headers)
        if refusal is not None:
            await answer(send, *refusal, b"text/plain; charset=utf-8")
            return
        if b"origin" in headers:
            extra = self._cors(headers[b"origin"])
            if scope["method"] == "OPTIONS":
                await answer(send, 204, extra=[*extra, *_PREFLIGHT] if extra else None)
                return
        if route is None:
            await answer(send, 404, _error("no such route; see /healthz for what is served"), extra=extra)
            return
        owner = ""
        if route.tokens:
            index = guard.bearer(headers.get(b"authorization"), route.tokens)
            if index is None:
                await answer(send, 401, _error("a valid bearer token is needed"), extra=[*extra, (b"www-authenticate", b"Bearer")])
                return
            owner = hashlib.sha256(route.tokens[index]).hexdigest()[:16]
        request = Request(scope, receive, send, route, owner, headers, extra)
        try:
            await self._dispatch(request, scope["method"], route.kind)
        except TooLarge:
            limit = self._settings.limits.body
            await answer(
                send, 413, message.error(None, message.INVALID_REQUEST, f"message of more than {limit} bytes"), extra=extra
            )
        except Down as down:
            await self._unavailable(request, down, None)

    async def _dispatch(self, request: Request, method: str, kind: str) -> None:
        match kind, method:
            case "sse", "GET":
                await self._open_sse(request)
            case "messages", "POST":
                await self._post_message(request)
            case "mcp", "POST":
                await self._post(request)
            case "mcp", "GET":
                await self._listen(request)
            case "mcp", "DELETE":
                await self._delete(request)
            case _:
                allow = {"sse": b"GET", "messages": b"POST"}.get(kind, b"GET, POST, DELETE")
                await answer(request.send, 405, _error("method not allowed"), extra=[*request.extra, (b"allow", allow)])

    # --- legacy wire ---

    async def _open_sse(self, request: Request) -> None:
        member = request.route.member
        await member.main.ready()
        session = self._begin(request)
        await open_stream(request.send, request.extra)
        stream = Stream(request.scope)
        endpoint = f"{self._prefix}/{member.name}/messages?session_id={session.id}"
        stream.raw(f"event: endpoint\r\ndata: {endpoint}\r\n\r\n".encode())
        session.on_close = lambda: stream.end("closed")
        try:
            await self._flow(session, stream, request.send)
        finally:
            self._drop(session)

    async def _post_message(self, request: Request) -> None:
        query: bytes = request.scope["query_string"]
        name, _, value = query.partition(b"=")
        if name == b"session_id" and b"&" not in value:
            wanted = value.decode("latin-1")
        else:
            asked = parse_qs(query.decode("latin-1"))
            wanted = (asked.get("session_id") or asked.get("sessionId") or [""])[0]
        session = self._session(request, wanted)
        if session is None:
            await self._lost_session(request)
            return
        body = await read_body(request.receive, self._settings.limits.body)
        if body is None:
            return
        try:
            envelope = message.peek(body)
        except message.Malformed as error:
            await answer(request.send, 400, message.error(None, message.PARSE_ERROR, f"Parse error: {error}"), extra=request.extra)
            return
        await answer(request.send, 202, b"Accepted", b"text/plain", request.extra)
        try:
            await session.take(body, envelope, session)
        except Down as down:
            if envelope.id is not UNSET and envelope.method is not UNSET:
                session.push(down.error(bytes(envelope.id)))

    # --- Streamable HTTP with sessions ---

    async def _post(self, request: Request) -> None:
        body = await read_body(request.receive, self._settings.limits.body)
        if body is None:
            return
        try:
            envelope = message.peek(body)
        except message.Malformed as error:
            await answer(request.send, 400, message.error(None, message.PARSE_ERROR, f"Parse error: {error}"), extra=request.extra)
            return
        begins = envelope.method == "initialize"
        if begins:
            session = self._begin(request)
        else:
            given = request.headers.get(b"mcp-session-id")
            if given is None:
                text = message.error(None, message.INVALID_REQUEST, "Bad Request: Missing session ID; send initialize first")
                await answer(request.send, 400, text, extra=request.extra)
                return
            found = self._session(request, given.decode("latin-1"))
            if found is None:
                await self._lost_session(request)
                return
            session = found
        exchange = Exchange()
        asks = envelope.id is not UNSET and envelope.method is not UNSET
        session.open += 1
        try:
            await session.take(body, envelope, exchange)
            if not asks:
                await answer(request.send, 202, extra=request.extra)
                return
            if begins:
                request.extra = [*request.extra, (b"mcp-session-id", session.id.encode())]
            await self._reply(request, exchange)
        except Down as down:
            if begins:
                self._drop(session)
            await self._unavailable(request, down, bytes(envelope.id) if envelope.id is not UNSET else None)
        finally:
            session.open -= 1
            session.seen = time.monotonic()

    async def _reply(self, request: Request, exchange: Exchange) -> None:
        """Plain JSON when the answer comes first and soon, else a stream."""
        messages = await exchange.more(KEEP_ALIVE)
        if exchange.done and len(messages) == 1:
            await answer(request.send, 200, messages[0], extra=request.extra)
            return
        await open_stream(request.send, request.extra)
        while True:
            text = b"".join(b"event: message\r\ndata: " + data + b"\r\n\r\n" for data in messages) or b": ping\r\n\r\n"
            await request.send({"type": "http.response.body", "body": text, "more_body": True})
            if exchange.done and not exchange.messages:
                break
            messages = await exchange.more(KEEP_ALIVE)
        await end_stream(request.send)

    async def _listen(self, request: Request) -> None:
        session = self._session(request, request.headers.get(b"mcp-session-id", b"").decode("latin-1"))
        if session is None:
            await self._lost_session(request)
            return
        await open_stream(request.send, [*request.extra, (b"mcp-session-id", session.id.encode())])
        stream = Stream(request.scope)
        stream.raw(b": open\r\n\r\n")
        session.on_close = lambda: stream.end("closed")
        await self._flow(session, stream, request.send)

    async def _delete(self, request: Request) -> None:
        session = self._session(request, request.headers.get(b"mcp-session-id", b"").decode("latin-1"))
        if session is None:
            await self._lost_session(request)
            return
        self._sessions.pop(session.id, None)
        await answer(request.send, 200, extra=request.extra)
        await session.close()

    # --- sessions ---

    def _begin(self, request: Request) -> Session:
        session = Session(request.route.member, request.owner)
        self._sessions[session.id] = session
        return session

    def _session(self, request: Request, wanted: str) -> Session | None:
        session = self._sessions.get(wanted)
        if session is None or session.owner != request.owner or session.member is not request.route.member:
            return None
        return session

    def _drop(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:
            task = asyncio.get_running_loop().create_task(session.close(), name="session close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _flow(self, session: Session, stream: Stream, send: Send) -> None:
        """Let a stream run until something ends it."""
        self._streams.add(stream)
        session.open += 1
        session.connect(stream.write)
        try:
            await stream.ended
        finally:
            session.disconnect(stream.write)
            session.open -= 1
            session.seen = time.monotonic()
            self._streams.discard(stream)
        await end_stream(send)

    # --- refusals ---

    def _refuse(self, headers: dict[bytes, bytes]) -> tuple[int, bytes] | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._guard.host(host):
            return 421, b"Invalid Host header: name it in allowed_hosts or base_url\n"
        origin = headers.get(b"origin")
        if origin is not None and not self._guard.origin(origin.decode("latin-1").rstrip("/")):
            return 403, b"Invalid Origin header: name it in allowed_origins\n"
        return None

    def _cors(self, origin: bytes) -> Headers:
        listed = self._guard.origins
        if "*" not in listed and origin.decode("latin-1").rstrip("/") not in listed:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"Mcp-Session-Id, WWW-Authenticate, Retry-After"),
            (b"vary", b"Origin"),
        ]

    async def _unavailable(self, request: Request, down: Down, raw_id: bytes | None) -> None:
        extra = [*request.extra, (b"retry-after", b"%d" % down.retry_after)]
        await answer(request.send, 503, down.error(raw_id), extra=extra)

    async def _lost_session(self, request: Request) -> None:
        text = message.error(None, message.INVALID_REQUEST, "Session not found; initialize again")
        await answer(request.send, 404, text, extra=request.extra)


_ALLOWED_HEADERS = b"Authorization, Content-Type, Accept, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID"
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", _ALLOWED_HEADERS),
    (b"access-control-max-age", b"600"),
]


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9090`, `[::1]:9090` or `:9090` (every interface). Raises `ValueError`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
