"""A member as the gateway serves it: its settings, its main upstream, and an upstream of its own for sessions that need one.

Owns which session uses which upstream. Must not know wires of clients.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcpwatch import __version__, journal
from mcpwatch.gateway.protocol.message import HANDSHAKE
from mcpwatch.gateway.settings import ServerSettings, ServingLimits
from mcpwatch.gateway.upstream import spawn
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.detect import detect
from mcpwatch.gateway.upstream.interactive_pool import InteractivePool
from mcpwatch.gateway.upstream.lifecycle import LifecycleEvent, UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.link import Ends, Link, StdioLink
from mcpwatch.gateway.upstream.own_requests import DISCOVER, Handshake
from mcpwatch.gateway.upstream.remote import SseLink
from mcpwatch.gateway.upstream.stateless_link import StatelessLink
from mcpwatch.gateway.upstream.streamable_link import HttpLink
from mcpwatch.gateway.upstream.upstream import Upstream
from mcpwatch.http_client.trust import Trust
from mcpwatch.model.session_words import KEPT, LATEST, ONE_SESSION, waits_for_login

CLOSE_LIMIT = 10.0
"""Seconds for the end of one upstream, its process included."""

BEGUN_AHEAD = 2.0
"""Seconds by which a process may be older than the upstream that takes it."""
OWN_LIMIT = 256
"""Sessions of one member that may have an upstream of their own at once."""
SPARED_LIMIT = 32
"""How many upstreams more there may be while those of free seats end to make room."""

PLAIN: dict[str, Any] = {
    "protocolVersion": HANDSHAKE[-1],
    "capabilities": {},
    "clientInfo": {"name": "mcpwatch-gateway", "version": __version__},
}
EVERYTHING: dict[str, Any] = PLAIN | {
    "capabilities": {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
}
ASKABLE = frozenset({"roots", "sampling", "elicitation", "tasks"})
"""Capabilities by which a member may ask its client something; such a session gets an upstream of its own."""


@dataclass(slots=True, eq=False)
class UpstreamTask:
    """An upstream and the task that keeps it."""

    upstream: Upstream
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """End it, bounded."""
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=CLOSE_LIMIT)


class ServedMember:
    """One served member."""

    def __init__(
        self,
        settings: ServerSettings,
        limits: ServingLimits,
        logs: Path | None,
        tell: Callable[[LifecycleEvent], None],
        counts: Counts | None = None,
    ) -> None:
        self.settings = settings
        self.counts = counts or Counts()
        self.name = settings.name
        self._limits = limits
        self._logs = logs
        self._tell = tell
        self._own: set[UpstreamTask] = set()
        self.seats = InteractivePool(self.open_own)
        self._modern: UpstreamTask | None = None
        self._era_of = self._single_of = 0
        hello = EVERYTHING if settings.sessions == "shared" else PLAIN
        self._main = self._run(Handshake(json.dumps(hello).encode()), tell)

    @property
    def main(self) -> Upstream:
        """The upstream that is always kept open."""
        return self._main.upstream

    @property
    def kind(self) -> str:
        """stdio, sse, http or stateless."""
        if self.settings.command is not None:
            return "stdio"
        return self.main.wire or (self.settings.transport if self.settings.transport != "auto" else "http")

    @property
    def _start_limit(self) -> float:
        return max(self._limits.start, self.settings.start_grace)

    @property
    def upstreams(self) -> list[Upstream]:
        """The main upstream and those of single sessions."""
        modern_one = [self._modern.upstream] if self._modern is not None else []
        return [self.main, *modern_one, *(running.upstream for running in self._own)]

    def needs_own(self, capabilities: frozenset[str]) -> bool:
        """Whether a session with these capabilities gets an upstream of its own (ADR 0009)."""
        match self.settings.sessions:
            case "shared":
                return False
            case "isolated":
                return True
            case "auto" if self._single_of == self.main.generation:
                return False
            case "auto":
                return (self.settings.url is not None and not self.main.modern) or bool(
                    capabilities & ASKABLE and not self.main.modern
                )

    def open_own(self, params: bytes) -> UpstreamTask:
        """An upstream for one session, greeted with that client's own words.

        Raises `UpstreamUnavailable` when there are too many in use.
        """
        above = len(self._own) - OWN_LIMIT
        if above >= 0 and (above >= SPARED_LIMIT or not self.seats.spare()):
            raise UpstreamUnavailable(self.name, f"{OWN_LIMIT} sessions have an upstream of their own already", 10)
        running = self._run(Handshake(params, announce=False), lambda _: None)
        self._own.add(running)
        running.task.add_done_callback(lambda _: self._own.discard(running))
        return running

    def one_for_all(self, refused: Upstream) -> bool:
        """Whether it refused this second session as it bears one, which the main upstream has: then all share that, while it lasts.

        Raises `UpstreamUnavailable` where they may not.
        """
        if self.main.phase is not UpstreamPhase.RUNNING or not refused.refused or not ONE_SESSION.search(refused.error or ""):
            return False
        if self.settings.sessions == "isolated":
            raise UpstreamUnavailable(self.name, f"{refused.error} ({KEPT}; sessions: shared would let its clients share that)", 60)
        self._single_of = self.main.generation
        return True

    async def stateless(self) -> Upstream | None:
        """The upstream that speaks the stateless wire, opened when first asked for; `None` when this member knows none.

        A connection to a stdio server belongs to one era, decided by its first message: hence a second process.
        Raises `UpstreamUnavailable`.
        """
        if self.settings.command is None or self._era_of == self.main.generation:
            return None
        if self._modern is None:
            self._modern = self._run(DISCOVER, lambda _: None)
        running = self._modern
        try:
            await running.upstream.ready()
        except UpstreamUnavailable:
            if running.upstream.refused:
                self._era_of = self.main.generation
                self._modern = None
                await running.stop()
                return None
            raise
        return running.upstream

    def nudge(self) -> None:
        """Let every upstream that is not connected connect at once: somebody has seen that the member answers."""
        for upstream in self.upstreams:
            upstream.nudge()

    def retune(self, settings: ServerSettings, limits: ServingLimits) -> None:
        """Take over what can change without another process."""
        self.settings, self._limits = settings, limits
        for upstream in self.upstreams:
            upstream.record.policy = settings.restart
            upstream.start_limit, upstream.mux.call_limit = self._start_limit, limits.call

    async def stop(self) -> None:
        """End every upstream."""
        rest = {*self._own, self._modern} - {None}
        await asyncio.gather(*(running.stop() for running in (self._main, *rest) if running is not None))

    def _run(self, hello: Handshake, tell: Callable[[LifecycleEvent], None]) -> UpstreamTask:
        upstream = Upstream(
            self.name, self._link, hello, tell,
            start_limit=self._start_limit, call_limit=self._limits.call,
            restart=self.settings.restart, counts=self.counts,
        )  # fmt: skip
        upstream.life.share(self._serving)
        upstream.waits = lambda: self._waits_for_login((upstream.started_at or 0.0) - BEGUN_AHEAD)
        return UpstreamTask(upstream, asyncio.get_running_loop().create_task(upstream.run(), name=f"member {self.name}"))

    def _waits_for_login(self, since: float) -> bool:
        """Whether its process wrote since then (epoch seconds) that it waits for a person: to end it takes the login away."""
        if self.settings.command is None or self._logs is None:
            return False
        lines = journal.read(self._logs.parent, self.name, ("stderr",), LATEST, since)
        return bool(waits_for_login([line.text for line in lines]))

    def _serving(self) -> bool:
        """Whether a call is under way, on whatever upstream: a server of one thread answers no ping on any until it is done."""
        return any(upstream.mux.serving for upstream in self.upstreams)

    def _link(self, ends: Ends) -> Link:
        spec = self.settings
        if spec.command is not None:
            return StdioLink(spawn.command(spec, self._logs), ends)
        assert spec.url is not None
        if spec.transport == "auto":
            return _Found(spec.url, spec.headers, ends, trust_of(spec))
        return _KINDS[spec.transport](spec.url, spec.headers, ends, trust_of(spec))


def trust_of(spec: ServerSettings) -> Trust:
    """How TLS to a member by URL is made."""
    return Trust(spec.ca_file, spec.insecure, spec.cert_file, spec.key_file)


_KINDS: dict[str, type[SseLink | HttpLink]] = {"sse": SseLink, "http": HttpLink, "stateless": StatelessLink}


class _Found:
    """A link whose wire is found out when it is opened."""

    pid: int | None = None

    def __init__(self, url: str, headers: tuple[tuple[str, str], ...], ends: Ends, trust: Trust) -> None:
        self._url, self._headers, self._ends, self._trust = url, headers, ends, trust
        self._link: Link | None = None

    @property
    def wire(self) -> str:
        return self._link.wire if self._link is not None else "http"

    async def open(self) -> None:
        kind = _KINDS[await detect(self._url, self._headers, self._trust)]
        self._link = kind(self._url, self._headers, self._ends, self._trust)
        await self._link.open()

    def send(self, data: bytes, number: int | None) -> int:
        return self._link.send(data, number) if self._link is not None else 0

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
