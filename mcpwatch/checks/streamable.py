"""The Streamable HTTP wire of 2025-03-26 to 2025-11-25: every message a POST, the answer as JSON or as a short event stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcpwatch.checks import rpc
from mcpwatch.checks.caller import REPLY_LIMIT, ProbeHttp, events, must_be_stream, read, skip
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import STRAYS_MAX
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.wire import client_info, initialize_params, server_info
from mcpwatch.http_client.client import Response
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Transport

ACCEPT = ("Accept", "application/json, text/event-stream")
SESSION_MAX = 1024
"""Characters of a session id taken."""


class StreamableWire:
    """One Streamable HTTP session, or none where the server keeps none."""

    name: Transport = "http"

    def __init__(self, caller: ProbeHttp) -> None:
        self._caller = caller
        self._headers: tuple[tuple[str, str], ...] = (ACCEPT,)
        self._session = ""
        self._number = 0
        self._awaited: rpc.Awaited | None = None
        self._oddities = rpc.Oddities()
        self.digest = b""
        self.hello: Message = {}
        self.server = ServerInfo(wire="http")

    async def open(self) -> None:
        """Initialize and say so."""
        timeline = self._caller.timeline
        await self._caller.transport.prepare(self._caller.url)
        timeline.enter(Stage.INITIALIZE)
        result = await self.call("initialize", initialize_params(client_info()))
        self.hello, self.server = result, server_info(result, "http")
        self._headers = (*self._headers, ("MCP-Protocol-Version", self.server.protocol))
        timeline.enter(Stage.INITIALIZED)
        await self._notify(rpc.notification("notifications/initialized"), "notifications/initialized")

    async def call(self, method: str, params: Message) -> Message:
        """POST a request and read its answer, whichever form it takes."""
        self._number += 1
        what = f"{self._caller.path('POST')} ({method})"
        self._awaited = awaited = rpc.Awaited(self._number, method, self._oddities)
        response = await self._caller.post(rpc.request(self._number, method, params), self._headers)
        if response.status != 200:
            if response.ok:
                response.close()
                raise ProbeFailure(Symptom.NO_REPLY, f"{what} was taken with HTTP {response.status}, but holds no answer")
            raise await self._refused(response, what)
        if not self._session and method == "initialize":
            self._keep_session(response.headers.get("mcp-session-id", ""))
        message, self.digest = await reply_in(response, awaited, what, self._answer)
        return rpc.outcome(message, method)

    async def close(self) -> None:
        """DELETE the session if the server keeps one."""
        if self._session:
            await self._caller.delete(self._headers)
        self.abort()

    def abort(self) -> None:
        """Drop the connections."""
        self._caller.transport.abort()

    def remarks(self) -> list[ProbeFailure]:
        """Forms of answers that some clients refuse."""
        return self._oddities.remarks()

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """What came instead of the answer when the deadline passed."""
        del stage
        return self._awaited.missing() if self._awaited is not None else None

    async def _refused(self, response: Response, what: str) -> ProbeFailure:
        """The failure of a bad status; a 404 to a request with a session id means that the session is gone."""
        failure = await self._caller.refuse(response, what)
        if self._session and failure.symptom is Symptom.NOT_MOUNTED:
            failure.symptom = Symptom.SESSION_LOST
            failure.message = f"{what}: the server does not know the session any more (HTTP {failure.status})"
        return failure

    def _keep_session(self, session: str) -> None:
        if not session:
            return
        if len(session) > SESSION_MAX or not session.isascii() or not session.isprintable():
            raise ProbeFailure(Symptom.BAD_REPLY, "the session id is not made of visible ASCII characters")
        self._session = session
        self._headers = (*self._headers, ("Mcp-Session-Id", session))

    async def _answer(self, body: bytes) -> None:
        await self._notify(body, "an answer to the server's own request")

    async def _notify(self, body: bytes, what: str) -> None:
        response = await self._caller.post(body, self._headers)
        if not response.ok:
            raise await self._refused(response, f"{self._caller.path('POST')} ({what})")
        if response.media == "text/event-stream":
            response.close()
        else:
            await skip(response)


async def reply_in(
    response: Response, awaited: rpc.Awaited, what: str, answer: Callable[[bytes], Awaitable[None]] | None
) -> tuple[Message, bytes]:
    """The response to the awaited request in an HTTP 200 answer, and a digest of what it came in.

    The answer may be JSON, a batch, or an event stream with other messages before it.

    Requests of the server are answered through `answer`. Raises `ProbeFailure` for everything a client could not use.
    """
    kind = response.media
    if kind == "application/json":
        body = await read(response, REPLY_LIMIT)
        for message in awaited.messages(body):
            if awaited.is_in(message):
                return message, rpc.digest(body)
        why = awaited.instead or "its id is not ours"
        raise awaited.unanswered(f"{what} was answered with JSON that does not answer it ({why})", body)
    if kind != "text/event-stream":
        response.close()
        raise ProbeFailure(
            Symptom.WRONG_TYPE, f"{what} was answered as {kind or 'no type'}, not as JSON or an event stream", status=200
        )
    must_be_stream(response, what)
    return await _reply_on(response, awaited, what, answer)


async def _reply_on(
    response: Response, awaited: rpc.Awaited, what: str, answer: Callable[[bytes], Awaitable[None]] | None
) -> tuple[Message, bytes]:
    stream = events(response)
    try:
        async for event in stream:
            if not awaited.hears(event.name):
                continue
            for message in awaited.messages(event.text):
                if awaited.is_in(message):
                    return message, rpc.digest(event.data)
                if rpc.asks(message) and answer is not None:
                    await answer(rpc.reply(message))
            if awaited.strays > STRAYS_MAX:
                raise awaited.unanswered(f"{STRAYS_MAX} other messages came instead of the answer to {what}")
    finally:
        await stream.aclose()
    raise awaited.unanswered(awaited.instead or f"{what} was answered with a stream that ended without the answer")
