"""Links to upstreams by URL: what they share, and the legacy one, HTTP+SSE.

Owns the client side of that wire. Must not know sessions of the gateway or restarts.
"""

from __future__ import annotations

import asyncio
import codecs
import functools
import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urljoin, urlsplit

from mcpwatch.gateway.protocol import message
from mcpwatch.gateway.upstream.link import Ends, LinkFailed
from mcpwatch.http_client.client import HttpClient, Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.http_client.trust import BY_DEFAULT, Trust

ENDPOINT_LIMIT = 10.0
"""Seconds until an SSE upstream must have named its message endpoint."""
POST_LIMIT = 30.0
"""Seconds until an SSE upstream must have taken a message, any other one a notification."""

JSON = "application/json"
STREAM = "text/event-stream"

log = logging.getLogger("mcpwatch.gateway")


class Remote:
    """What both wires share: a client, tasks, and one end."""

    wire = ""
    pid: int | None = None

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends, trust: Trust = BY_DEFAULT) -> None:
        self._url = url
        self._client = HttpClient(url, headers, trust)
        self._ends = ends
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def _go(self, work: Coroutine[Any, Any, None], name: str, number: int | None = None) -> asyncio.Task[None]:
        """Do some work; should it break, the request `number` is refused, so that nobody waits for its answer."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._done, number))
        return task

    def _done(self, number: int | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s broke", task.get_name(), exc_info=error)
            if not self._closed:
                self._refuse(number, "the gateway could not understand the upstream's answer")

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._ends.on_lost(reason, None, None)

    def _take(self, data: bytes, related: int | None) -> None:
        data = data.removeprefix(codecs.BOM_UTF8)
        if not self._ends.take(data, related):
            self._ends.on_pollution(data)

    def _refuse(
        self, number: int | None, text: str, code: int = message.MEMBER_DOWN, data: dict[str, object] | None = None
    ) -> None:
        if number is not None:
            self._take(message.error(b"%d" % number, code, text, data), number)

    def _failed(self, number: int | None, error: HttpFailed) -> None:
        """A request got no answer: its caller is told whether it may have been executed."""
        self._refuse(number, str(error), data=error.data)
        if not error.connected:
            self._lose(error.reason)

    async def _end(self) -> None:
        self._closed = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()


class SseLink(Remote):
    """An upstream on the legacy wire: answers on one stream, requests by POST."""

    wire = "sse"

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends, trust: Trust = BY_DEFAULT) -> None:
        super().__init__(url, headers, ends, trust)
        self._endpoint = ""
        self._queue: asyncio.Queue[tuple[bytes, int | None]] = asyncio.Queue(10_000)

    async def open(self) -> None:
        """Connect and learn the endpoint. Raises `LinkFailed`."""
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ENDPOINT_LIMIT):
                response = await self._client.request("GET", self._url, {"Accept": STREAM, "Cache-Control": "no-store"})
                if response.status != 200 or response.media != STREAM or response.oddity:
                    response.close()
                    raise LinkFailed(response.oddity or f"GET answered {response.status} {response.media}")
                self._go(self._listen(response, found), "sse stream")
                self._endpoint = await found
        except HttpFailed as error:
            raise LinkFailed(error.reason) from None
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
                    self._found(event.text, found)
                elif event.name == "message":
                    self._take(event.data, None)
            reason = "the upstream closed its stream"
        except HttpFailed as error:
            reason = error.reason
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
                taken = error.reason if isinstance(error, HttpFailed) else f"took no message within {POST_LIMIT:g} s"
                self._lose(taken)
                return
            if response.status >= 300:
                if response.status in {400, 404} and number is not None:
                    self._lose(f"session lost (POST answered {response.status})")
                    return
                self._refuse(number, response.unreadable or f"upstream answered {response.status} ({len(body)} bytes)")
