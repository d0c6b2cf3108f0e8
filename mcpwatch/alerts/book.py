"""The book: every alert that is open or was lately, who was notified, what mutes it. Frozen data and its JSON; decides nothing.

Alert.state    PENDING (true, but not for long enough) → FIRING → RESOLVED;  a pending alert may resolve without ever firing
Alert.active   whether the condition is true right now; the state follows it, damped
Told           what one receiver believes: it was told FIRING, and later RESOLVED, of this alert
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter

from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Diagnosis


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 2 for critical."""
        return ("info", "warning", "critical").index(self.value)


class Reason(StrEnum):
    """Why a notification is sent."""

    FIRST = "first"
    UNMUTED = "unmuted"
    ESCALATED = "escalated"
    REPEAT = "repeat"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """What one receiver was told of one alert, and when last."""

    receiver: str
    group: str
    at: WallTime
    last_at: WallTime
    state: AlertState = AlertState.FIRING
    times: int = 1
    failed: str = ""
    """Why that never reached it; empty where it did, or still may."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody is on it: no repeats and no escalation until it resolves."""

    by: str
    at: WallTime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One condition on one subject. `since` is when it became true, `why` the latest reason in words.

    `flips` are the times `active` changed within the flapping window. `unwatched` are seconds of this alert during which nobody
    watched. `checked_at` is the newest evidence; `released_at` when what inhibited it ended. `expires_at` ends an alert that
    stands for something that happened rather than for something that lasts.
    """

    name: str
    subject: str
    severity: Severity
    state: AlertState
    since: WallTime
    changed_at: WallTime
    checked_at: WallTime
    member: str = ""
    route: str = ""
    active: bool = True
    why: str = ""
    ended: str = ""
    symptom: str = ""
    changes: tuple[str, ...] = ()
    fired_at: WallTime | None = None
    resolved_at: WallTime | None = None
    expires_at: WallTime | None = None
    released_at: WallTime | None = None
    unmuted_at: WallTime | None = None
    flips: tuple[WallTime, ...] = ()
    flapping: bool = False
    unwatched: float = 0.0
    muted: str = ""
    told: tuple[ReceiverState, ...] = ()
    ack: Acknowledgement | None = None

    @property
    def id(self) -> str:
        """`down:fetch`: stable over restarts, unique in the book."""
        return f"{self.name}:{self.subject}"

    @property
    def open(self) -> bool:
        """Whether it is pending or firing."""
        return self.state is not AlertState.RESOLVED

    @property
    def believed(self) -> tuple[ReceiverState, ...]:
        """The receivers that still believe it fires."""
        return tuple(told for told in self.told if told.state is AlertState.FIRING)


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """A line of evidence and when it was noted."""

    at: WallTime
    text: str


@dataclass(frozen=True, slots=True)
class ObservedMember:
    """What is known of a member: its three fields, and evidence for a message. `ran`: since it is wanted up, it was running."""

    want: str = "up"
    phase: str = "stopped"
    verdict: str = "unknown"
    generation: int = 0
    ran: bool = False
    at: WallTime = WallTime(0)
    exit: EvidenceLine | None = None
    tail: tuple[str, ...] = ()
    starts: tuple[WallTime, ...] = ()
    """When it was started again."""
    tried: tuple[EvidenceLine, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """What is known of a route."""

    member: str = ""
    verdict: str = "unknown"
    symptom: str = ""
    at: WallTime = WallTime(0)


@dataclass(frozen=True, slots=True)
class Silence:
    """Muted by an operator until `until`. `match` pairs a label with a pattern (`*` and `?`); all must match."""

    id: str
    match: tuple[tuple[str, str], ...]
    since: WallTime
    until: WallTime
    by: str = ""
    comment: str = ""
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class AlertBook:
    """All that the policy remembers. `groups` holds when a group of a receiver was last told something new."""

    alerts: Mapping[str, Alert] = field(default_factory=dict[str, Alert])
    members: Mapping[str, ObservedMember] = field(default_factory=dict[str, ObservedMember])
    routes: Mapping[str, ObservedRoute] = field(default_factory=dict[str, ObservedRoute])
    diagnoses: tuple[Diagnosis, ...] = ()
    silences: tuple[Silence, ...] = ()
    groups: Mapping[str, WallTime] = field(default_factory=dict[str, WallTime])
    proxy: str = ""
    seq: int = 0

    def with_alert(self, alert: Alert) -> AlertBook:
        """The book with this alert put in or replaced."""
        return replace(self, alerts={**self.alerts, alert.id: alert})


@dataclass(frozen=True, slots=True)
class AlertSnapshot:
    """One alert as a notification tells it: a snapshot with its evidence. Times are wall seconds."""

    id: str
    alert: str
    subject: str
    severity: Severity
    state: AlertState
    since: WallTime
    member: str = ""
    route: str = ""
    fired_at: WallTime | None = None
    resolved_at: WallTime | None = None
    why: str = ""
    cause: str = ""
    cause_text: str = ""
    symptom: str = ""
    evidence: tuple[str, ...] = ()
    exit: str = ""
    tail: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    speaks_for: tuple[str, ...] = ()
    flapping: int = 0
    unwatched: float = 0.0
    times: int = 1


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver, and why it is sent. `id` is unique and survives retries: receivers may drop a second one."""

    id: str
    receiver: str
    reason: Reason
    state: AlertState
    group: str
    at: WallTime
    items: tuple[AlertSnapshot, ...]
    perhaps_again: bool = False
    """Set when a crash came in between an earlier hand-over and its acknowledgement."""


T = TypeVar("T")
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """The JSON reader and writer of a frozen type, built once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(value: object) -> str:
    """A frozen value of this room as JSON text. Inverse of `load`."""
    return adapter(type(value)).dump_json(value, exclude_defaults=True).decode()


def load(kind: type[T], text: str) -> T:
    """A frozen value from its JSON text. Raises `ValueError` when the text is not one."""
    return adapter(kind).validate_json(text)
