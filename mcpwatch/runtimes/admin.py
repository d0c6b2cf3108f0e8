"""The gateway's admin socket: HTTP over a unix socket, requests and the stream of events. Knows the wire, not what it means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mcpwatch.http_client.client import HttpClient, Response
from mcpwatch.http_client.connection import ClientConnection
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.errors import RuntimeFailed

TIMEOUT = 5.0
"""Seconds for one whole request."""
BODY_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; `body` is parsed JSON, or text when it is not JSON."""

    status: int
    body: Any


class AdminClient(Protocol):
    """The way to one gateway."""

    async def request(self, method: str, path: str) -> Reply:
        """One request. Raises `RuntimeFailed` when nobody answers in time."""
        ...

    def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Its events, `(name, data)` each, until it hangs up. Raises `OSError`, `TimeoutError` or `EOFError` then."""
        ...


class AdminSocket:
    """The way to the gateway that listens on this socket, whether one does or not."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def request(self, method: str, path: str) -> Reply:
        """As `AdminClient.request`."""
        try:
            async with asyncio.timeout(TIMEOUT), self._open(method, path) as answer:
                data = await answer.read(BODY_LIMIT)
        except (OSError, TimeoutError, HttpFailed) as error:
            raise RuntimeFailed(f"gateway: no answer on {self._socket}: {type(error).__name__}: {error}") from error
        try:
            return Reply(answer.status, json.loads(data))
        except ValueError:
            return Reply(answer.status, data.decode(errors="replace"))

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """As `AdminClient.events`."""
        with suppress(HttpFailed):
            async with self._open("GET", "/events") as answer:
                if answer.status != 200:
                    raise EOFError(f"status {answer.status}")
                async for event in answer.events():
                    if event.data:
                        yield event.name, json.loads(event.data)
        raise EOFError("the gateway hung up")

    @asynccontextmanager
    async def _open(self, method: str, path: str) -> AsyncGenerator[Response]:
        """A connection of its own, lest a gateway that ended meanwhile is asked on an old one."""
        client = HttpClient("http://localhost", dialled_by=self._dial, direct=True)
        async with asyncio.timeout(TIMEOUT):
            answer = await client.request(method, f"http://localhost{path}", {"Connection": "close"})
        try:
            yield answer
        finally:
            answer.close()
            client.close()

    async def _dial(self, *_: object) -> ClientConnection:
        return (await asyncio.get_running_loop().create_unix_connection(ClientConnection, str(self._socket)))[1]
