"""A fleet in virtual time: servers, a proxy and a machine that behave as real ones do, and know the truth about themselves.

Fakes of `ports.Runtime` and `ports.ProbeRunner`. Whatever mcpwatch stops is held against the truth at that moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Fact
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Incarnation, RuntimeEvent
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.proxy import LogHint
from mcpwatch.model.spec import MemberSpec, Traits
from mcpwatch.model.view import Usage

Kind = Literal["process", "url", "hosted", "inside"]
Fault = Literal[
    "none", "hang", "refuse", "auth", "overloaded", "licence", "empty", "dependency", "broken", "child", "wrong_port", "stopped",
    "odd", "half", "moved", "declined", "offline", "held", "garbled", "deaf", "status", "erring", "nameless", "forgets",
]  # fmt: skip
"""What is wrong with a server that runs. `child`: it lists from its memory, but what it bridges is dead. `odd`: clients take what
it answers, checks do not. `half`: half of its answers are errors. `moved`: it answers at another path (404 at its own). `erring`:
it greets, and answers each request by the same error. `forgets`: it ends each session after a few seconds. `declined`: the tool of
its canary refuses each call, all else is well. `offline`: each tool answers with an error of JSON-RPC. `held`: a stranger has its
only session. Of a proxy `garbled`: what stands before it spoils each answer; `deaf`: it says nothing to whoever comes without a
token; `status`: it answers HTTP 500 to everything."""

RESTARTABLE: frozenset[Fault] = frozenset({"hang", "broken", "child", "erring"})
"""Faults that a restart of the server heals."""
OPENS: frozenset[Fault] = frozenset(
    {"none", "forgets", "erring", "empty", "dependency", "child", "broken", "odd", "half", "declined", "offline"}
)
"""Faults with which a session can be opened."""
HONEST: dict[Fault, tuple[Symptom, Stage, str]] = {
    "auth": (Symptom.AUTH, Stage.OPEN, "answered 401 unauthorized"),
    "overloaded": (Symptom.OVERLOADED, Stage.OPEN, "answered 429, too many requests"),
    "licence": (Symptom.RPC_ERROR, Stage.INITIALIZE, "license expired"),
    "empty": (Symptom.EMPTY_TOOLS, Stage.TOOLS_LIST, "no tools listed"),
    "dependency": (Symptom.TOOL_ERROR, Stage.CANARY, "the database does not answer"),
    "broken": (Symptom.BAD_REPLY, Stage.TOOLS_LIST, "no JSON"),
    "nameless": (Symptom.UNRESOLVED, Stage.RESOLVE, "the name nowhere.invalid does not resolve"),
    "erring": (Symptom.RPC_ERROR, Stage.TOOLS_LIST, "tools/list was answered with error -32603: vendor API: log in again"),
    "declined": (Symptom.TOOL_ERROR, Stage.CANARY, "feature not enabled for this workspace"),
    "held": (Symptom.RPC_ERROR, Stage.INITIALIZE, "a client is already connected"),
    "offline": (Symptom.RPC_ERROR, Stage.SAFE_CALL, "backend gone fishing"),
    "moved": (Symptom.NOT_MOUNTED, Stage.OPEN, "GET /m/sse is not served (HTTP 404)"),
}
TBXARK = Traits(
    holds_sessions=True, lists_from_cache=True, mounts_late=False, reconnects=False, reloads=False, dies_on_bad_command=True
)
GATEWAY = Traits(nudges=True)
PROXY = "proxy"
BEHIND = 8001
STALE_TRUTH = 12.0
"""Seconds that a truth may be out of date when mcpwatch acts on it: one probe and its way to a decision."""


@dataclass
class Server:
    """One server and what is true of it."""

    name: str
    kind: Kind
    cold: float = 0.5
    """Seconds from start to its first answer."""
    caches: bool = False
    """It lists from its memory (a TBXark used as a bridge)."""
    late_child: bool = False
    """It answers at once, but serves what it runs only when that is ready."""
    incarnation: int = 0
    alive: bool = False
    ready_at: float = 0.0
    fault: Fault = "none"
    tools: tuple[str, ...] = ("a", "b")
    no_way: str = ""
    """What the proxy says when it tries to reach it, though it answers whoever else asks: a wrong name, a firewall."""
    proxy_url: str = ""
    """Where the proxy reaches it, when that is another place."""
    uncallable: bool = False
    """None of its tools may be called without harm."""
    one_client: bool = False
    """A second client ends it."""
    behind: str = ""
    """The process that serves this url, beside others perhaps."""
    works: bool = False
    """Its processes take the processor."""
    one_session: str = ""
    """What it answers to a second client."""
    bad_until: float = 0.0
    """When it was last in trouble, on the loop's clock."""


