"""What metrics show of the other rooms: how alerting stands, whom it tells, which clients are synced."""

from __future__ import annotations

from collections.abc import Callable

from mcpwatch.alerts.service import Alerts
from mcpwatch.alerts.silence import muting
from mcpwatch.clients.service import clients_of
from mcpwatch.model.spec import Plan
from mcpwatch.ports import Fleet
from mcpwatch.telemetry.readings import AlertsNow, PromisesNow, Readings


def readings(alerts: Alerts, fleet: Fleet, plan: Plan, promises: Callable[[], PromisesNow] = PromisesNow) -> Readings:
    """The readings of one daemon; names are those of the plan it began with."""
    kinds = {client.spec.kind for client in clients_of(plan)}
    return Readings(lambda: _now(alerts, fleet), promises, tuple(alerts.spec.receivers), tuple(sorted(kinds)))


def _now(alerts: Alerts, fleet: Fleet) -> AlertsNow:
    summary, book, now = alerts.summary(), alerts.ledger.book, alerts.clock.wall()
    maintained: frozenset[str] = frozenset()
    if book.silences or alerts.rules.windows:
        names = (member.name for member in fleet.plan().members)
        maintained = frozenset(name for name in names if muting(book.silences, alerts.rules.windows, _labels(name), now))
    return AlertsNow(summary["firing"], summary["muted"], summary["outbox"], summary["silences"], maintained)


def in_maintenance(alerts: Alerts, member: str) -> bool:
    """Whether an outage of this member is announced now, by hand or by a configured window. A silence announces nothing."""
    started = [one for one in alerts.ledger.book.silences if one.maintenance]
    if not started and not alerts.rules.windows:
        return False
    return bool(muting(started, alerts.rules.windows, _labels(member), alerts.clock.wall()))


def _labels(member: str) -> dict[str, str]:
    """The labels that an alert about this member being down would have."""
    return {"alert": "down", "kind": "member", "member": member, "name": member, "severity": "critical"}
