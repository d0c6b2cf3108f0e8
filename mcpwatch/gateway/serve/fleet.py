"""All members of one gateway: started side by side, changed by diff on reload, told about to whoever listens.

Owns which members exist. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcpwatch.gateway.settings import ServerSettings, ServingLimits, Settings
from mcpwatch.gateway.upstream.answer_record import Counts
from mcpwatch.gateway.upstream.lifecycle import LifecycleEvent
from mcpwatch.gateway.upstream.member import ServedMember

SETTLE_LOOK = 0.02
"""Seconds between looks for requests under way when the gateway stops."""
LISTENER_EVENTS = 1000
"""Events kept for a listener that does not read; the oldest goes first."""

log = logging.getLogger("mcpwatch.gateway")


class ServedMembers:
    """The members being served, by name."""

    def __init__(self, logs: Path | None, connected: Callable[[str], None]) -> None:
        self.members: dict[str, ServedMember] = {}
        self._logs = logs
        self._connected = connected
        self._limits = ServingLimits()
        self._replica = ""
        self._counts: defaultdict[str, Counts] = defaultdict(Counts)
        self._listeners: set[asyncio.Queue[tuple[str, dict[str, Any]]]] = set()
        self.sequence = 0
        """How many events there were: what a document shows and what an event says can be put in order by it."""

    async def apply(self, settings: Settings, serve: Callable[[dict[str, ServedMember]], None]) -> list[str]:
        """Serve these settings: only members whose settings changed are touched. Returns their names."""
        wanted = {server.name: server for server in settings.servers}
        self._limits, self._replica = settings.limits, settings.replica
        old = self.members
        kept = {name: member for name, member in old.items() if wanted.get(name) == member.settings}
        for name, member in kept.items():
            member.retune(wanted[name], settings.limits)
        gone = [member for name, member in old.items() if name not in kept]
        self.members = {name: kept.get(name) or self._start(server, settings.held) for name, server in wanted.items()}
        changed = sorted({member.name for member in gone} | (wanted.keys() - kept.keys()))
        serve(self.members)
        if gone:
            await asyncio.gather(*(member.stop() for member in gone))
        if old:
            self.tell("reloaded", {"changed": changed})
        return changed

    async def settle(self, limit: float) -> None:
        """Return when no member has a request to answer, after `limit` seconds at the latest."""
        for _ in range(int(limit / SETTLE_LOOK)):
            if not any(upstream.mux.busy for one in self.members.values() for upstream in one.upstreams):
                return
            await asyncio.sleep(SETTLE_LOOK)

    async def stop(self) -> None:
        """End every member, side by side."""
        members, self.members = list(self.members.values()), {}
        await asyncio.gather(*(member.stop() for member in members))

    def listen(self) -> asyncio.Queue[tuple[str, dict[str, Any]]]:
        """Hear what happens from now on; give the queue back to `unlisten`."""
        queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(LISTENER_EVENTS)
        self._listeners.add(queue)
        return queue

    def unlisten(self, queue: asyncio.Queue[tuple[str, dict[str, Any]]]) -> None:
        """Hear no more."""
        self._listeners.discard(queue)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Tell every listener, now."""
        self.sequence += 1
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((name, data | {"at": time.time(), "sequence": self.sequence}))

    def show(self) -> list[dict[str, Any]]:
        """Every member as the admin API shows it."""
        return [show(member) for member in self.members.values()]

    def _start(self, server: ServerSettings, held: frozenset[str]) -> ServedMember:
        member = ServedMember(server, self._limits, self._logs, self._happened, self._counts[server.name])
        member.seats.replica = self._replica
        if server.command is not None and server.name in held:
            member.main.hold()  # before its task has begun
        return member

    def _happened(self, happening: LifecycleEvent) -> None:
        text = {key: value for key, value in asdict(happening).items() if key not in {"name", "member"} and value is not None}
        log.info("%s: %s %s", happening.member, happening.name, text)
        if happening.name == "connected" and happening.generation > 1:
            self._connected(happening.member)
        self.tell(happening.name, asdict(happening) | {"event": happening.name})


def show(member: ServedMember) -> dict[str, Any]:
    """One member as the admin API shows it."""
    main, muxes = member.main, [upstream.mux for upstream in member.upstreams]
    calls, asks = [call for mux in muxes for call in mux.of_clients], any(mux.questions.waiting for mux in muxes)
    exit_ = main.last_exit
    return {
        "name": member.name,
        "kind": member.kind,
        "phase": main.phase.value,
        "pid": main.pid,
        "generation": main.generation,
        "started_at": main.started_at,
        "restarts": member.counts.restarts,
        "last_exit": {"code": exit_.code, "signal": exit_.signal} if exit_ else None,
        "error": main.error,
        "sessions": sum(mux.peers for mux in muxes),
        "tool_calls": member.counts.tool_calls,
        "tool_errors": member.counts.tool_errors,
        "in_flight": sum(mux.in_flight for mux in muxes),
        **member.counts.lately.show(calls, asks=asks),
        "children": sum(upstream.pid is not None for upstream in member.upstreams),
        "stdout_pollution": member.counts.polluted,
    }
