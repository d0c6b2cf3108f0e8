"""A route to several members: which they are now, and the sessions that lead there.

Owns who belongs together. Must not know HTTP, nor how answers are merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from weakref import WeakSet

from mcpwatch.gateway.protocol import translation
from mcpwatch.gateway.session.group_session import GroupSession, introduction
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase, UpstreamUnavailable
from mcpwatch.gateway.upstream.member import ServedMember


class GroupTarget:
    """A route to several members."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = None
        self.plain_until = 0.0
        self.members: tuple[ServedMember, ...] = ()
        self._sessions: WeakSet[GroupSession] = WeakSet()

    def serve(self, members: Sequence[ServedMember]) -> None:
        """Lead to these members from now on; open sessions go on with them."""
        if self.members != tuple(members):
            self.members = tuple(members)
            self.plain_until = 0.0
            for session in list(self._sessions):
                session.serve(self.members)

    def changed(self, member: ServedMember) -> None:
        """A member came back: what it lists may be new to open sessions."""
        if member in self.members:
            self.plain_until = 0.0
            for session in list(self._sessions):
                session.tell_changed()

    @property
    def running(self) -> bool:
        """Whether at least one member can take requests now, or there is none to wait for."""
        return not self.members or any(member.main.phase is UpstreamPhase.RUNNING for member in self.members)

    async def ready(self) -> None:
        """Return when at least one member can take requests. Raises `UpstreamUnavailable`."""
        if not self.running:
            results = await asyncio.gather(*(member.main.ready() for member in self.members), return_exceptions=True)
            downs = [result for result in results if isinstance(result, UpstreamUnavailable)]
            if len(downs) == len(self.members):
                raise downs[0]

    def begin(self, owner: str) -> GroupSession:
        """A new session for a client."""
        session = GroupSession(self.members, owner)
        self._sessions.add(session)
        return session

    async def once(self, owner: str) -> tuple[GroupSession, bool]:
        """A session for one stateless request. Raises `UpstreamUnavailable`."""
        await self.ready()
        session = GroupSession(self.members, owner)
        self._sessions.add(session)
        return session, False

    async def passthrough(self) -> None:
        """A group is served by its gateway alone."""

    async def discover(self) -> bytes:
        """What all members together can do."""
        return translation.discovery(introduction(self.members, {}))
