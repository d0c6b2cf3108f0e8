"""The room at work over a fleet that lives: a fleet as data that changes as time goes, and the service over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mcpwatch.bus import Bus
from mcpwatch.clock import SystemClock
from mcpwatch.model import fact as facts
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Vantage
from mcpwatch.model.spec import Plan
from mcpwatch.model.view import Diagnosis, FleetView
from mcpwatch.telemetry.readings import Readings
from mcpwatch.telemetry.service import Telemetry, TelemetryContext
from mcpwatch.telemetry.spec import TelemetrySpec
from tests.telemetry import fleet

CLOCK = SystemClock()


class FleetAsData:
    """A `Fleet` whose plan and view are whatever a test says."""

    def __init__(self, *members: str) -> None:
        self.now_plan = fleet.plan(*members)
        self.now_view = fleet.view(*members)

    def view(self) -> FleetView:
        return self.now_view

    def plan(self) -> Plan:
        return self.now_plan

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None:
        raise NotImplementedError

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        raise NotImplementedError


class Living(FleetAsData):
    """Two members and a proxy; fetch restarts, falls and drifts at every step."""

    def __init__(self, bus: Bus) -> None:
        super().__init__("time", "fetch")
        self.bus = bus
        self.steps = 0

    def step(self) -> None:
        """A piece of life: facts and the view that goes with them."""
        self.steps += 1
        at = CLOCK.wall()
        stale = Diagnosis("stale_session", "proxy", "stale")
        slow = replace(fleet.GOOD, outcome=Outcome.DEGRADED, symptom=Symptom.SLOW, certificate_days=20.0)
        fallen = replace(
            fleet.member("fetch", slow, at),
            generation=self.steps,
            restarts=self.steps,
            verdict=Verdict.UNHEALTHY if self.steps % 2 else Verdict.HEALTHY,
            phase=Phase.RUNNING,
            diagnosis=Diagnosis("member_hung", "fetch", "hangs"),
            verdict_since=at,
            usage=replace(fleet.member("fetch").usage, cpu_seconds=float(self.steps)),
        )
        view = fleet.view("time", "fetch", at=at)
        route = replace(fleet.route("fetch", slow, at), diagnosis=stale, verdict=Verdict.UNHEALTHY)
        self.now_view = replace(view, members=(view.members[0], fallen, view.members[2]), routes=(view.routes[0], route))
        for name in ("time", "fetch"):
            for vantage in ("direct", "route"):
                self.bus.publish(fleet.probed(name, fleet.GOOD if name == "time" else fleet.BAD, vantage, at))
        text = "fetch lives"
        for fact in (
            facts.MemberStarted(at=at, text=text, member="fetch", generation=self.steps),
            facts.MemberExited(at=at, text=text, member="fetch", generation=self.steps, signal=9),
            facts.ToolsChanged(at=at, text=text, member="fetch", severity="breaking"),
            facts.RepairTried(at=at, text=text, member="fetch", rung="restart", cause="hung"),
            facts.RepairProved(at=at, text=text, member="fetch", rung="restart", cause="hung", outcome="failed", seconds=1),
            facts.AlertChanged(at=at, text=text, member="fetch", alert="down", old="pending", new="firing"),
            facts.NotificationFailed(at=at, text=text, receiver="ops", alert="down"),
            facts.ClientFileSkipped(at=at, text=text, client="vscode", path="/x", reason="broken"),
            facts.ClientFileWritten(at=at, text=text, client="claude", path="/y"),
            facts.Troubled(at=at, text=text, subject="store", level="error"),
        ):
            self.bus.publish(fact)


@asynccontextmanager
async def room(
    state: Path, spec: TelemetrySpec, living: FleetAsData, bus: Bus, readings: Readings | None = None
) -> AsyncGenerator[Telemetry]:
    """The service, running; ended at the end."""
    house = TelemetryContext(
        living, bus, CLOCK, state, "1.2.3", readings=readings or Readings(receivers=("ops",), clients=("vscode", "claude"))
    )
    telemetry = Telemetry(house, spec)
    running = asyncio.get_running_loop().create_task(telemetry.run())
    try:
        await asyncio.sleep(0)  # let it begin
        if spec.metrics:
            async with asyncio.timeout(30):
                await telemetry.serving.wait()
        yield telemetry
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=30)
        assert running.cancelled()
