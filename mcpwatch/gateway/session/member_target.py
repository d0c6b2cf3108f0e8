"""A route to one member: its sessions, and the way past them for the stateless wire. Must not know HTTP requests."""

from __future__ import annotations

from mcpwatch.gateway.protocol import translation
from mcpwatch.gateway.session.passthrough_link import Passthrough, speaks
from mcpwatch.gateway.session.session import Session
from mcpwatch.gateway.settings import ToolRules
from mcpwatch.gateway.upstream.lifecycle import UpstreamPhase
from mcpwatch.gateway.upstream.member import ServedMember, trust_of


class MemberTarget:
    """A route to one member."""

    def __init__(self, member: ServedMember) -> None:
        self.member = member
        self.name = member.name
        known, self.counts = member.settings, member.counts
        self._passthrough = Passthrough(member.name, known.url or "", known.headers, trust_of(known), member.counts)
        self._ruled = known.tools != ToolRules()
        self._native = False
        self.plain_until = 0.0
        self._asked_of = 0

    @property
    def running(self) -> bool:
        """Whether the member can take requests now."""
        return self.member.main.phase is UpstreamPhase.RUNNING

    async def ready(self) -> None:
        """Return when the member can take requests. Raises `UpstreamUnavailable`."""
        await self.member.main.ready()

    def begin(self, owner: str) -> Session:
        """A new session for a client."""
        return Session(self.member, owner)

    async def once(self, owner: str) -> tuple[Session, bool]:
        """A session for one stateless request, and whether the member speaks that wire itself. Raises `UpstreamUnavailable`."""
        await self.member.main.ready()
        session = Session(self.member, owner)
        main = self.member.main
        native = main if main.modern else await self.member.stateless()
        if native is not None:
            session.use(native, native=True)
        return session, native is not None

    async def passthrough(self) -> Passthrough | None:
        """The way to the member's URL, if it speaks the stateless wire; asked once per connection. Raises `UpstreamUnavailable`."""
        member = self.member
        if member.settings.url is None or member.kind == "sse" or self._ruled:
            return None
        await member.main.ready()
        if self._asked_of != member.main.generation:
            self._passthrough.client.close()
            self._native = await speaks(self._passthrough)
            self._asked_of = member.main.generation
        return self._passthrough if self._native else None

    async def discover(self) -> bytes:
        """The member's `initialize` answer in the words of `server/discover`. Raises `UpstreamUnavailable`."""
        await self.member.main.ready()
        return translation.discovery(self.member.main.server)
