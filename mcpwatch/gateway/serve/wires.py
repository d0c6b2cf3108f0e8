"""The three wires that clients speak: legacy HTTP+SSE, Streamable HTTP with sessions, and the stateless one.

Owns what each kind of request is answered. Must not know routing, authorization or members.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from msgspec import UNSET

from mcpwatch.gateway.http.http_exchange import Rest
from mcpwatch.gateway.protocol import batch, message, reading, stateless_protocol
from mcpwatch.gateway.protocol.message import Envelope
from mcpwatch.gateway.serve import stateless_endpoint
from mcpwatch.gateway.serve.session_id import SESSION, session_of_query
from mcpwatch.gateway.serve.waiting_answer import WaitingAnswer
from mcpwatch.gateway.session.batch_response import BatchResponse
from mcpwatch.gateway.session.mcp_request import McpRequest
from mcpwatch.gateway.session.replay import STANDALONE, EventGone, frame, parse
from mcpwatch.gateway.session.sessions import ClientSessions
from mcpwatch.gateway.session.target import ClientSession
from mcpwatch.gateway.upstream.lifecycle import UpstreamUnavailable

PRIMING = b"2025-11-25"
"""The protocol version whose clients know events without data."""


class Wires:
    """Answers requests on every wire, with the sessions of one gateway."""

    def __init__(self, sessions: ClientSessions, prefix: str) -> None:
        self._sessions = sessions
        self.prefix = prefix

    # --- legacy HTTP+SSE ---

    def open_sse(self, request: McpRequest) -> Rest:
        """GET: a session begins, its stream stays open. Raises `TooMany`."""
        if not request.target.running:
            return self._open_when_ready(request)
        self._open(request)
        return None

    async def _open_when_ready(self, request: McpRequest) -> None:
        """The same once there is somebody to talk to. Raises `UpstreamUnavailable`, `TooMany`."""
        await request.target.ready()
        self._open(request)

    def _open(self, request: McpRequest) -> None:
        session = self._sessions.begin(request)
        base = f"{self.prefix}/{request.target.name}" if request.target.name else self.prefix
        endpoint = f"event: endpoint\r\ndata: {base}/messages?session_id={session.id}\r\n\r\n"
        self._sessions.carry(session, request.lasting_stream(first=endpoint.encode()), last=True)

    def post_message(self, request: McpRequest) -> Rest:
        """POST: a message of a session; its answer goes back on the stream."""
        if not request.is_json():
            return None
        session = self._sessions.find(request, session_of_query(request.turn.query))
        if session is None:
            request.lost_session()
            return None
        if batch.is_one(request.turn.body):
            items = _batch(request, session)
            return _accept(request, BatchResponse(items, session).give(session)) if items is not None else None
        read = request.read()
        if read is None:
            return None
        body, envelope = read
        if session.try_take(body, envelope, session):
            request.respond(202)  # not before: it lets the next request of the connection begin
            return None
        return _accept(request, _take_message(session, body, envelope))

    # --- Streamable HTTP ---

    def post(self, request: McpRequest) -> Rest:
        """POST: one message, on the wire that its headers and body name (`stateless_protocol.wanted`). Raises `TooMany`."""
        if not request.is_json():
            return None
        if batch.is_one(request.turn.body):
            return self._post_batch(request)
        read = request.read()
        if read is None:
            return None
        body, envelope = read
        if stateless_protocol.wanted(request.headers, envelope):
            return stateless_endpoint.post(request, body, envelope, self._sessions.visits)
        if envelope.method == "initialize":
            return self._initialize(request, body, envelope)
        session = self._session(request)
        return self._exchange(request, session, body, envelope) if session is not None else None

    def _initialize(self, request: McpRequest, body: bytes, envelope: Envelope) -> Rest:
        session = self._sessions.begin(request)
        session.resumable = True
        plain = request.extra
        request.extra = [*plain, (SESSION, session.id.encode())]
        rest = self._exchange(request, session, body, envelope)
        return self._end_unless_greeted(request, plain, session, envelope, rest) if rest is not None else None

    async def _end_unless_greeted(
        self,
        request: McpRequest,
        plain: list[tuple[bytes, bytes]],
        session: ClientSession,
        envelope: Envelope,
        rest: Coroutine[Any, Any, None],
    ) -> None:
        """Go through with a handshake; a session whose handshake fails is over."""
        try:
            await rest
        except UpstreamUnavailable as down:
            request.extra = plain
            self._sessions.drop(session)
            request.unavailable(down, message.raw_id(envelope))

    async def _post_batch(self, request: McpRequest) -> None:
        session = self._session(request)
        items = _batch(request, session) if session is not None else None
        if session is None or items is None:
            return
        answer = WaitingAnswer(self._sessions, request, session, session.response_stream(), primed=_primed(request))
        try:
            wanted = await BatchResponse(items, answer.response_stream).give(session)
        except BaseException:
            answer.drop()
            raise
        if wanted:
            answer.wait()
        else:
            answer.close()
            request.respond(202)

    def _session(self, request: McpRequest) -> ClientSession | None:
        """The session that a POST names; `None` when it is refused, and that is answered."""
        given = request.headers.get(SESSION)
        if given is None:
            text = message.error(None, message.INVALID_REQUEST, "Bad Request: Missing session ID; send initialize first")
            request.respond(400, text)
            return None
        session = self._sessions.find(request, given.decode("latin-1"))
        if session is None:
            request.lost_session()
            return None
        version = request.headers.get(b"mcp-protocol-version")
        if version is not None and version.decode("latin-1") not in message.HANDSHAKE:
            text = message.error(None, message.INVALID_REQUEST, "Bad Request: Unsupported protocol version")
            request.respond(400, text)
            return None
        return session

    def _exchange(self, request: McpRequest, session: ClientSession, body: bytes, envelope: Envelope) -> Rest:
        """Hand a message on and answer the POST: plain JSON when the answer comes first, soon and alone, else a stream."""
        if envelope.id is UNSET or envelope.method is UNSET:
            if not session.try_take(body, envelope, session):
                return _take_notice(request, session, body, envelope)
            request.respond(202)
            return None
        primed = _primed(request)
        response_stream = session.response_stream(polls=primed)
        answer = WaitingAnswer(self._sessions, request, session, response_stream, primed=primed)
        try:
            taken = session.try_take(body, envelope, response_stream)
        except BaseException:
            answer.drop()
            raise
        if not taken:
            return self._take(answer, body, envelope)
        answer.wait()
        return None

    async def _take(self, answer: WaitingAnswer, body: bytes, envelope: Envelope) -> None:
        """Hand on a request that has to wait for its member. Raises `UpstreamUnavailable` for a handshake."""
        try:
            await answer.session.take(body, envelope, answer.response_stream)
        except UpstreamUnavailable as down:
            answer.drop()
            if envelope.method == "initialize":
                raise
            answer.request.unavailable(down, message.raw_id(envelope))
        except BaseException:
            answer.drop()
            raise
        else:
            answer.wait()

    def listen(self, request: McpRequest) -> Rest:
        """GET: a stream for what belongs to no request."""
        session = self._sessions.find(request, request.headers.get(SESSION, b"").decode("latin-1"))
        if session is None:
            request.lost_session()
            return None
        given = request.headers.get(b"last-event-id")
        last = parse(given) if given is not None else (STANDALONE, None)
        if last is None:
            request.respond(400, message.error(None, message.INVALID_REQUEST, "Last-Event-ID is none of this session's"))
        elif last[0] == STANDALONE:
            pipe = request.lasting_stream([(SESSION, session.id.encode())], b": open\r\n\r\n")
            if _primed(request) and last[1] is None:
                pipe.raw(frame(STANDALONE, session.replay.add(STANDALONE, b"", time.monotonic()), b""))
            self._sessions.carry(session, pipe, last[1])
        else:
            return self._take_up(request, session, last[0], last[1] or 0)
        return None

    async def _take_up(self, request: McpRequest, session: ClientSession, stream: int, after: int) -> None:
        """Go on with an answer whose stream was cut: what the client missed, and only that."""
        try:
            missed = session.replay.after(stream, after)
        except EventGone:
            text = message.error(None, message.INVALID_REQUEST, "what came after this event is not kept any more; ask again")
            request.respond(400, text)
            return
        pipe = request.stream([(SESSION, session.id.encode())])
        response_stream = session.taken_up(stream)
        if response_stream is not None:
            response_stream.go_on(pipe, after)
            await self._sessions.hold(session, pipe)
        else:
            for kept in missed:
                pipe.raw(frame(kept.stream, kept.number, kept.data))
        pipe.finish()

    def delete(self, request: McpRequest) -> Rest:
        """DELETE: the session is over."""
        session = self._sessions.find(request, request.headers.get(SESSION, b"").decode("latin-1"))
        if session is None:
            request.lost_session()
            return None
        self._sessions.drop(session)
        request.respond(200)
        return None


async def _accept(request: McpRequest, work: Coroutine[Any, Any, Any]) -> None:
    """Answer 202 once the work has gone as far as it comes without waiting: the answer lets the next pipelined request begin."""
    working = asyncio.get_running_loop().create_task(work, name="message")
    try:
        await asyncio.sleep(0)
        request.respond(202)
        await working
    finally:
        working.cancel()


async def _take_message(session: ClientSession, body: bytes, envelope: Envelope) -> None:
    """Take a message of the legacy wire that has to wait for its member."""
    try:
        await session.take(body, envelope, session)
    except UpstreamUnavailable as down:
        if envelope.id is not UNSET and envelope.method is not UNSET:
            session.push(down.error(message.raw_id(envelope)))


async def _take_notice(request: McpRequest, session: ClientSession, body: bytes, envelope: Envelope) -> None:
    """Take a notification or an answer that has to wait for its member."""
    session.open += 1
    try:
        await session.take(body, envelope, session)
        request.respond(202)
    except UpstreamUnavailable as down:
        request.unavailable(down, message.raw_id(envelope))
    finally:
        session.open -= 1
        session.seen = time.monotonic()


def _batch(request: McpRequest, session: ClientSession) -> list[bytes] | None:
    """The messages of a batch; `None` when it is refused, and that is answered."""
    try:
        if session.version != batch.VERSION:
            spoken = session.version or "none yet"
            raise message.InvalidMessage(f"only protocol version {batch.VERSION} has batches; this session speaks {spoken}")
        reading.check_text(request.turn.body)
        return batch.cut(request.turn.body)
    except message.Malformed as error:
        request.malformed(error)
        return None


def _primed(request: McpRequest) -> bool:
    """Whether the client knows events that only tell an id."""
    return request.headers.get(b"mcp-protocol-version") == PRIMING
