"""What open pages are told: one message for all of them, rendered once. Owns the stream `/live`, its memory and its bounds.

While much changes, what happens within most of a second is one message. Rows whose figures moved without an event follow every few
seconds. With no viewer nothing is rendered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from mcpwatch.bus import Bus
from mcpwatch.model.fact import Fact, NotificationFailed, NotificationSent, ProbeFinished

Rendered = dict[str, str]
AT_ONCE = 0.05
"""Seconds that a change after a quiet time waits for those that belong to it."""
GATHER = 0.8
"""Seconds between two messages while much changes."""
KEEPALIVE = 15.0
MOVED_EVERY = 10.0
"""Seconds between two looks for rows whose figures moved."""
AT_MOST = 100
"""Members and routes told of in one message; while more have changed, another message follows."""
KEPT = 64
"""Messages kept for viewers that come back."""
QUEUE = 32
"""Messages that wait for one viewer; one that is slower starts over from the whole page."""
_NOISE = (ProbeFinished, NotificationSent, NotificationFailed)

Render = Callable[[frozenset[str]], Awaitable[tuple[Rendered, str, int]]]
"""Renders the rows of these members and routes (empty: of the next ones in turn): rows by id, the summary, how many are down."""


class Live:
    """The stream of changes. `run` until cancelled."""

    def __init__(self, bus: Bus, render: Render) -> None:
        self._bus = bus
        self._render = render
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._sent: Rendered = {}
        self._subjects: set[str] = set()
        self._kinds: set[str] = set()
        self._wake = asyncio.Event()
        self._said = float("-inf")
        bus.hook(self._hear)

    def _hear(self, fact: Fact) -> None:
        if isinstance(fact, _NOISE):
            return
        if not self._viewers:  # whoever has a page from before this must ask for it again
            self._number += 1
            self._kept.clear()
            return
        self._kinds.add(fact.name)
        for key in ("member", "route", "client"):
            if name := getattr(fact, key, ""):
                self._subjects.add(name)
        self._subjects.update(getattr(fact, "affects", ()), getattr(fact, "members", ()))
        self._wake.set()

    @property
    def mark(self) -> str:
        """The place in the stream of a page made from now on: what changes after it follows when the page opens the stream."""
        return f"{self._number}-{self._boot}"

    async def run(self) -> None:
        """Tell viewers what changed, until cancelled."""
        loop, told = asyncio.get_running_loop(), float("-inf")
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MOVED_EVERY if self._viewers else None):
                    await self._wake.wait()
            self._keep_alive(loop.time())
            if self._wake.is_set():
                await asyncio.sleep(max(AT_ONCE, GATHER - (loop.time() - told)))
            self._wake.clear()
            if self._viewers:
                await self._tell()
            told = loop.time()

    async def _tell(self) -> None:
        subjects, kinds = frozenset(sorted(self._subjects)[:AT_MOST]), sorted(self._kinds)
        self._subjects -= subjects
        self._kinds.clear()
        if self._subjects:
            self._wake.set()
        rows, summary, bad = await self._render(subjects)
        moved = {id_: html for id_, html in rows.items() if self._sent.get(id_) != html}
        self._sent.update(moved)
        if not moved and not kinds and not subjects:
            return
        body = {"subjects": sorted(subjects), "kinds": kinds, "rows": moved, "now": summary, "bad": bad}
        self._broadcast(body)

    def _broadcast(self, body: dict[str, Any]) -> None:
        self._number += 1
        text = f"id: {self._number}-{self._boot}\nevent: change\ndata: {json.dumps(body)}\n\n".encode()
        self._kept.append((self._number, text))
        self._send(text, asyncio.get_running_loop().time())

    def _keep_alive(self, now: float) -> None:
        """Say something after a while of silence: a viewer that is gone is noticed, and a page knows that it is current."""
        if now - self._said >= KEEPALIVE:
            self._send(b"event: beat\ndata: 1\n\n", now)

    def _send(self, text: bytes, now: float) -> None:
        self._said = now
        for viewer in tuple(self._viewers):
            if viewer.full():
                self._drop(viewer)
            else:
                viewer.put_nowait(text)

    def _drop(self, viewer: asyncio.Queue[bytes | None]) -> None:
        """A viewer that reads too slowly starts over: its stream ends, and the browser comes back."""
        self._viewers.discard(viewer)
        while not viewer.empty():
            viewer.get_nowait()
        viewer.put_nowait(None)

    async def stream(self, last_id: str) -> AsyncIterator[bytes]:
        """One viewer's stream: what it missed since `last_id`, or `reset` where that is not known any more, then the changes."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        if not self._viewers:
            self._sent.clear()
            self._said = asyncio.get_running_loop().time()
        self._viewers.add(queue)
        self._wake_runner()
        try:
            yield f"retry: 2000\nid: {self.mark}\nevent: hello\ndata: {self._boot}\n\n".encode()
            for text in self._missed(last_id):
                yield text
            while (text := await queue.get()) is not None:
                yield text
        finally:
            self._viewers.discard(queue)

    def _wake_runner(self) -> None:
        """The runner sleeps without a bound while nobody looks."""
        if len(self._viewers) == 1:
            self._wake.set()

    def _missed(self, last_id: str) -> Iterable[bytes]:
        if not last_id:
            return ()
        number, _, boot = last_id.partition("-")
        if boot != self._boot or not number.isdecimal() or len(number) > 18:
            return (b"event: reset\ndata: 1\n\n",)
        first = self._kept[0][0] if self._kept else self._number + 1
        if int(number) + 1 < first:
            return (b"event: reset\ndata: 1\n\n",)
        return [text for kept, text in self._kept if kept > int(number)]
