"""Facts over HTTP: NDJSON for the command line, server-sent events that can be taken up again for programs and pages.

An event's id is the wall time of its fact and its number in this watchdog (`1800000000.123456-17-a1b2c3d4`): the latest facts are
replayed from memory, older ones and those of an earlier watchdog from the store. Probes that succeed are no events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from mcpwatch.bus import Bus, Subscription
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.fact import Fact, ProbeFinished
from mcpwatch.model.json import fact_json
from mcpwatch.model.time import WallTime
from mcpwatch.ports import Store

KEEPALIVE = 15.0
"""Seconds of silence after which a stream says something, so that a dead reader is noticed."""
KEPT = 512
"""Facts kept in memory for readers that come back."""
VIEWER_QUEUE = 256
"""Facts that wait for one reader; the stream of a reader that is slower ends."""
REPLAYED = 1000
"""Facts replayed from the store at most."""

_ID = re.compile(r"(\d{1,12}\.\d{6})-(\d{1,18})-([0-9a-f]{8})")

Pending = tuple[str, dict[str, Any]]


def quiet(fact: Fact) -> bool:
    """Whether a fact is too common to be an event."""
    return isinstance(fact, ProbeFinished) and fact.outcome == "success"


class Facts:
    """All facts of one watchdog as streams. Make it before the fleet begins."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._recent: deque[tuple[int, Fact]] = deque(maxlen=KEPT)
        bus.hook(self._keep)

    def _keep(self, fact: Fact) -> None:
        if not quiet(fact):
            self._number += 1
            self._recent.append((self._number, fact))

    async def ndjson(self, since: float | None, limit: int, member: str | None, *, follow: bool) -> AsyncIterator[str]:
        """The recorded facts, oldest first, then with `follow` the live ones; an empty line where nothing happens.

        Raises `StoreError` before the first line: what cannot be read is an error, not an empty answer.
        """
        live = self._bus.subscribe() if follow else None
        try:
            at = None if since is None else WallTime(since)
            recorded = await self._store.facts(since=at, limit=limit, member=member) if limit else []
        except McpwatchError:
            if live is not None:
                live.close()
            raise
        return self._lines(recorded, live, member)

    async def _lines(self, recorded: list[dict[str, object]], live: Subscription | None, member: str | None) -> AsyncIterator[str]:
        try:
            for fact in recorded:
                yield json.dumps(fact, ensure_ascii=False) + "\n"
            if live is None:
                return
            yield "\n"
            async for fact in _taken(live):
                if fact is None:
                    yield "\n"
                elif not quiet(fact) and (member is None or getattr(fact, "member", None) == member):
                    yield json.dumps(fact_json(fact), ensure_ascii=False) + "\n"
        finally:
            if live is not None:
                live.close()

    async def sse(self, last_id: str, member: str | None, name: str | None) -> AsyncIterator[str]:
        """Live facts as server-sent events, after those missed since `last_id`. Ends when the reader is too slow."""
        live = self._bus.subscribe(size=VIEWER_QUEUE)
        begin = self._number
        try:
            yield f"retry: 2000\nid: {self._id(None)}\n: {self._boot}\n\n"
            for id_, body in await self._missed(last_id, begin):
                if _wanted(body, member, name):
                    yield _event(id_, body)
            number = begin
            async for fact in _taken(live):
                if live.dropped:
                    return
                if fact is None:
                    yield ": still here\n\n"
                    continue
                if quiet(fact):
                    continue
                number += 1
                body = fact_json(fact)
                if _wanted(body, member, name):
                    yield _event(f"{fact.at:.6f}-{number}-{self._boot}", body)
        finally:
            live.close()

    def _id(self, fact: Fact | None) -> str:
        at = fact.at if fact is not None else (self._recent[-1][1].at if self._recent else 0.0)
        return f"{at:.6f}-{self._number}-{self._boot}"

    async def _missed(self, last_id: str, until: int) -> list[Pending]:
        """What a reader that has seen `last_id` has not seen, up to fact number `until` of this watchdog."""
        found = _ID.fullmatch(last_id)
        if not found:
            return []
        at, number, boot = float(found[1]), int(found[2]), found[3]
        kept = [(kept, fact) for kept, fact in self._recent if kept <= until]
        if boot == self._boot and (number >= until or (kept and kept[0][0] <= number + 1)):
            return [(f"{fact.at:.6f}-{kept_number}-{boot}", fact_json(fact)) for kept_number, fact in kept if kept_number > number]
        stored = await self._store.facts(since=WallTime(at), limit=REPLAYED)
        ids = [(f"{float(str(body.get('at', at))):.6f}-{until}-{self._boot}", body) for body in stored]
        return [(id_, body) for id_, body in ids if float(str(body.get("at", 0.0))) > at + 1e-6]


async def _taken(live: Subscription) -> AsyncIterator[Fact | None]:
    """Facts as they come; `None` after each `KEEPALIVE` of silence. Ends with the subscription."""
    while True:
        fact = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEPALIVE):
                fact = await live.take()
                if fact is None:
                    return
        yield fact


def _wanted(body: dict[str, Any], member: str | None, name: str | None) -> bool:
    return (member is None or member in (body.get("member"), body.get("route"))) and (name is None or body.get("fact") == name)


def _event(id_: str, body: dict[str, Any]) -> str:
    """One event. JSON text holds no line end, so nothing in a fact can begin another field or event."""
    return f"id: {id_}\nevent: fact\ndata: {json.dumps(body, ensure_ascii=True)}\n\n"
