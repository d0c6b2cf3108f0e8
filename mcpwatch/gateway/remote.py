"""Links to upstreams by URL: legacy HTTP+SSE and Streamable HTTP with sessions, chosen or found out.

Owns the client side of both wires. Must not know sessions of the gateway or restarts.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urljoin, urlsplit

from msgspec import UNSET, Raw

from mcpwatch.gateway import batch, eras, message, modern
from mcpwatch.gateway.events import HttpFailed
from mcpwatch.gateway.http import Client, Response
from mcpwatch.gateway.link import Ends, LinkFailed
from mcpwatch.gateway.message import HANDSHAKE, MODERN

ENDPOINT_LIMIT = 10.0
"""Seconds until an SSE upstream must have named its message endpoint."""
POST_LIMIT = 30.0
"""Seconds until an SSE upstream must have taken a message."""
CLOSE_LIMIT = 2.0
"""Seconds for the farewell to an upstream session."""
REOPEN = 1.0
"""Seconds before a closed stream of a Streamable HTTP upstream is opened again."""

JSON = "application/json"
STREAM = "text/event-stream"

log = logging.getLogger("mcpwatch.gateway")


class _Remote:
    """What both wires share: a client, tasks, and one end."""

    wire = ""
    pid: int | None = None

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends) -> None:
        self._url = url
        self._client = Client(url, headers)
        self._ends = ends
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def _go(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._ends.on_lost(reason, None, None)

    def _take(self, data: bytes, related: int | None) -> None:
        if not self._ends.take(data, related):
            self._ends.on_pollution()

    def _refuse(self, number: int | None, text: str) -> None:
        if number is not None:
            self._take(message.error(b"%d" % number, message.MEMBER_DOWN, text), number)

    async def _end(self) -> None:
        self._closed = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()


class SseLink(_Remote):
    """An upstream on the legacy wire: answers on one stream, requests by POST."""

    wire = "sse"

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends) -> None:
        super().__init__(url, headers, ends)
        self._endpoint = ""
        self._queue: asyncio.Queue[tuple[bytes, int | None]] = asyncio.Queue(10_000)

    async def open(self) -> None:
        """Connect and learn the endpoint. Raises `LinkFailed`."""
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ENDPOINT_LIMIT):
                response = await self._client.request("GET", self._url, {"Accept": STREAM, "Cache-Control": "no-store"})
                if response.status != 200 or response.media != STREAM:
                    response.close()
                    raise LinkFailed(f"GET answered {response.status} {response.media}")
                self._go(self._listen(response, found), "sse stream")
                self._endpoint = await found
        except HttpFailed as error:
            raise LinkFailed(str(error)) from None
        except TimeoutError:
            raise LinkFailed(f"no endpoint event within {ENDPOINT_LIMIT:g} s") from None
        self._go(self._post(), "sse posts")

    def send(self, data: bytes, number: int | None) -> int:
        """Queue one message; messages keep their order."""
        if self._closed:
            return 0
        try:
            self._queue.put_nowait((data, number))
        except asyncio.QueueFull:
            return 0
        return 1

    async def close(self) -> None:
        """Close the stream; that ends the session."""
        await self._end()

    async def _listen(self, response: Response, found: asyncio.Future[str]) -> None:
        try:
            async for event in response.events():
                if event.name == "endpoint" and not found.done():
                    self._found(event.data.decode(errors="replace"), found)
                elif event.name == "message":
                    self._take(event.data, None)
            reason = "the upstream closed its stream"
        except HttpFailed as error:
            reason = str(error)
        finally:
            response.close()
        if not found.done():
            found.set_exception(LinkFailed(reason))
        else:
            self._lose(reason)

    def _found(self, text: str, found: asyncio.Future[str]) -> None:
        endpoint = urljoin(self._url, text.strip())
        if urlsplit(endpoint)[:2] != urlsplit(self._url)[:2]:
            found.set_exception(LinkFailed("its endpoint event names another origin; check the upstream's base URL"))
        else:
            found.set_result(endpoint)

    async def _post(self) -> None:
        while True:
            data, number = await self._queue.get()
            try:
                async with asyncio.timeout(POST_LIMIT):
                    response = await self._client.request("POST", self._endpoint, {"Content-Type": JSON}, data)
                    body = await response.read()
            except (HttpFailed, TimeoutError) as error:
                self._lose(str(error) or f"took no message within {POST_LIMIT:g} s")
                return
            if response.status >= 300:
                if response.status in {400, 404} and number is not None:
                    self._lose(f"session lost (POST answered {response.status})")
                    return
                self._refuse(number, f"upstream answered {response.status} ({len(body)} bytes)")


class HttpLink(_Remote):
    """An upstream on Streamable HTTP: a POST for each message, an answer or a stream for each request."""

    wire = "http"

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends) -> None:
        super().__init__(url, headers, ends)
        self._session: str | None = None
        self._version: str | None = None
        self._hello: bytes | None = None
        self._greeting = asyncio.Lock()
        self._listening = False
        self._told: asyncio.Event | None = None

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
            told = self._told = asyncio.Event()
            self._go(self._tell(data, prior, told), "http notification")
        else:
            self._go(self._post(data, number, prior), "http request")
        return 1

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
            await self._post(data, None, prior)
        finally:
            told.set()

    async def _post(self, data: bytes, number: int | None, prior: asyncio.Event | None) -> None:
        """Post one message, after every notification before it has been taken."""
        try:
            if prior is not None:
                await prior.wait()
            session = self._session
            response = await self._client.request("POST", self._url, self._headers_for(data, session), data)
            if response.status == 404 and session is not None:
                response.close()
                await self._greet_again(session)
                response = await self._client.request("POST", self._url, self._headers(self._session), data)
            await self._answer(response, data, number)
        except HttpFailed as error:
            self._refuse(number, str(error))
            if not error.connected:
                self._lose(str(error))

    async def _answer(self, response: Response, data: bytes, number: int | None) -> None:
        if data is self._hello:
            self._session = response.headers.get("mcp-session-id")
        if response.media == STREAM and response.status == 200:
            answered = False
            try:
                async for event in response.events():
                    if event.data and event.name == "message":
                        answered = self._hear(event.data, number, answered, data)
            finally:
                response.close()
            if not answered:
                self._refuse(number, "the upstream ended its stream without an answer")
            return
        body = await response.read()
        if not self._hear(body, number, False, data):
            self._refuse(number, f"upstream answered {response.status} {response.media}")

    def _hear(self, body: bytes, number: int | None, answered: bool, sent: bytes) -> bool:
        """Take one message of an answer. Whether the request is answered now."""
        if number is None:
            return True
        if batch.is_one(body) and self._ends.batched():
            for item in batch.cut(body):
                answered = self._hear(item, number, answered, sent)
            return answered
        try:
            envelope = message.peek(body)
        except message.Malformed:
            return answered
        if envelope.method is UNSET:
            if not isinstance(envelope.id, Raw) or bytes(envelope.id) != b"%d" % number:
                body = message.with_value(body, ("id",), b"%d" % number)
            if sent is self._hello:
                self._greeted(body)
            self._take(body, number)
            return True
        self._take(body, number)
        return answered

    def _greeted(self, body: bytes) -> None:
        span = message.locate(body, ("result", "protocolVersion"))
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
                if response.status != 200 or response.media != STREAM:
                    response.close()
                    if response.status in {404, 405, 501}:
                        return
                else:
                    async for event in response.events():
                        if event.data:
                            self._take(event.data, None)
            except HttpFailed as error:
                if not error.connected:
                    self._lose(str(error))
                    return
            await asyncio.sleep(REOPEN)


class StatelessLink(HttpLink):
    """An upstream on the stateless wire: every request carries its envelope, nothing is remembered."""

    wire = "stateless"

    def send(self, data: bytes, number: int | None) -> int:
        """Post one request in its envelope. Notifications mean nothing on this wire and stay here."""
        if self._closed:
            return 0
        if number is not None:
            self._go(self._post(eras.enveloped(data, modern.CLIENT, {}), number, None), "stateless request")
        return 1

    def _headers_for(self, data: bytes, session: str | None) -> dict[str, str]:  # noqa: ARG002
        body = json.loads(data)
        method = body["method"]
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {STREAM}", "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in modern.NAMED:
            headers["Mcp-Name"] = modern.encoded(str(body["params"].get(modern.NAMED[method], "")))
        return headers


async def detect(url: str, headers: tuple[tuple[str, str], ...], limit: float = 10.0) -> str:
    """The wire that an upstream speaks: `sse`, `http` or `stateless`. Raises `LinkFailed` when it cannot be reached."""
    if urlsplit(url).path.rstrip("/").endswith("/sse"):
        return "sse"
    client = Client(url, headers)
    params = {"protocolVersion": HANDSHAKE[-1], "capabilities": {}, "clientInfo": {"name": "mcpwatch-gateway", "version": "1"}}
    try:
        async with asyncio.timeout(limit):
            response = await client.request(
                "POST", url, {"Content-Type": JSON, "Accept": f"{JSON}, {STREAM}"}, message.request(0, "initialize", params)
            )
            session = response.headers.get("mcp-session-id")
            refused = b"" if response.status == 200 else await response.read()
            response.close()
            if session is not None:
                farewell = await client.request("DELETE", url, {"Mcp-Session-Id": session})
                farewell.close()
    except HttpFailed as error:
        raise LinkFailed(str(error)) from None
    except TimeoutError:
        raise LinkFailed(f"no answer to initialize within {limit:g} s") from None
    finally:
        client.close()
    if b"-32601" in refused or b"-32022" in refused or b"-32020" in refused or b"-32602" in refused:
        return "stateless"
    return "sse" if response.status in {404, 405} else "http"
