"""The link to an upstream on Streamable HTTP with sessions (2025-03-26 … 2025-11-25).

Owns the client side of that wire. Must not know sessions of the gateway or restarts.
"""

from __future__ import annotations

import asyncio
import codecs
from dataclasses import dataclass

from msgspec import UNSET, Raw

from mcpwatch.gateway.protocol import batch, json_edit, message, reading
from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.gateway.upstream.lost_session import BY_WORDS, forgets
from mcpwatch.gateway.upstream.remote import JSON, POST_LIMIT, STREAM, Remote, log
from mcpwatch.gateway.upstream.request_ids import number_of
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.sse import ServerSentEvent
from mcpwatch.http_client.trust import BY_DEFAULT, Trust

CLOSE_LIMIT = 2.0
"""Seconds for the farewell to an upstream session."""
REOPEN = 1.0
"""Seconds before a closed stream of a Streamable HTTP upstream is opened again."""


POLLS = 10
"""Times in a row that a stream is taken up without anything new in it before its request fails."""
RESUME, RESUME_MOST = 1.0, 60.0
"""Seconds before a stream that ended early is taken up, where the upstream names none, and at most."""


@dataclass(slots=True)
class StreamPosition:
    """How far a stream was read: the id of its last event, and when the upstream wants to be asked again (milliseconds)."""

    last: str | None = None
    retry: int | None = None

    def note(self, event: ServerSentEvent) -> None:
        """One more event."""
        self.last = event.id if event.id is not None else self.last
        self.retry = event.retry if event.retry is not None else self.retry


