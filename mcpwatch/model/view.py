"""The fleet as shown: what `mcpwatch status`, the page, metrics, alerts and client sync all read. Frozen and free of secrets.

`FleetView` is the one value that crosses rooms; its JSON form (`mcpwatch.model.json`) is versioned and documented in
`docs/reference/status.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.time import WallTime

STATUS_VERSION = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """What a member's whole process tree uses now. `cpu` is percent of one core over the last sample, `rss` bytes."""

    pid: int | None = None
    started_at: WallTime | None = None
    cpu: float = 0.0
    cpu_seconds: float = 0.0
    rss: int = 0
    fds: int = 0
    processes: int = 0
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One named cause with its evidence. `cause` is a stable identifier, `text` one sentence for people.

    `subject` is the member to be repaired; `rung` the lowest repair that fits, `None` when a restart cannot help.
    """

    cause: str
    subject: str
    text: str
    evidence: tuple[str, ...] = ()
    rung: str | None = None
    affects: tuple[str, ...] = ()
    """Names of the routes that are unhealthy because of this."""
    hold: str = ""
    """Why the rung has to wait, when it has to."""
    members: tuple[str, ...] = ()
    """Names of the members, beside the subject, that are unhealthy because of this: what it carries falls with it."""
    next: str = ""
    """What will really be done next, or what a person should look at, in words."""

    def explains(self, *, member: str = "", route: str = "") -> bool:
        """Whether it is the cause of what is wrong with this member, or with this route. Names of the two are never mixed."""
        return (bool(member) and member in (self.subject, *self.members)) or (bool(route) and route in self.affects)


@dataclass(frozen=True, slots=True)
class ProbeView:
    """The latest probe of one check from one vantage."""

    check: str
    vantage: Vantage
    at: WallTime
    result: ProbeResult
    failures: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member as shown."""

    name: str
    kind: str
    runtime: str
    want: Want
    phase: Phase
    verdict: Verdict
    generation: int
    restarts: int = 0
    usage: Usage = Usage()
    since: WallTime | None = None
    """When the phase was entered."""
    verdict_since: WallTime | None = None
    reason: str = ""
    """Why the phase or verdict is what it is, in words."""
    last_exit: str = ""
    diagnosis: Diagnosis | None = None
    probes: tuple[ProbeView, ...] = ()
    retry_at: WallTime | None = None
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class RouteView:
    """One route as shown. `tools` is the number of tools last listed through the proxy, `None` when never listed."""

    name: str
    member: str
    url: str
    verdict: Verdict
    http_url: str | None = None
    tools: int | None = None
    tokens: int | None = None
    last_success: WallTime | None = None
    verdict_since: WallTime | None = None
    symptom: str = ""
    message: str = ""
    diagnosis: Diagnosis | None = None
    probes: tuple[ProbeView, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceDown:
    """A service of the watchdog itself (`alerts`, `clients`, `telemetry` …) that failed and does not run again yet."""

    name: str
    reason: str
    since: WallTime


@dataclass(frozen=True, slots=True)
class SelfView:
    """The watchdog itself: `loop_lag` and `schedule_lag` in seconds (worst of the last minute)."""

    pid: int
    version: str
    started_at: WallTime
    state_dir: str = ""
    config: str = ""
    config_error: str = ""
    rss: int = 0
    fds: int = 0
    cpu_seconds: float = 0.0
    loop_lag: float = 0.0
    schedule_lag: float = 0.0
    dropped_facts: int = 0
    web: str = ""
    """Where the status page is; empty while it is not served."""
    down: tuple[ServiceDown, ...] = ()
    """What the watchdog itself cannot do now: what these services show is not known."""
    troubles: tuple[ServiceDown, ...] = ()
    """What else it cannot do now, as keep logs on a full disk: each until it is over."""
    carries: int = 0
    """Members that the limit of open files carries; 0 when it has no bound."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """The whole fleet at one moment."""

    at: WallTime
    daemon: SelfView
    proxy: str | None = None
    """Name of the proxy member, if the fleet has one."""
    members: tuple[MemberView, ...] = ()
    routes: tuple[RouteView, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()

    def member(self, name: str) -> MemberView | None:
        """The member of that name, or `None`."""
        return next((member for member in self.members if member.name == name), None)

    def route(self, name: str) -> RouteView | None:
        """The route of that name, or `None`."""
        return next((route for route in self.routes if route.name == name), None)

    @property
    def healthy(self) -> bool:
        """Whether every member that should be up is healthy or unchecked-but-running, and every route is healthy."""
        members = all(
            member.phase is Phase.RUNNING and member.verdict in (Verdict.HEALTHY, Verdict.UNKNOWN)
            for member in self.members
            if member.want is Want.UP
        )
        up = {member.name for member in self.members if member.want is Want.UP}
        return (
            bool(self.members) and members and all(route.verdict is Verdict.HEALTHY for route in self.routes if route.member in up)
        )
