"""Client sessions by id, and their open streams: found, kept awake, reaped when idle, bounded per token.

Owns the registry. Must not know what a session leads to.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable

from mcpwatch.gateway.http.http_exchange import OpenStream
from mcpwatch.gateway.session.mcp_request import KEEP_ALIVE, McpRequest
from mcpwatch.gateway.session.target import ClientSession, RouteTarget
from mcpwatch.gateway.session.visits import LATELY, Visits
from mcpwatch.gateway.settings import ServingLimits

TICK = 1.0
"""Seconds between looks for idle sessions."""

COSTLY_IDLE = 300.0
"""Seconds without a stream or a request after which a session with a process of its own is closed, at the latest."""

log = logging.getLogger("mcpwatch.gateway")


class TooMany(Exception):
    """A token holds all the sessions it may."""


class ClientSessions:
    """Every open client session."""

    def __init__(self, limits: ServingLimits) -> None:
        self.limits = limits
        self.replica = ""
        """What stands before the id of each session where there are several gateways: the name of this one."""
        self.visits = Visits()
        self.slow = 0
        self.reaped = 0
        self._dropped = 0
        self._by_id: dict[str, tuple[ClientSession, RouteTarget]] = {}
        self._owned: Counter[str] = Counter()
        self._streams: set[OpenStream] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def owners(self) -> frozenset[str]:
        """Marks of the tokens that hold a session now."""
        return frozenset(self._owned)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def streams(self) -> int:
        """How many event streams are open."""
        return len(self._streams)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because their client had no stream open, in sessions that are over too."""
        return self._dropped + sum(session.dropped for session, _ in self._by_id.values())

    def clients(self) -> Counter[str]:
        """Clients at once, by the member that serves them: sessions with a stream or a request open, or used a moment ago, and
        clients of the stateless wire by the same measure.

        A session that its client left without a word is open for `session_idle` and is no client all that time.
        """
        now, found = time.monotonic(), Counter(name for name, _ in self.visits.clients())
        for session, _ in self._by_id.values():
            if not session.checking and (session.open or now - session.seen < LATELY):
                for name in session.served_by:
                    found[name] += 1
        return found

    def begin(self, request: McpRequest) -> ClientSession:
        """A new session. Raises `TooMany`."""
        if self._owned[request.owner] >= self.limits.sessions_per_token:
            raise TooMany
        session = request.target.begin(request.owner)
        session.checking = request.checking
        if self.replica:
            session.id = f"{self.replica}.{session.id}"
        self._by_id[session.id] = session, request.target
        self._owned[request.owner] += 1
        return session

    def find(self, request: McpRequest, wanted: str) -> ClientSession | None:
        """The session with this id, if the same token opened it on the same route."""
        session, target = self._by_id.get(wanted, (None, None))
        if session is None or session.owner != request.owner or target is not request.target:
            return None
        return session

    def drop(self, session: ClientSession) -> None:
        """End a session; what of that takes time, in the background."""
        if self._forget(session) and (rest := session.end()) is not None:
            task = asyncio.get_running_loop().create_task(rest, name="session close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def keep(self, targets: set[RouteTarget]) -> None:
        """End the sessions of targets that are gone."""
        for session, target in list(self._by_id.values()):
            if target not in targets:
                self.drop(session)

    def carry(self, session: ClientSession, stream: OpenStream, after: int | None = None, *, last: bool = False) -> None:
        """Let a stream carry what belongs to no request of a session, from behind event `after`, until something ends it.

        `last`: the session ends with it. No task waits for that end.
        """
        write = stream.raw if session.resumable else stream.write
        session.connect(write, after)
        self._begin_stream(session, stream)
        stream.ended.add_done_callback(functools.partial(self._carried, session, stream, write, last))

    async def hold(self, session: ClientSession, stream: OpenStream) -> None:
        """Return when a stream of a session has ended; it is kept awake until then."""
        self._begin_stream(session, stream)
        try:
            self.slow += await stream.ended == "slow"
        finally:
            self._end_stream(session, stream)

    async def run(self) -> None:
        """Keep streams awake and reap idle sessions, until cancelled."""
        turn = 0
        while True:
            await asyncio.sleep(TICK)
            turn += 1
            if turn % int(KEEP_ALIVE / TICK) == 0:
                self._freshen()
            now = time.monotonic()
            for session, target in [pair for pair in self._by_id.values() if self._idle(pair[0], now)]:
                log.info("%s: a session was idle for %g s and is closed", target.name or "all", now - session.seen)
                self.reaped += 1
                self.drop(session)

    def _begin_stream(self, session: ClientSession, stream: OpenStream) -> None:
        self._streams.add(stream)
        session.pipes.add(stream)
        session.open += 1

    def _end_stream(self, session: ClientSession, stream: OpenStream) -> None:
        session.open -= 1
        session.seen = time.monotonic()
        session.pipes.discard(stream)
        self._streams.discard(stream)

    def _carried(
        self, session: ClientSession, stream: OpenStream, write: Callable[[bytes], None], last: bool, ended: asyncio.Future[str]
    ) -> None:
        """A stream has come to its end."""
        self._end_stream(session, stream)
        session.disconnect(write)
        if last:
            self.drop(session)
        self.slow += ended.result() == "slow"
        stream.finish()

    def _freshen(self) -> None:
        now = time.monotonic()
        for stream in list(self._streams):
            stream.raw(b": ping\r\n\r\n")
        for session, _ in self._by_id.values():
            session.expire(now)

    def _idle(self, session: ClientSession, now: float) -> bool:
        idle = now - session.seen if not session.open else 0.0
        return idle > self.limits.session_idle or (idle > COSTLY_IDLE and session.costly)

    def end(self) -> None:
        """End every stream, so that running requests finish."""
        for stream in list(self._streams):
            stream.end("stop")

    def _forget(self, session: ClientSession) -> bool:
        if self._by_id.pop(session.id, None) is None:
            return False
        self._dropped += session.dropped
        self._owned[session.owner] -= 1
        if self._owned[session.owner] <= 0:
            del self._owned[session.owner]
        return True
