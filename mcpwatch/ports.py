"""What the rooms need of each other, as Protocols. Rooms import this file and `model`, never one another.

What a runtime tells of a member and what a proxy reads and says is frozen data in `model`.

Contracts common to all: every call is bounded in time, raises only `mcpwatch.model.errors`, and never logs or shows a secret.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeGuard, runtime_checkable

from mcpwatch.model.fact import Fact
from mcpwatch.model.incarnation import (
    Incarnation,
    RuntimeEvent,
    Started,
)
from mcpwatch.model.probe import ProbeResult, Target, Vantage
from mcpwatch.model.proxy import LogHint, ProxyObservation, RenderedFile
from mcpwatch.model.spec import CheckSpec, MemberSpec, Plan, ProxySpec, Traits
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import FleetView, Usage

Publish = Callable[[Fact], None]

CHILD_MARK = "MCPWATCH_CHILD"
"""Environment variable of a stdio server inside a foreign proxy: its route, so that its process can be told from the others."""


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
class Reminded(Protocol):
    """A runtime that keeps records which may be lost or late, and then asks what the store has of a member's latest start."""

    def remind(self, started: Mapping[str, Started]) -> None:
        """Said by member before `owned`."""
        ...


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


def shares(runtime: object) -> TypeGuard[Sharing]:
    """Whether a runtime is `Sharing`: asked at each result of a check, where `isinstance` takes thirty times as long."""
    return hasattr(runtime, "supervises")


class ProbeRunner(Protocol):
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


class ProxyKind(Protocol):
    """What is special about one kind of proxy. Everything here is pure.

    `asks` is the path on the proxy whose answer tells its generation; empty when there is but one.
    """

    name: str
    asks: str = ""

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

    def root(self, proxy: ProxySpec) -> str:  # noqa: ARG002
        """Where this machine reaches it when that is not the address it listens on, e.g. `http://mcp-proxy:9090`; else empty."""
        return ""

    def hint(self, line: str) -> LogHint | None:
        """What a line of its log means, or `None`."""
        ...

    def learn(self, look: ProxyObservation) -> Traits:  # noqa: ARG002
        """The traits that this look shows; the worst that is possible where it shows nothing. By default it has but one."""
        return self.traits

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


class SupervisedFleet(Protocol):
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
