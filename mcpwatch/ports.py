"""What the rooms need of each other, as Protocols. Rooms import this file and `model`, never one another.

Contracts common to all: every call is bounded in time, raises only `mcpwatch.model.errors`, and never logs or shows a secret.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from mcpwatch.model.fact import Fact
from mcpwatch.model.probe import ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, Traits
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import FleetView, Usage

Publish = Callable[[Fact], None]

CHILD_MARK = "MCPWATCH_CHILD"
"""Environment variable of a stdio server inside a foreign proxy: its route, so that its process can be told from the others."""


@dataclass(frozen=True, slots=True)
class Exited:
    """A runtime saw an incarnation end. `code` and `signal` as the kernel or engine tells; `None` when it cannot be known."""

    member: str
    generation: int
    code: int | None = None
    signal: int | None = None
    oom: bool = False
    detail: str = ""
    final: bool = False
    """Another start would end the same way, and end what this one left."""


@dataclass(frozen=True, slots=True)
class Appeared:
    """A runtime with `supervision = "theirs"` started a new incarnation by itself."""

    member: str
    pid: int | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A runtime lost sight of everything it carries (engine away, gateway down); `back` when it sees again."""

    runtime: str
    detail: str = ""
    back: bool = False


@dataclass(frozen=True, slots=True)
class Preparing:
    """What a runtime does before a member can start, where that takes long: a step of a build, a pull."""

    member: str
    text: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A member was paused where it runs (its container), by whomever; `back` when it runs again."""

    member: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Hindered:
    """What an engine itself says keeps a member from running or being reached: a named cause, and a sentence with its own words.

    Both are empty when nothing does any more. The engine goes on trying by itself, so no restart answers such a cause.
    """

    member: str
    cause: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A member that runs on answers at another place than before: its container has another address."""

    member: str
    generation: int
    direct: Target