@dataclass
class Session:
    """What a proxy has of one upstream: the incarnation it speaks to, when it tries again, how often it failed."""

    incarnation: int = 0
    again: float = 0.0
    failures: int = 0


@dataclass
class Act:
    """Something that mcpwatch did to a healthy part: a fault of the watchdog."""

    at: float
    member: str
    text: str


@dataclass
class World:
    """Everything there is. `traits` are those of the proxy in front."""

    clock: Clock
    loop: asyncio.AbstractEventLoop
    traits: Traits
    servers: dict[str, Server] = field(default_factory=dict[str, Server])
    proxy: Server = field(default_factory=lambda: Server(PROXY, "process", cold=0.2))
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    events: dict[str, asyncio.Queue[RuntimeEvent]] = field(default_factory=dict[str, "asyncio.Queue[RuntimeEvent]"])
    facts: list[Fact] = field(default_factory=list[Fact])
    harm: list[Act] = field(default_factory=list[Act])
    starts: dict[str, int] = field(default_factory=dict[str, int])
    nudged: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    broken_prober: float = 0.0
    """Share of probes that break themselves."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    """The generation that mcpwatch gave each part."""
    closing: bool = False
    held: set[str] = field(default_factory=set[str])
    """Hosted servers that no gateway starts by itself."""
    stale_truth: float = STALE_TRUTH
    hear: Callable[[LogHint], None] = lambda _: None
    """Told of every line of the proxy's log that means something."""
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def now(self) -> float:
        return self.loop.time()

    def pid(self, name: str) -> int:
        """The number of the main process of a part."""
        return 1000 + [PROXY, *self.servers].index(name)

    def of_pid(self, pid: int) -> Server:
        """Whose main process this is."""
        return (self.proxy, *self.servers.values())[pid - 1000]

    def bridges(self, pid: int) -> bool:
        """Whether a part is a bridge whose child lives."""
        server = self.of_pid(pid)
        return server.alive and (server.late_child or server.caches) and server.fault != "child"

    def listening(self, pid: int) -> tuple[int, ...]:
        """The ports that a part listens on."""
        server = self.of_pid(pid)
        if not server.alive or self.now < server.ready_at or server.fault == "refuse":
            return ()
        return (9,) if server.fault == "wrong_port" else (8000,)

    def listener(self, port: int) -> str:
        """Which member serves urls at a port: `BEHIND` is that of the one that serves others."""
        found = next((one.behind for one in self.servers.values() if one.behind), "")
        return found if port == BEHIND and found and self.servers[found].alive else ""

    def behind(self, name: str) -> list[Server]:
        """The urls that a process serves."""
        return [one for one in self.servers.values() if one.behind == name]

    # What is true.

    def serves(self, server: Server) -> bool:
        """Whether a server answers as it should."""
        if server.kind == "inside" and not self.proxy.alive:
            return False
        return server.alive and self.now >= server.ready_at and server.fault == "none"

    def reached(self, name: str) -> bool:
        """Whether the proxy's session with a server is with its present incarnation."""
        return self.sessions[name].incarnation == self.servers[name].incarnation

    def well(self, name: str) -> bool:
        """Whether a client gets an answer of this server through the proxy."""
        return self.serves(self.proxy) and self.serves(self.servers[name]) and self.reached(name) and not self.servers[name].no_way

    def needs_restart(self, server: Server) -> bool:
        """Whether a restart of this part is any use now."""
        if not server.alive or (server.fault in RESTARTABLE or server.fault in {"refuse", "stopped", "status"}):
            return True
        served = [one.fault for one in self.behind(server.name)]
        if "child" in served or (served and all(fault in {*RESTARTABLE, "refuse"} for fault in served)):
            return True
        if server is not self.proxy or self.traits.nudges:
            return False
        lost = [one for one in self.servers.values() if not self.reached(one.name) and (self.serves(one) or one.fault == "forgets")]
        lost = [one for one in lost if not one.no_way]
        within = [one for one in self.servers.values() if one.kind == "inside"]
        return bool(lost) or any(not one.alive or one.fault in {*RESTARTABLE, "stopped"} for one in within)

    def stopping(self, name: str) -> None:
        """mcpwatch ends a part: it had better be sick, now or a moment ago."""
        server = self.proxy if name == PROXY else self.servers[name]
        if self.needs_restart(server) or self.now - server.bad_until < self.stale_truth:
            return
        self.harm.append(Act(self.now, name, f"{name} was restarted though it was well (fault: {server.fault})"))

    def mark(self) -> None:
        """Remember who is in trouble now; called at every change and every second."""
        for server in (self.proxy, *self.servers.values()):
            if self.needs_restart(server):
                server.bad_until = self.now

    # What happens.

    def begin(self, name: str) -> int:
        """A server starts; a proxy that connects only at its start does that now."""
        server = self.proxy if name == PROXY else self.servers[name]
        server.incarnation += 1
        server.alive, server.ready_at = True, self.now + server.cold
        if server.fault in RESTARTABLE or server.fault in {"refuse", "stopped"}:
            server.fault = "none"
        self.starts[name] = self.starts.get(name, 0) + 1
        for one in self.behind(name):
            self.begin(one.name)
        if server is self.proxy:
            self._proxy_began()
        return server.incarnation

    def _proxy_began(self) -> None:
        for one in self.servers.values():
            self.sessions[one.name] = Session()
            if one.no_way:
                self.loop.call_later(0.5, self.hear, LogHint(one.name, "failed", f"<{one.name}> Failed to add: {one.no_way}"))
            if one.kind in ("hosted", "inside") and one.name not in self.held:
                self.begin(one.name)
                if one.kind == "hosted":
                    self._appear(one.name)

    def end(self, name: str, code: int | None = 1) -> None:
        """A server ends by itself."""
        server = self.proxy if name == PROXY else self.servers[name]
        server.alive = False
        for one in self.behind(name):
            one.alive = False
        self.mark()
        if server.kind == "process":
            self.events["process"].put_nowait(Exited(name, self.numbers[name], code))
        elif server.kind == "hosted":
            self.events["hosted"].put_nowait(Exited(name, self.numbers[name], code))
            self.loop.call_later(0.05, self._again, name)
        if server is self.proxy:
            self.proxy_ended()

    def _again(self, name: str) -> None:
        if self.proxy.alive and not self.servers[name].alive:
            self.begin(name)
            self._appear(name)

    def _appear(self, name: str) -> None:
        """The gateway runs a child again."""
        self.events["hosted"].put_nowait(Appeared(name, self.pid(name)))

    def proxy_ended(self) -> None:
        """What it hosts goes with the proxy."""
        for one in self.servers.values():
            if one.kind in ("hosted", "inside"):
                one.alive = False
        if "hosted" in self.events:
            self.events["hosted"].put_nowait(Gone("hosted", "the gateway is away"))

    async def run_proxy(self) -> None:
        """The proxy's own life: connecting, pinging, reconnecting as its kind does."""
        while True:
            await asyncio.sleep(0.5)
            self.mark()
            spoilt = self.proxy.fault in {"status", "garbled", "deaf"}  # of what it answers, not of what it asks
            if not (self.serves(self.proxy) or (spoilt and self.proxy.alive)):
                continue
            for name, session in self.sessions.items():
                self._tend(name, session)

    def _tend(self, name: str, session: Session) -> None:
        server = self.servers[name]
        if self.traits.nudges:
            if session.incarnation and (not self.serves_wire(server) or not self.reached(name)):
                session.incarnation, session.failures, session.again = 0, 1, self.now + 0.5
            patient = server.kind == "hosted" and server.alive and server.fault == "none"  # a handshake that is under way
            if not session.incarnation and (patient or self.now >= session.again):
                self.try_upstream(name)
        elif server.fault == "forgets" and session.incarnation and self.now > self.proxy.ready_at + 6.0:
            session.incarnation = -1  # held, and of no use
        elif not session.incarnation and self.connects(server) and self.serves_wire(server):
            session.incarnation = server.incarnation

    def connects(self, server: Server) -> bool:
        """Whether a proxy that connects only at its start still does."""
        return self.now < self.proxy.ready_at + 2.0 + (server.cold if server.kind == "inside" else 0.0)

    def try_upstream(self, name: str) -> None:
        """The gateway connects to an upstream, or waits longer."""
        session, server = self.sessions[name], self.servers[name]
        if self.serves_wire(server):
            session.incarnation, session.failures = server.incarnation, 0
        else:
            session.failures += 1
            session.again = self.now + min(30.0, 0.5 * 2.0**session.failures)

    def serves_wire(self, server: Server) -> bool:
        """Whether a session can be opened with it, whatever its calls then do."""
        opens = server.fault in OPENS
        return server.alive and self.now >= server.ready_at and opens and not server.no_way

    async def nudge(self, routes: Sequence[str]) -> None:
        for name in routes:
            self.nudged.append((self.now, name))
            if self.serves(self.proxy) and not self.reached(name):
                self.try_upstream(name)


