"""Facts: things that happened, in the past tense, on the bus. A fact has no reply.

Every fact is frozen, carries wall time and says itself in one sentence (`text`). `labels()` are the bounded keys that logs,
metrics and Loki may use; free text never goes there. The tuple `FACTS` at the end is the closed list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.time import WallTime

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """The root of all facts. `at` is wall time; `text` one sentence for people, redacted.

    `name` is that of the class in snake case: `MemberChanged` is `member_changed`.
    """

    name: ClassVar[str] = "fact"
    at: WallTime
    text: str
    level: Level = "info"

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def labels(self) -> dict[str, str]:
        """The bounded keys of this fact, for logs and metrics."""
        keys = ("member", "route", "vantage", "check", "field", "cause", "rung", "client", "receiver", "outcome")
        return {key: str(getattr(self, key)) for key in keys if getattr(self, key, None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberChanged(Fact):
    """A member's want, phase or verdict changed, and why."""

    member: str
    generation: int
    field: Literal["want", "phase", "verdict"]
    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChanged(Fact):
    """A route's verdict as seen through the proxy changed, and why."""

    route: str
    member: str
    old: str
    new: str
    reason: str
    symptom: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStarted(Fact):
    """A new incarnation lives. `adopted` when it was found alive, not started."""

    member: str
    generation: int
    pid: int | None = None
    container: str | None = None
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPreparing(Fact):
    """One step of what a member's runtime does before it can start: an image is pulled or built."""

    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberExited(Fact):
    """An incarnation ended. `planned` when we asked for it; `tail` are its last stderr lines, redacted."""

    member: str
    generation: int
    code: int | None = None
    signal: int | None = None
    oom: bool = False
    planned: bool = False
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFinished(Fact):
    """A probe gave its result. Exactly one of `member`, `route` is the subject; the other says which one it belongs to."""

    member: str
    check: str
    vantage: Vantage
    generation: int
    outcome: str
    result: ProbeResult
    route: str = ""
    lag: float = 0.0
    """Seconds between when the schedule wanted the probe and when it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsChanged(Fact):
    """The contract of a member differs from its baseline or pin; `changes` are lines like `removed tool 'x'`."""

    member: str
    route: str = ""
    severity: Literal["breaking", "compatible", "description"] = "compatible"
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed(Fact):
    """The cause of trouble was named (or, with `cleared`, is gone)."""

    member: str
    cause: str
    evidence: tuple[str, ...] = ()
    affects: tuple[str, ...] = ()
    """Routes that are unhealthy because of it."""
    members: tuple[str, ...] = ()
    """Members that are so too, beside `member`."""
    cleared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairTried(Fact):
    """A rung of the ladder was taken."""

    member: str
    rung: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairProved(Fact):
    """The probe that failed was run again after a repair: `proved` or not."""

    member: str
    rung: str
    cause: str
    outcome: Literal["proved", "failed"]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanApplied(Fact):
    """A configuration took effect."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    retuned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRejected(Fact):
    """A changed configuration was refused; the running one stays."""

    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarted(Fact):
    """The watchdog is up."""

    pid: int
    adopted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopped(Fact):
    """The watchdog leaves; `members_left` when it leaves its members running."""

    members_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchGap(Fact):
    """The watchdog did not watch for a while (suspended, stopped, hung, or not running): that time is unknown, not down."""

    seconds: float
    cause: Literal["stopped", "suspended", "not_running", "clock_step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled(Fact):
    """Something of mcpwatch's own is in trouble (disk full, store set aside, engine gone …) or, with `cleared`, well again."""

    subject: str
    cleared: bool = False
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChanged(Fact):
    """An alert began to fire or was resolved."""

    member: str
    alert: str
    old: str
    new: str
    severity: str = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSent(Fact):
    """A receiver took a notification."""

    receiver: str
    alert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFailed(Fact):
    """A receiver did not take a notification."""

    receiver: str
    alert: str
    permanent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFileWritten(Fact):
    """A client's file was changed, and why."""

    client: str
    path: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFileSkipped(Fact):
    """A client's file was left alone although it differs, and why (drift, broken, locked, unreadable …)."""

    client: str
    path: str
    reason: str = field(default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorActed(Fact):
    """Somebody did something to the fleet over the web address or through the MCP server, or tried to log in and failed."""

    by: str
    action: str
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRotation(Fact):
    """A rotation of the proxy's token began, switched, dropped the old token, or ended with files that still hold that."""

    outcome: Literal["started", "switched", "dropped", "failed"]
    files: tuple[str, ...] = ()


FACTS: tuple[type[Fact], ...] = (
    MemberChanged, RouteChanged, MemberStarted, MemberPreparing, MemberExited, ProbeFinished, ToolsChanged, Diagnosed, RepairTried,
    RepairProved, PlanApplied, ConfigRejected, DaemonStarted, DaemonStopped, WatchGap, Troubled, AlertChanged, NotificationSent,
    NotificationFailed, ClientFileWritten, ClientFileSkipped, OperatorActed, TokenRotation,
)  # fmt: skip
