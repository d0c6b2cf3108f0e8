"""What metrics show: of the shipping of logs, and of rooms that telemetry cannot see, as `app` has read it there. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcpwatch.model.time import WallTime


@dataclass(frozen=True, slots=True)
class AlertsNow:
    """How alerting stands: firing by severity, muted by why, waiting in the outbox by receiver, and who is muted on purpose."""

    firing: Mapping[str, int] = field(default_factory=dict[str, int])
    muted: Mapping[str, int] = field(default_factory=dict[str, int])
    waiting: Mapping[str, int] = field(default_factory=dict[str, int])
    silences: int = 0
    maintained: frozenset[str] = frozenset()
    """Members that an operator muted: by a silence or a maintenance window."""


@dataclass(frozen=True, slots=True)
class ObjectiveNow:
    """One objective of one route: `target` and `measured` as a ratio, in seconds or clients; `None`: not known."""

    member: str
    route: str
    name: str
    target: float
    measured: float | None
    budget: float | None
    """Share of the error budget that is left."""


@dataclass(frozen=True, slots=True)
class CallsNow:
    """What the gateway counted of one route since the watchdog began, and its clients when it was last asked."""

    member: str
    route: str
    calls: int
    errors: int
    clients: int


@dataclass(frozen=True, slots=True)
class PromisesNow:
    """How the objectives stand; empty where nothing is known."""

    objectives: tuple[ObjectiveNow, ...] = ()
    calls: tuple[CallsNow, ...] = ()


@dataclass(frozen=True, slots=True)
class Readings:
    """What only other rooms know, asked at each scrape, in the event loop; cheap, and never raises."""

    alerts: Callable[[], AlertsNow] = AlertsNow
    promises: Callable[[], PromisesNow] = PromisesNow
    receivers: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shipping:
    """What the shipper has done since it started, and what is left. `error` is empty while Loki takes what we send."""

    sent: int = 0
    rejected: int = 0
    dropped: tuple[tuple[str, int], ...] = (("too_old", 0), ("spool_full", 0), ("unwritable", 0))
    lost_bytes: int = 0
    pushes: tuple[tuple[str, int], ...] = (("204", 0), ("429", 0), ("500", 0), ("none", 0))
    backlog_bytes: int = 0
    oldest: WallTime | None = None
    dead_bytes: int = 0
    error: str = ""
