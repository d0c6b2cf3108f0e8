"""The legacy HTTP+SSE wire of 2024-11-05: a GET that stays open, requests by POST to the endpoint it announced."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from mcpwatch.checks import rpc
from mcpwatch.checks.caller import Events, ProbeHttp, events, middleman, must_be_stream, skip
from mcpwatch.checks.failure import PLACE_MAX, REASON_MAX, ProbeFailure, one_line, without_query
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.wire import client_info, initialize_params, server_info
from mcpwatch.http_client.forward_proxy import PORTS
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Transport

STREAM = (("Accept", "text/event-stream"), ("Cache-Control", "no-store"))
INITIALIZED = rpc.notification("notifications/initialized")
STRAYS_MAX = 10_000
"""Messages that are not our answer, read in one call before it counts as endless."""
_OWN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+/?(?:\?[A-Za-z0-9_=&-]*)?")
"""An absolute path, perhaps with a query, of which nothing has to be resolved, quoted or looked for elsewhere."""
ENDED_LOOK = 0.1
"""Seconds to look whether a stream has ended, when the session it announced is already gone."""


class LegacyWire:
    """One legacy SSE session."""

    name: Transport = "sse"

    def __init__(self, caller: ProbeHttp) -> None:
        self._caller = caller
        self._events: Events | None = None
        self._endpoint = caller.url.path
        self._heard: Mapping[str, str] = {}
        self._number = 0
        self._awaited: rpc.Awaited | None = None
        self._oddities = rpc.Oddities()
        self._taken = False
        """Whether the latest request was taken with HTTP 2xx."""
        self._answer = b""
        self.hello: Message = {}
        self.server = ServerInfo(wire="sse")

    @property
    def digest(self) -> bytes:
        """A digest of the text in which the latest answer came."""
        return rpc.digest(self._answer)

    async def open(self) -> None:
        """Open the stream, learn the endpoint, initialize."""
        timeline = self._caller.timeline
        await self._caller.transport.prepare(self._caller.url)
        timeline.enter(Stage.OPEN)
        what = self._caller.path("GET")
        response = await self._caller.get(STREAM)
        if response.status != 200:
            raise await self._caller.refuse(response, what)
        must_be_stream(response, what)
        self._heard = response.headers
        self._events = events(response)
        timeline.enter(Stage.ENDPOINT)
        try:
            async with asyncio.timeout(timeline.event_left):
                self._endpoint = await self._announced(self._events)
        except TimeoutError:
            raise self._no_event() from None
        timeline.enter(Stage.INITIALIZE)
        result = await self.call("initialize", initialize_params(client_info()))
        self.hello, self.server = result, server_info(result, "sse")
        timeline.enter(Stage.INITIALIZED)
        await self._post(INITIALIZED, "notifications/initialized")

    async def call(self, method: str, params: Message) -> Message:
        """POST a request and wait for its answer on the stream."""
        self._number += 1
        self._awaited = awaited = rpc.Awaited(self._number, method, self._oddities)
        self._taken = False
        await self._post(rpc.request(self._number, method, params), method)
        self._taken = True
        assert self._events is not None
        async for event in self._events:
            if not awaited.hears(event.name):
                continue
            for message in awaited.messages(event.text):
                if awaited.is_in(message):
                    self._answer = event.data
                    return rpc.outcome(message, method)
                if rpc.asks(message):
                    await self._post(rpc.reply(message), "an answer to the server's own request")
            if awaited.strays > STRAYS_MAX:
                raise awaited.unanswered(f"{STRAYS_MAX} other messages came instead of the answer to {method}")
        raise ProbeFailure(Symptom.CUT, awaited.instead or f"the stream ended before the answer to {method}")

    async def close(self) -> None:
        """Close the stream; the session ends with it."""
        self.abort()
        if self._events is not None:
            await self._events.aclose()

    def abort(self) -> None:
        """Drop the stream."""
        self._caller.transport.abort()

    def remarks(self) -> list[ProbeFailure]:
        """Forms of answers that some clients refuse."""
        return self._oddities.remarks()

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """What it means that the deadline of `stage` passed, where that is more than slowness."""
        if stage is Stage.ENDPOINT:
            return self._no_event()
        instead = self._awaited.missing() if self._awaited is not None else None
        if instead is not None:
            return instead
        if stage is Stage.INITIALIZE and self._taken:
            return ProbeFailure(Symptom.NO_REPLY, "the server took initialize (HTTP 2xx), but never answered on the stream")
        return None

    def _no_event(self) -> ProbeFailure:
        if told := self._caller.transport.dripping(self._caller.timeline.in_stage):
            return ProbeFailure(Symptom.DRIPPING, f"the 'endpoint' event comes too slowly: {told}")
        between = middleman(self._heard)
        if between:
            return ProbeFailure(Symptom.BUFFERED, f"the stream opened through {between}, but no event came: it probably buffers")
        return ProbeFailure(Symptom.NO_ENDPOINT, "the stream opened, but no 'endpoint' event came")

    async def _announced(self, stream: Events) -> str:
        seen = 0
        async for event in stream:
            if event.name == "endpoint":
                return self._checked(event.text)
            seen += 1
            if seen > STRAYS_MAX:
                raise ProbeFailure(Symptom.NO_ENDPOINT, f"the first {STRAYS_MAX} events of the stream are no 'endpoint' event")
        raise ProbeFailure(Symptom.CUT, "the stream ended before its 'endpoint' event")

    def _checked(self, data: str) -> str:
        """The path and query that messages go to. Raises `ProbeFailure(BAD_ENDPOINT)` when clients could not use it."""
        if _OWN_PATH.fullmatch(data) and not self._caller.target.public_url:
            return data  # it is where the stream is, and what is below would leave it as it is
        shown = one_line(data.partition("?")[0], REASON_MAX)
        try:
            parts = urlsplit(urljoin(self._caller.target.url, data.strip()))
            origin = parts.scheme, parts.hostname or "", PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        except ValueError as error:
            raise ProbeFailure(Symptom.BAD_ENDPOINT, f"the endpoint event names no URL: {shown}", said=shown) from error
        if origin not in self._caller.origins:
            raise ProbeFailure(
                Symptom.BAD_ENDPOINT,
                f"the endpoint event sends clients to {parts.scheme}://{one_line(parts.netloc.rpartition('@')[2], PLACE_MAX)}, "
                f"which is not where the stream is ({without_query(self._caller.target.public_url or self._caller.target.url)})",
                said=shown,
            )
        # it may name the public origin: the messages go where the stream was opened
        path = self._local(data.strip(), parts.path or "/")
        return quote(urlunsplit(("", "", path, parts.query, "")), safe="%/:=&?~#+!$,;'@()*[]")

    def _local(self, data: str, path: str) -> str:
        """Where a path that clients use is here, when a reverse proxy puts a prefix before it.

        Raises `ProbeFailure(BAD_ENDPOINT)` when it leads clients out of that prefix.
        """
        target = self._caller.target
        if not target.public_url:
            return path
        public, local = prefixes(urlsplit(target.public_url).path, urlsplit(target.url).path)
        if not public:
            return path
        seen = urlsplit(urljoin(target.public_url, data)).path
        if not seen.startswith(f"{public}/"):
            told = f"the endpoint event sends clients of {without_query(target.public_url)} to {one_line(seen, PLACE_MAX)}"
            raise ProbeFailure(
                Symptom.BAD_ENDPOINT, f"{told}: the path prefix {public} is missing", said=one_line(seen, REASON_MAX)
            )
        return local + seen.removeprefix(public)

    @property
    def _path(self) -> str:
        """The endpoint without its query, which holds the session."""
        return self._endpoint.partition("?")[0]

    async def _post(self, body: bytes, what: str) -> None:
        response = await self._caller.post(body, target=self._endpoint)
        if response.ok:
            await skip(response)
            return
        failure = await self._caller.refuse(response, f"POST {self._path} ({what})")
        if failure.symptom is Symptom.NOT_MOUNTED and self.server.protocol:
            failure.symptom = Symptom.SESSION_LOST
            failure.message = f"POST {self._path} ({what}): the server does not know the session any more (HTTP {failure.status})"
        elif failure.symptom is Symptom.NOT_MOUNTED and await self._ended():
            failure.symptom = Symptom.CUT
            failure.message = "the stream ended right after its 'endpoint' event, and its session with it"
        elif failure.symptom in (Symptom.NOT_MOUNTED, Symptom.REDIRECT, Symptom.ERA_MISMATCH) and not self.server.protocol:
            failure.symptom = Symptom.BAD_ENDPOINT
            failure.message = (
                f"the endpoint event names {self._path}, but nothing takes messages there (HTTP {failure.status}): "
                "a path prefix may be missing"
            )
        raise failure

    async def _ended(self) -> bool:
        """Whether the stream is at its end; a short look, which ends the stream for good."""
        assert self._events is not None
        try:
            async with asyncio.timeout(ENDED_LOOK):
                async for _ in self._events:
                    return False
        except TimeoutError:
            return False
        except ProbeFailure:
            return True
        return True


def prefixes(public: str, local: str) -> tuple[str, str]:
    """What stands before the common end of two paths: `/mcp/time/sse` and `/time/sse` give `/mcp` and nothing."""
    ours, theirs = local.split("/"), public.split("/")
    while ours and theirs and ours[-1] == theirs[-1]:
        ours.pop()
        theirs.pop()
    return "/".join(theirs), "/".join(ours)
