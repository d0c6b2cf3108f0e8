"""Event streams towards viewers: so many at once, and none that may hold anything up. Owns the bound and the deadline of a send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from mcpwatch.web.problems import Refused

SEND_TIMEOUT = 10.0
"""Seconds a viewer may take to read what was sent; then its connection is cut."""


@dataclass(slots=True)
class Viewers:
    """How many streams are open, and how many may be."""

    limit: int
    open: int = 0
    dropped: int = 0
    """Viewers cut off because they read too slowly."""

    def room(self) -> None:
        """Raises `Refused` when one more is too many."""
        if self.open >= self.limit:
            raise Refused(503, f"{self.limit} event streams are open already; try again later", {"Retry-After": "5"})


class EventStream:
    """An ASGI response: the texts of `source` as `media`, until it ends, the viewer leaves, or reads too slowly."""

    def __init__(self, source: AsyncIterator[str], media: str, viewers: Viewers, closed: Callable[[], None] = lambda: None) -> None:
        self._source = source
        self._media = media
        self._viewers = viewers
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve it."""
        headers = [
            (b"content-type", f"{self._media}; charset=utf-8".encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self._viewers.open += 1
        sending = asyncio.current_task()
        leaving = asyncio.get_running_loop().create_task(_left(receive), name="viewer leaves")
        leaving.add_done_callback(lambda _: sending.cancel() if sending is not None and not sending.done() else None)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for text in self._source:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._viewers.dropped += 1
            raise ConnectionAbortedError("the viewer reads too slowly") from None
        except asyncio.CancelledError:
            if not leaving.done():
                raise
        finally:
            self._viewers.open -= 1
            leaving.cancel()
            self._closed()
            close = getattr(self._source, "aclose", None)
            if close is not None:
                with contextlib.suppress(RuntimeError):
                    await close()


async def _left(receive: Receive) -> None:
    """Return when the viewer has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
