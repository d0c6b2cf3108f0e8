"""Which wire a target speaks: as its spec says, as remembered, or found out by asking (references/gateways.md §5.4).

What was found is kept per target until `forget`, so that a legacy server is asked once in its life, not at every probe.
"""

from __future__ import annotations

import asyncio
import contextlib

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import LegacyWire
from mcpwatch.checks.rpc import Message
from mcpwatch.checks.stateless import StatelessWire
from mcpwatch.checks.streamable import ACCEPT, StreamableWire
from mcpwatch.checks.wire import Wire
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Target, Transport
from mcpwatch.model.wire import names_sse

DISCOVER_SHARE = 0.3
"""Share of the time left that a server may take to say whether it is modern, when that is not known."""
ASK_PAUSE = 5.0
"""Seconds in which a target that answered on no other wire is not asked so again."""
ERAS_MAX = 50_000
"""Targets whose wire is remembered; beyond it all are forgotten."""
GATES = frozenset(
    {
        Symptom.REFUSED,
        Symptom.UNRESOLVED,
        Symptom.UNREACHABLE,
        Symptom.TLS,
        Symptom.CUT,
        Symptom.AUTH,
        Symptom.HOST_GUARD,
        Symptom.REDIRECT,
        Symptom.OVERLOADED,
        Symptom.UPSTREAM_DOWN,
        Symptom.TOO_LARGE,
    }
)
"""What stands before every wire alike: no other need be tried."""
ANOTHER = frozenset({Symptom.NOT_MOUNTED, Symptom.ERA_MISMATCH, Symptom.HTTP_STATUS, Symptom.REJECTED, Symptom.WRONG_TYPE})
"""What a server of the legacy SSE wire may say to a POST."""


class Eras:
    """The wires found so far, by target."""

    def __init__(self) -> None:
        self._found: dict[str, Transport] = {}
        self._asked: dict[str, float] = {}
        """When a target was last asked in vain for another wire than its own."""

    def may_ask(self, target: Target, now: float) -> bool:
        """Whether a target may be asked for another wire than its own: not again and again where it has none."""
        return now - self._asked.get(target.url, -ASK_PAUSE) >= ASK_PAUSE

    def asked(self, target: Target, vain: float | None) -> None:
        """A target was asked for another wire, `vain` at that time."""
        self._asked.pop(target.url, None)
        if vain is not None:
            if len(self._asked) >= ERAS_MAX:
                self._asked.clear()
            self._asked[target.url] = vain

    def get(self, target: Target) -> Transport | None:
        """The wire that this target was found to speak."""
        return self._found.get(target.url)

    def keep(self, target: Target, wire: Transport) -> None:
        """Remember the wire of a target."""
        if len(self._found) >= ERAS_MAX:
            self._found.clear()
        self._found[target.url] = wire

    def forget(self, target: Target) -> None:
        """Find out anew next time."""
        self._found.pop(target.url, None)
        self._asked.pop(target.url, None)


class FoundWire:
    """A wire that finds out which one it is. `open` asks as little as needed and remembers the answer."""

    def __init__(self, caller: ProbeHttp, eras: Eras) -> None:
        self._caller = caller
        self._eras = eras
        self._modern = StatelessWire(caller)
        self._wire: Wire = self._modern

    @property
    def name(self) -> Transport:
        """The wire found."""
        return self._wire.name

    @property
    def digest(self) -> bytes:
        """A digest of the latest answer."""
        return self._wire.digest

    @property
    def server(self) -> ServerInfo:
        """What the server said of itself."""
        return self._wire.server

    @property
    def hello(self) -> Message:
        """The whole result of the handshake."""
        return self._wire.hello

    async def open(self) -> None:
        """Open the remembered wire, or find one."""
        target = self._caller.target
        known = self._eras.get(target)
        if known is None:
            await self._find()
            self._eras.keep(target, self._wire.name)
            return
        self._wire = made(known, self._caller)
        try:
            await self._wire.open()
        except ProbeFailure as failure:
            if failure.symptom in ANOTHER:
                self._eras.forget(target)
            raise

    async def call(self, method: str, params: Message) -> Message:
        """Send a request over the wire found."""
        return await self._wire.call(method, params)

    async def close(self) -> None:
        """End the session of the wire found."""
        await self._wire.close()

    def abort(self) -> None:
        """Drop everything at once."""
        self._wire.abort()

    def remarks(self) -> list[ProbeFailure]:
        """What the wire found has to remark."""
        return self._wire.remarks()

    def silence(self, stage: Stage) -> ProbeFailure | None:
        """What the wire found makes of a passed deadline."""
        return self._wire.silence(stage)

    async def _find(self) -> None:
        told: ProbeFailure | None = None
        late = False
        await self._caller.transport.prepare(self._caller.url)  # a slow name server or network is no server that says nothing
        try:
            async with asyncio.timeout(self._caller.timeline.left * DISCOVER_SHARE):
                await self._wire.open()
        except TimeoutError:
            late = True
            self._caller.transport.abort()
        except ProbeFailure as failure:
            if not _open_question(failure):
                raise
            failure.stage = Stage.DISCOVER
            told = failure if failure.versions else None
            await self._end_stray_session()
        else:
            return None
        first = await self._not_streamable()
        if first is None:
            return None
        if late and first.symptom is Symptom.ERA_MISMATCH:
            # a modern server that only began slowly: it has begun now
            self._wire = self._modern
            return await self._wire.open()
        self._wire = LegacyWire(self._caller)
        try:
            await self._wire.open()
        except ProbeFailure as failure:
            if failure.symptom in ANOTHER:
                # no other wire is served here: the versions it told, or what the POST said, is the better answer
                raise told or first from failure
            raise

    async def _not_streamable(self) -> ProbeFailure | None:
        """Open the Streamable HTTP wire; the failure when that is not the wire served here, so that another may be tried."""
        self._wire = StreamableWire(self._caller)
        try:
            await self._wire.open()
        except ProbeFailure as failure:
            if failure.symptom not in ANOTHER or self._caller.timeline.stage is not Stage.INITIALIZE:
                raise
            failure.stage = Stage.INITIALIZE
            return failure
        return None

    async def _end_stray_session(self) -> None:
        """Some old servers open a session for any POST, even one they refuse: leave none behind."""
        if self._modern.stray_session:
            with contextlib.suppress(ProbeFailure):
                await self._caller.delete((ACCEPT, ("Mcp-Session-Id", self._modern.stray_session)))


def _open_question(failure: ProbeFailure) -> bool:
    """Whether a failed discover leaves open what the server speaks."""
    return failure.symptom not in GATES


def made(wire: Transport, caller: ProbeHttp) -> Wire:
    """A wire of the given kind."""
    if wire == "sse":
        return LegacyWire(caller)
    return StatelessWire(caller) if wire == "stateless" else StreamableWire(caller)


def choose(caller: ProbeHttp, eras: Eras) -> Wire:
    """The wire for a target: as its spec says; a path that ends in `/sse` is legacy; else one that finds out."""
    transport = caller.target.transport
    if transport == "auto":
        return LegacyWire(caller) if names_sse(caller.target.url) else FoundWire(caller, eras)
    return made(transport, caller)