class HttpLink(Remote):
    """An upstream on Streamable HTTP: a POST for each message, an answer or a stream for each request."""

    wire = "http"

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends, trust: Trust = BY_DEFAULT) -> None:
        super().__init__(url, headers, ends, trust)
        self._session: str | None = None
        self._version: str | None = None
        self._hello: bytes | None = None
        self._greeting = asyncio.Lock()
        self._listening = False
        self._told: asyncio.Event | None = None
        self._polled: set[int] = set()
        """Requests whose stream ended early and is taken up again."""
        self._given_up: set[int] = set()
        """Those of them that were cancelled."""

    async def open(self) -> None:
        """Nothing to open: the first message connects."""

    def send(self, data: bytes, number: int | None) -> int:
        """Post one message."""
        if self._closed:
            return 0
        if self._session is None and self._hello is None and number is not None:
            self._hello = data
        prior = self._told
        if number is None:
            self._give_up(data)
            told = self._told = asyncio.Event()
            self._go(self._tell(data, prior, told), "http notification")
        else:
            self._go(self._post(data, number, prior), "http request", number)
        return 1

    def _give_up(self, data: bytes) -> None:
        """A request that is cancelled is not polled for."""
        envelope = message.peek(data)
        if envelope.method == "notifications/cancelled" and isinstance(envelope.params, message.Params):
            raw = envelope.params.request_id
            if isinstance(raw, Raw) and (number := number_of(bytes(raw))) in self._polled:
                self._given_up.add(number)

    async def close(self) -> None:
        """Say farewell to the session, then close."""
        session, self._session = self._session, None
        await self._end()
        if session is None:
            return
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                response = await self._client.request("DELETE", self._url, self._headers(session))
                await response.read()
        except (HttpFailed, TimeoutError):
            pass
        finally:
            self._client.close()

    def _headers_for(self, data: bytes, session: str | None) -> dict[str, str]:  # noqa: ARG002
        return self._headers(session)

    def _headers(self, session: str | None) -> dict[str, str]:
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {STREAM}"}
        if session is not None:
            headers["Mcp-Session-Id"] = session
        if self._version is not None:
            headers["MCP-Protocol-Version"] = self._version
        return headers

    async def _tell(self, data: bytes, prior: asyncio.Event | None, told: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(POST_LIMIT):
                await self._post(data, None, prior)
        except TimeoutError:
            log.warning("an upstream took no notification within %g s", POST_LIMIT)
        finally:
            told.set()

    async def _post(self, data: bytes, number: int | None, prior: asyncio.Event | None) -> None:
        """Post one message, after every notification before it has been taken."""
        try:
            if prior is not None:
                await prior.wait()
            session = self._session
            response = await self._client.request("POST", self._url, self._headers_for(data, session), data)
            if session is not None and await _forgets(response, session):
                response.close()
                await self._greet_again(session)
                response = await self._client.request("POST", self._url, self._headers(self._session), data)
            await self._answer(response, data, number)
        except HttpFailed as error:
            self._failed(number, error)

    async def _answer(self, response: Response, data: bytes, number: int | None) -> None:
        """Take the answer to one message, over as many streams as the upstream needs for it."""
        if data is self._hello:
            self._session = response.headers.get("mcp-session-id")
        place, lacking, sent = await self._hear_all(response, data, number)
        if lacking and place is not None and place.last is not None and number is not None:
            self._polled.add(number)
            lacking = await self._poll(place, data, number)
            self._polled.discard(number)
            self._given_up.discard(number)
        if lacking:
            self._failed(number, HttpFailed(lacking, connected=True, sent=sent))

    async def _poll(self, place: StreamPosition, data: bytes, number: int) -> str:
        """Take up a stream that ended before its answer, by GET from its last event on (SEP-1699). Returns what is lacking then.

        The client of the request may come back in the same way: it is told how long it has to wait.
        """
        idle = 0
        while idle < POLLS and number not in self._given_up and not self._closed:
            pause = RESUME if place.retry is None else min(place.retry / 1000, RESUME_MOST)
            self._ends.on_suspended(number, round(pause * 1000))
            await asyncio.sleep(pause)
            before = place.last
            headers = self._headers(self._session) | {"Accept": STREAM, "Last-Event-ID": before or ""}
            try:
                response = await self._client.request("GET", self._url, headers)
            except HttpFailed:
                idle += 1
                continue
            if response.status != 200 or response.media != STREAM:
                response.close()
                return f"the upstream ended its stream and does not take it up again (GET answered {response.status})"
            found, lacking, _ = await self._hear_all(response, data, number, place)
            if not lacking or found is None:
                return lacking
            idle = 0 if place.last != before else idle + 1
        return "the upstream ended its stream, and no answer came when it was taken up"

    async def _hear_all(
        self, response: Response, data: bytes, number: int | None, place: StreamPosition | None = None
    ) -> tuple[StreamPosition | None, str, bool]:
        """Take everything of one response. Returns where its stream ended (`None`: none), what is lacking, whether it was taken."""
        answered = False
        lacking = response.unreadable or f"upstream answered {response.status} {response.media}"
        sent = response.status < 300 or response.status >= 500  # any other refuses the request, and does nothing
        try:
            if response.unreadable:
                await response.read()
            elif response.media == STREAM and response.status == 200:
                lacking = "the upstream ended its stream without an answer"
                place = place or StreamPosition()
                try:
                    async for event in response.events():
                        place.note(event)
                        if event.data and event.name == "message":
                            answered = self._hear(event.data, number, answered, data)
                except HttpFailed as error:
                    if place.last is None:
                        raise
                    lacking = error.reason
            else:
                answered = self._hear(await response.read(), number, answered, data)
        finally:
            response.close()
        return place, "" if answered else lacking, sent

    def _hear(self, body: bytes, number: int | None, answered: bool, sent: bytes) -> bool:
        """Take one message of an answer. Whether the request is answered now."""
        if number is None:
            return True
        body = body.removeprefix(codecs.BOM_UTF8)
        if batch.is_one(body):
            try:
                items = batch.cut(body)
            except message.Malformed:
                return answered
            if len(items) > 1 and not self._ends.batched():  # one alone is read for what it is, as the checks do
                return answered
            for item in items:
                answered = self._hear(item, number, answered, sent)
            return answered
        try:
            envelope = reading.of_member(body)
        except message.Malformed:
            return answered
        if envelope.method is UNSET:
            if not isinstance(envelope.id, Raw) or bytes(envelope.id) != b"%d" % number:
                body = json_edit.with_value(body, ("id",), b"%d" % number)
            if not self._ends.take(body, number):
                return answered  # a body in JSON that is no message, as of a refusal: the status tells
            if sent is self._hello:
                self._greeted(body)
            return True
        self._take(body, number)
        return answered

    def _greeted(self, body: bytes) -> None:
        span = json_edit.locate(body, ("result", "protocolVersion"))
        if span is not None:
            self._version = body[span[0] : span[1]].decode().strip('"')
            if self._session is not None and not self._listening:
                self._listening = True
                self._go(self._listen(), "http stream")

    async def _greet_again(self, lost: str) -> None:
        """The upstream forgot our session: make another one, once, and go on."""
        async with self._greeting:
            if self._session != lost or self._hello is None:
                return
            response = await self._client.request("POST", self._url, self._headers(None), self._hello)
            session = response.headers.get("mcp-session-id")
            await response.read()
            if response.status != 200:
                raise HttpFailed(f"session lost, and initialize answered {response.status}")
            self._session = session
            again = await self._client.request(
                "POST", self._url, self._headers(session), message.notification("notifications/initialized")
            )
            await again.read()

    async def _listen(self) -> None:
        """Hear what belongs to no request. An upstream without such a stream says 405 once."""
        while True:
            try:
                headers = self._headers(self._session) | {"Accept": STREAM}
                response = await self._client.request("GET", self._url, headers)
                try:
                    if response.status in {404, 405, 501}:
                        return
                    if response.status == 200 and response.media == STREAM:
                        async for event in response.events():
                            if event.data:
                                self._take(event.data, None)
                finally:
                    response.close()
            except HttpFailed as error:
                if not error.connected:
                    self._lose(str(error))
                    return
            await asyncio.sleep(REOPEN)


async def _forgets(response: Response, session: str) -> bool:
    """Whether a request was refused for the session that the upstream does not know any more."""
    worded = response.status in BY_WORDS and response.media != STREAM and not response.unreadable
    return forgets(response.status, await response.read() if worded else b"", session)
