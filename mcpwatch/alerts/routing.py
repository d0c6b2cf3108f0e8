"""Who hears of which alert, and how patiently: the route tree with everything inherited. Pure.

The first child whose patterns match takes an alert (and, with `carry_on`, later siblings too); what a child leaves out it
inherits from its parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcpwatch.alerts.book import Severity
from mcpwatch.alerts.silence import Window, matches


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """Notify `receiver` too when the alert is not acknowledged after `after` seconds of firing."""

    after: float
    receiver: str


@dataclass(frozen=True, slots=True)
class RoutingNode:
    """One node with all that it inherits filled in. Times in seconds; `id` is its path in the tree."""

    id: str
    receivers: tuple[str, ...]
    match: tuple[tuple[str, str], ...] = ()
    for_: float = 60.0
    repeat: float | None = 4 * 3600.0
    group_by: tuple[str, ...] = ("cause",)
    group_wait: float = 15.0
    group_interval: float = 60.0
    severity: Severity = Severity.WARNING
    escalate: tuple[EscalationStep, ...] = ()
    carry_on: bool = False
    routes: tuple[RoutingNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Flapping:
    """More than `changes` changes within `period` seconds is flapping; it ends after `quiet` seconds without one."""

    changes: int = 4
    period: float = 600.0
    quiet: float = 300.0


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """All that the policy is told by the configuration."""

    route: RoutingNode
    windows: tuple[Window, ...] = ()
    flapping: Flapping = Flapping()

    def routes_for(self, labels: Mapping[str, str]) -> tuple[RoutingNode, ...]:
        """The nodes that take an alert with these labels, in the order of the tree. Empty: no node takes it."""
        return tuple(route for route in _descend(self.route, labels) if _wanted(route, labels))

    def patience(self, labels: Mapping[str, str]) -> float:
        """Seconds the condition must hold before it fires: the shortest `for` of those that want it, else the root's."""
        return min((route.for_ for route in self.routes_for(labels)), default=self.route.for_)


def _wanted(route: RoutingNode, labels: Mapping[str, str]) -> bool:
    return bool(route.receivers) and Severity(labels["severity"]).rank >= route.severity.rank


def _descend(route: RoutingNode, labels: Mapping[str, str]) -> tuple[RoutingNode, ...]:
    if not matches(route.match, labels):
        return ()
    found: list[RoutingNode] = []
    for child in route.routes:
        taken = _descend(child, labels)
        found.extend(taken)
        if taken and not child.carry_on:
            return tuple(found)
    return tuple(found) or (route,)
