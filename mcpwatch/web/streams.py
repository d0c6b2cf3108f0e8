"""Event streams towards viewers: so many at once, and none that may hold anything up. Owns the bound and the deadline of a send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from mcpwatch.web.problems import RequestRefused

SEND_TIMEOUT = 10.0
"""Seconds a viewer may take to read what was sent; then its connection is cut."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the writes under way."""


@dataclass(slots=True)
class Viewers:
    """How many streams are open, and how many may be."""

    limit: int
    open: int = 0
    dropped: int = 0
    """Viewers cut off because they read too slowly."""

    writing: dict[object, tuple[float, Any]] = field(default_factory=dict[object, tuple[float, Any]])
    """Writes under way: since when, and the task that waits. One timer looks at all of them: a timer for each write costs more
    than the write."""
    slow: set[object] = field(default_factory=set[object])
    _timer: asyncio.TimerHandle | None = None

    def came(self) -> None:
        """One more stream is open."""
        self.open += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def left(self, stream: EventStream) -> None:
        """A stream has ended."""
        self.open -= 1
        self.writing.pop(stream, None)
        self.slow.discard(stream)

    def _look(self) -> None:
        """End what has waited too long for its viewer."""
        loop = asyncio.get_running_loop()
        for stream, (since, task) in list(self.writing.items()):
            if loop.time() - since > SEND_TIMEOUT and task is not None and stream not in self.slow:
                self.dropped += 1
                self.slow.add(stream)
                task.cancel()
        self._timer = loop.call_later(LOOK_EVERY, self._look) if self.open else None

    def room(self) -> None:
        """Raises `RequestRefused` when one more is too many."""
        if self.open >= self.limit:
            raise RequestRefused(503, f"{self.limit} event streams are open already; try again later", {"Retry-After": "5"})


class EventStream:
    """An ASGI response: the texts of `source` as `media`, until it ends, the viewer leaves, or reads too slowly.

    What goes to many viewers comes as bytes, encoded once.
    """

    def __init__(
        self,
        source: AsyncIterator[str] | AsyncIterator[bytes],
        media: str,
        viewers: Viewers,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
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
        self._viewers.came()
        sending = asyncio.current_task()
        leaving = asyncio.get_running_loop().create_task(_left(receive), name="viewer leaves")
        leaving.add_done_callback(lambda _: sending.cancel() if sending is not None and not sending.done() else None)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            loop = asyncio.get_running_loop()
            async for text in self._source:
                self._viewers.writing[self] = (loop.time(), sending)
                body = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
                await send({"type": "http.response.body", "body": body, "more_body": True})
                del self._viewers.writing[self]
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if self in self._viewers.slow:
                raise ConnectionAbortedError("the viewer reads too slowly") from None
            if not leaving.done():
                raise
        finally:
            self._viewers.left(self)
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