RuntimeEvent = Exited | Appeared | Gone | Preparing | Paused | Hindered | Moved


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One living member as its runtime knows it: what adoption finds and `start` returns.

    `direct` is set when only the runtime knows where the member answers (a container's address). `generation` is `None` for one
    that its carrier started while nobody watched: the watchdog gives it its number.
    """

    member: str
    generation: int | None
    fingerprint: str
    pid: int | None = None
    container: str | None = None
    started_at: WallTime | None = None
    direct: Target | None = None


class Runtime(Protocol):
    """Carries members. `supervision` is "theirs" when the carrier itself brings a dead member back (the gateway does)."""

    name: str
    supervision: Literal["ours", "theirs"]

    async def owned(self, specs: Sequence[MemberSpec]) -> tuple[Incarnation, ...]:
        """What already lives and is provably ours; called once, before the first start. Ends what is ours but unwanted."""
        ...

    async def start(self, spec: MemberSpec, generation: int) -> Incarnation:
        """Start a new incarnation; returns as soon as it lives (not when it is ready). Raises `RuntimeFailed`."""
        ...

    def number(self, living: Incarnation) -> None:
        """The generation that the watchdog, which alone counts them, gave to what the carrier started by itself.

        Its end is told with that number, and the next watchdog finds it with it.
        """
        ...

    async def stop(self, spec: MemberSpec, grace: float) -> None:
        """Stop it and everything it started; nothing of it is alive on return. Stopping what is not there is no error."""
        ...

    async def resume(self, spec: MemberSpec) -> None:
        """Let what is stopped (SIGSTOP) or paused of it run again; what runs is left alone. Raises `RuntimeFailed`."""
        ...

    def watch(self) -> AsyncIterator[RuntimeEvent]:
        """Every end of every incarnation, exactly once, as it happens."""
        ...

    def usage(self, member: str) -> Usage | None:
        """What it uses now; cheap, may be a few seconds old."""
        ...

    async def close(self) -> None:
        """Let go of everything without stopping any member."""
        ...


class Fence(Protocol):
    """Whether this watchdog may act: where several stand ready for one fleet, only the one that leads does.

    `term` counts the leaders of the fleet, and is 0 where there is but one watchdog.
    """

    @property
    def term(self) -> int:
        """The term of our lead."""
        ...

    def holds(self) -> bool:
        """Whether we lead at this moment; cheap, asked right before each act."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """The fence of the only watchdog: it always may act."""

    term: int = 0

    def holds(self) -> bool:
        """Always."""
        return True


@runtime_checkable
class Fenced(Protocol):
    """A runtime that asks the fence itself, between a look and the act."""

    fence: Fence


@runtime_checkable
class Replacing(Protocol):
    """A runtime that replaces what runs by its successor, so that a restart begins with no stop (a rollout of a cluster does)."""

    async def release(self, spec: MemberSpec) -> None:
        """The next `start` replaces what runs now. Raises `RuntimeFailed`."""
        ...


@runtime_checkable
class Holding(Protocol):
    """A runtime whose carrier starts its members by itself, but for those that an operator stopped."""

    def hold(self, member: str, *, down: bool) -> None:
        """Have the carrier leave this member down whenever it begins; or not any more. Never raises."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """A runtime whose carrier brings back some of its members by itself, and others not."""

    def supervises(self, spec: MemberSpec) -> Literal["ours", "theirs"]:
        """Who brings this member back when it ended."""
        ...


class Prober(Protocol):
    """Runs checks. One instance serves the whole daemon."""

    async def probe(self, check: CheckSpec, target: Target, vantage: Vantage) -> ProbeResult:
        """Run one check now, within `check.timeout`. Never raises: a broken prober answers `Outcome.UNKNOWN`."""
        ...

    def forget(self, target: Target) -> None:
        """Drop what was learned of this target (its wire, its connections): it is a new incarnation."""
        ...

    async def close(self) -> None:
        """Cancel what runs and close every connection."""
        ...


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A user's own file of a proxy, read and never written: what it says goes into the proxy's file, beside what the plan says.

    `expand` says that its program fills in `$VAR`; `yields` are the keys of ours that give way to the user's.
    """

    path: Path
    expand: bool = False
    yields: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file that a proxy needs: written atomically with `mode` before the proxy starts or reloads, over what `kept` says."""

    path: Path
    text: str
    mode: int = 0o600
    kept: KeptFile | None = None


LogMeaning = Literal["connecting", "mounting", "connected", "failed", "lost", "ready", "bad_config", "exhausted", "polluted"]


@dataclass(frozen=True, slots=True)
class LogHint:
    """What one log line of a proxy means for one of its members (or for the proxy itself when `member` is empty).

    `mounting`: it starts one server after the other, and is at this one.
    `exhausted`: the proxy has no file descriptor left. `polluted`: a server wrote a line to its stdout that is no message.
    """

    member: str
    meaning: LogMeaning
    text: str = ""


@dataclass(frozen=True, slots=True)
class ProxyObservation:
    """What looking at a running proxy showed: its `-help`, its answer to `ProxyKind.asks`, a line of its log. Empty: not seen."""

    usage: str = ""
    status: int = 0
    body: str = ""
    line: str = ""


class ProxyKind(Protocol):
    """What is special about one kind of proxy. Everything here is pure.

    `asks` is the path on the proxy whose answer tells its generation; empty when there is but one.
    """

    name: str
    asks: str

    def render(self, proxy: ProxySpec, directory: Path) -> tuple[RenderedFile, ...]:
        """The files the proxy reads."""
        ...

    def command(self, proxy: ProxySpec, directory: Path) -> tuple[str, ...]:
        """The argv that runs it as a process; never holds a token."""
        ...

    def container(self, proxy: ProxySpec, directory: Path) -> Mapping[str, object]:
        """The keys of a container block that the user may leave out, in the words of the docker runtime."""
        ...

    def routes(self, proxy: ProxySpec, name: str) -> Mapping[Literal["sse", "http"], str]:
        """The public path of member `name` for each wire it serves, from the root of the proxy."""
        ...

    def root(self, proxy: ProxySpec) -> str:
        """Where this machine reaches it when that is not the address it listens on, e.g. `http://mcp-proxy:9090`; else empty."""
        ...

    def hint(self, line: str) -> LogHint | None:
        """What a line of its log means, or `None`."""
        ...

    def learn(self, look: ProxyObservation) -> Traits:
        """The traits that this look shows; the worst that is possible where it shows nothing."""
        ...

    traits: Traits


class Store(Protocol):
    """The durable memory: SQLite. Writes are queued and never block the loop; reads run in a thread."""

    def record(self, fact: Fact) -> None:
        """Keep a fact. Never blocks, never raises."""
        ...

    def remember(self, room: str, key: str, value: str | None) -> None:
        """Keep (or, with `None`, drop) one small value for a room. Never blocks, never raises."""
        ...

    def recall(self, room: str) -> dict[str, str]:
        """All small values of a room, including those just remembered."""
        ...

    async def facts(
        self, *, since: WallTime | None = None, limit: int = 1000, member: str | None = None
    ) -> list[dict[str, object]]:
        """Recorded facts as JSON objects (see `model.json.fact_json`), oldest first; the newest `limit` of them."""
        ...

    async def flush(self) -> None:
        """Return when everything recorded so far is on disk, or cannot be written now."""
        ...


class Fleet(Protocol):
    """What the other rooms may see and ask of the supervised fleet."""

    def view(self) -> FleetView:
        """The fleet as shown, now."""
        ...

    def plan(self) -> Plan:
        """The plan in force."""
        ...

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None:
        """Hand a command to a member's mailbox. Raises `UsageError` for an unknown name."""
        ...

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        """Run the checks of a member or route at once; `(check, vantage, result)` each."""
        ...
