"""How the objectives stand, for metrics: the report of the last seven days, made anew now and then while somebody scrapes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mcpwatch.clock import Clock
from mcpwatch.model.errors import McpwatchError
from mcpwatch.ports import Fleet
from mcpwatch.telemetry.readings import CallsNow, ObjectiveNow, PromisesNow
from mcpwatch.web.objectives.meter import ObjectiveMeter
from mcpwatch.web.objectives.report import ObjectiveResult, Report

WINDOW = 7 * 86_400.0
"""Seconds looked back, as `mcpwatch report` does."""
MADE_EVERY = 300.0
"""Seconds for which a report is shown before another one is made: it reads every hour of every route."""


class Standing:
    """Asked in the event loop at each scrape; never waits. `report` makes a report from a moment on."""

    def __init__(self, fleet: Fleet, meter: ObjectiveMeter, clock: Clock, report: Callable[[float], Awaitable[Report]]) -> None:
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
