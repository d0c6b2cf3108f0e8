"""Whether requests can be sent to one upstream now, and the waiting for it.

Owns its phase. Must not know links or the handshake.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable

READY_WAIT = 10.0
"""Seconds that a request waits for a member which has just begun to start."""
SOON = 0.6
"""A request waits for a start that is at most this many seconds away."""
RENEW_WAIT = 5.0
"""Seconds that a request waits for a dying member to be gone, or for a slow one to read."""

RESTING = frozenset({UpstreamPhase.BACKOFF, UpstreamPhase.FAILED, UpstreamPhase.ENDED})
"""Phases in which nothing is open and a next start is due, or is not."""

UNTIL_ASKED = 60.0
"""Seconds after which a caller is advised to ask again when no next start is due."""


class Availability:
    """The phase of one upstream, by name. `refused`: it answered the handshake with no, and waiting does not help."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.phase = UpstreamPhase.STARTING
        self.generation: int = 0
        self.error: str | None = None
        """Why it is not there, in words."""
        self.refused = False
        self._changed, self._nudge = asyncio.Event(), asyncio.Event()
        self._since, self._retry_at = time.monotonic(), 0.0

    async def ready(self) -> None:
        """Return when requests can be sent. Raises `UpstreamUnavailable`, at once unless a start has just begun."""
        while self.phase is not UpstreamPhase.RUNNING:
            now = time.monotonic()
            left = self._since + READY_WAIT - now
            soon = self.phase is UpstreamPhase.STARTING or (self.phase is UpstreamPhase.BACKOFF and self._retry_at - now < SOON)
            if not soon or left <= 0 or self.refused:
                raise self.down()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                raise self.down() from None

    async def renewed(self, generation: int) -> None:
        """Return when a later incarnation can take requests, or soon, when this one is only slow to read.

        Raises `UpstreamUnavailable`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(RENEW_WAIT):
                while self.phase is UpstreamPhase.RUNNING and self.generation == generation:
                    await self._changed.wait()
        await self.ready()

    def down(self) -> UpstreamUnavailable:
        """Why requests cannot be sent now."""
        wait = max(1, round(self._retry_at - time.monotonic())) if self.phase in RESTING else 1
        said = {UpstreamPhase.STARTING: "it is starting", UpstreamPhase.HELD: "it is stopped"}
        reason = said.get(self.phase) or self.error or "it is not connected"
        return UpstreamUnavailable(self.name, reason, 60 if self.phase is UpstreamPhase.HELD else wait)

    def _enter(self, phase: UpstreamPhase) -> None:
        self.phase = phase
        self._since = time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _pause(self, phase: UpstreamPhase, delay: float | None) -> bool:
        """Wait `delay` seconds (`None`: without end) or until nudged. Whether the time was waited for."""
        self._retry_at = time.monotonic() + (UNTIL_ASKED if delay is None else delay)
        self._nudge.clear()
        self._enter(phase)
        try:
            async with asyncio.timeout(delay):
                await self._nudge.wait()
        except TimeoutError:
            return True
        return False
