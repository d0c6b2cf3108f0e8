"""Whether one upstream answers now: asked for a client that waits for it, and of a remote upstream that is quiet.

Owns the signs of life of one upstream. Must not know links or restarts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from mcpwatch.gateway.protocol import stateless_protocol
from mcpwatch.gateway.protocol.call import Peer
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.mux import Mux
from mcpwatch.gateway.upstream.own_requests import PendingReply

TICK = 1.0
"""Seconds between looks for calls that waited past their bound."""
PING_EVERY, PING_LIMIT = 15.0, 10.0
"""Seconds between signs of life asked of a remote upstream, and for each."""
NUDGE_LIMIT = 2.0
"""Seconds for the sign of life that a nudge asks of a remote upstream."""
AGAIN = 5.0
"""Seconds after a question without an answer until the next one, while somebody waits."""
FRESH = 0.1
"""Seconds for which a message of the upstream is proof enough that it answers, for a handshake."""


class WatchedUpstream(Protocol):
    """An upstream, as far as its signs of life go."""

    phase: UpstreamPhase
    generation: int

    @property
    def pid(self) -> int | None:
        """The pid of the hosted process, if there is one now."""
        ...

    @property
    def modern(self) -> bool:
        """Whether it is on the stateless wire."""
        ...

    async def ready(self) -> None:
        """Return when requests can be sent. Raises `UpstreamUnavailable`."""
        ...


class SignOfLife:
    """Asks one upstream for signs of life. `drop` ends its connection."""

    def __init__(self, upstream: WatchedUpstream, mux: Mux, own: Peer, drop: Callable[[str], None]) -> None:
        self._upstream, self._mux, self._own, self._drop = upstream, mux, own, drop
        self._serving: Callable[[], bool] = lambda: mux.serving
        self._look = asyncio.Event()
        self._asked: asyncio.Future[bytes] | None = None

    def share(self, serving: Callable[[], bool]) -> None:
        """The server may have more connections than this one; `serving`: whether a call is under way on any of them."""
        self._serving = serving

    def look(self) -> None:
        """Ask for one at once."""
        self._look.set()

    def shown(self, fresh: float) -> bool:
        """Whether the upstream has spoken less than `fresh` seconds ago."""
        return self._mux.heard > time.monotonic() - fresh

    async def prove(self, limit: float, fresh: float = 0.0) -> None:
        """Return when the upstream has spoken, or did so less than `fresh` seconds ago. Who asks while it is asked waits with it.

        Whatever it says is proof, not only the answer to the ping: a server of one thread reports progress and answers no ping.
        Raises `TimeoutError`, `UpstreamUnavailable`.
        """
        async with asyncio.timeout(limit):
            while True:
                await self._upstream.ready()
                now, generation = time.monotonic(), self._upstream.generation
                if self._mux.heard > now - fresh:
                    return
                word = self._mux.next_word
                if self._asked is None or self._asked.done():
                    self._asked = self._ask(limit)
                await asyncio.wait({word, self._asked}, return_when=asyncio.FIRST_COMPLETED)
                if not word.done():  # the ping of somebody with less time ran out, or was not taken: the upstream may still speak
                    await asyncio.wait({word}, timeout=AGAIN)
                if word.done() and self._upstream.phase is UpstreamPhase.RUNNING and self._upstream.generation == generation:
                    return

    async def watch(self) -> None:
        """Look for calls that waited too long; ask a quiet remote upstream for a sign of life, at once when told to.

        Calls in flight are life: a server of one thread answers nothing else until it has answered them, and they have a bound.
        """
        last_ping = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._look.wait()
            now = time.monotonic()
            self._mux.expire(now)
            nudged = self._look.is_set()
            self._look.clear()
            if self._upstream.phase is not UpstreamPhase.RUNNING or self._upstream.pid is not None or self._serving():
                continue
            if nudged or now - last_ping > PING_EVERY:
                last_ping = now
                await self._prove_alive(NUDGE_LIMIT if nudged else PING_LIMIT)

    async def _prove_alive(self, limit: float) -> None:
        """Drop a remote upstream that gives no sign of life in time, unless a client's call came in between."""
        answered, _ = await asyncio.wait(
            {self._mux.next_word, self._ask(limit)}, timeout=limit, return_when=asyncio.FIRST_COMPLETED
        )
        if not answered and not self._serving():
            self._drop("gave no sign of life")

    def _ask(self, limit: float) -> asyncio.Future[bytes]:
        """Send the cheapest request that this upstream must answer."""
        answer = PendingReply()
        asking: tuple[str, dict[str, Any] | None] = ("ping", None)
        if self._upstream.modern:
            asking = ("server/discover", stateless_protocol.QUESTION)
        self._mux.own(*asking, answer, self._own, limit)
        return answer.future
