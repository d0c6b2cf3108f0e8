"""What metrics show of rooms that telemetry cannot see: values that `app` has read there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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
class Readings:
    """What only other rooms know. `alerts` is asked at each scrape, in the event loop; it is cheap and never raises."""

    alerts: Callable[[], AlertsNow] = AlertsNow
    receivers: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
