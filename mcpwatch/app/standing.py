"""What metrics show of the other rooms: how alerting stands, which clients are synced, and how the objectives stand.

The report of the last seven days is made anew now and then while somebody scrapes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mcpwatch.alerts.service import Alerts
from mcpwatch.alerts.silence import muting
from mcpwatch.clients.service import clients_of
from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.spec import Plan
from mcpwatch.ports import SupervisedFleet
from mcpwatch.telemetry.readings import AlertsNow, CallsNow, ObjectiveNow, PromisesNow, Readings
from mcpwatch.web.objectives.meter import ObjectiveMeter
from mcpwatch.web.objectives.report import ObjectiveResult, Report

WINDOW = 7 * 86_400.0
"""Seconds looked back, as `mcpwatch report` does."""
MADE_EVERY = 300.0
"""Seconds for which a report is shown before another one is made: it reads every hour of every route."""


class Standing:
    """Asked in the event loop at each scrape; never waits. `report` makes a report from a moment on."""

    def __init__(
        self, fleet: SupervisedFleet, meter: ObjectiveMeter, clock: Clock, report: Callable[[float], Awaitable[Report]]
    ) -> None:
        self._fleet = fleet
        self._meter = meter
        self._clock = clock
        self._report = report
        self._found: Report | None = None
        self._due = float("-inf")
        self._making: asyncio.Task[None] | None = None

    def now(self) -> PromisesNow:
        """The latest report and the gateway's counters; the first scrape knows no report yet."""
        members = {route.name: route.member for route in self._fleet.plan().routes}
        if self._clock.now() >= self._due and (self._making is None or self._making.done()):
            self._due = self._clock.now() + MADE_EVERY
            self._making = asyncio.get_running_loop().create_task(self._make(), name="objectives for metrics")
        routes = self._found.routes if self._found is not None else ()
        objectives = [
            objective_now(members[one.route], one.route, promise)
            for one in routes
            if one.route in members
            for promise in one.objectives
        ]
        calls = [
            CallsNow(members[name], name, one.calls, one.errors, one.clients)
            for name, one in self._meter.counted().items()
            if name in members
        ]
        return PromisesNow(tuple(objectives), tuple(calls))

    async def _make(self) -> None:
        with contextlib.suppress(McpwatchError):
            self._found = await self._report(self._clock.wall() - WINDOW)


def objective_now(member: str, route: str, one: ObjectiveResult) -> ObjectiveNow:
    """An objective in Prometheus' units: percent as a ratio."""
    scale = 100.0 if one.unit == "%" else 1.0
    measured = None if one.measured is None else one.measured / scale
    budget = None if one.budget is None else one.budget / 100
    return ObjectiveNow(member, route, one.name, one.target / scale, measured, budget)


def readings(alerts: Alerts, fleet: SupervisedFleet, plan: Plan, promises: Callable[[], PromisesNow] = PromisesNow) -> Readings:
    """The readings of one daemon; names are those of the plan it began with."""
    kinds = {client.spec.kind for client in clients_of(plan)}
    return Readings(lambda: _now(alerts, fleet), promises, tuple(alerts.spec.receivers), tuple(sorted(kinds)))


def _now(alerts: Alerts, fleet: SupervisedFleet) -> AlertsNow:
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