class WorldRuntime:
    """`ports.Runtime` of a world."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.supervision: Literal["ours", "theirs"] = "theirs" if name == "hosted" else "ours"
        self._world = world
        world.events[name] = asyncio.Queue()

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        del specs
        return ()

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        world = self._world
        world.numbers[spec.name] = generation
        if self.name == "hosted":
            while not (world.proxy.alive and world.now >= world.proxy.ready_at):  # noqa: ASYNC110 - time is a number
                await asyncio.sleep(0.1)
            self.hold(spec.name, down=False)
            if not world.servers[spec.name].alive:
                world.begin(spec.name)
        elif self.name == "process":
            await asyncio.sleep(0.01)
            world.begin(spec.name)
        pid = None if self.name == "external" else world.pid(spec.name)
        return Incarnation(spec.name, generation, spec.fingerprint, pid, direct=spec.direct)

    def hold(self, member: str, *, down: bool) -> None:
        """As `ports.Holding`."""
        (self._world.held.add if down else self._world.held.discard)(member)

    def number(self, living: Incarnation) -> None:
        self._world.numbers[living.member] = living.generation or 0

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        del grace
        world = self._world
        server = world.proxy if spec.name == PROXY else world.servers[spec.name]
        if self.name != "external" and not world.closing:
            world.stopping(spec.name)
        await asyncio.sleep(0.05)
        if self.name != "external":
            server.alive = False
            for one in world.behind(spec.name):
                one.alive = False
            if server is world.proxy:
                world.proxy_ended()

    async def resume(self, spec: MemberSpec) -> None:
        server = self._world.proxy if spec.name == PROXY else self._world.servers[spec.name]
        if server.fault == "stopped":
            server.fault = "none"

    async def watch(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._world.events[self.name].get()

    def usage(self, member: str) -> Usage | None:
        del member
        return None

    async def close(self) -> None:
        return
