"""The hands of the repair loop: a step is carried out on members and on the proxy. Implements `mend.Hands`; it decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.member import Phase
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.ladder import Step
from mcpwatch.watchdog.monitor import FleetMonitor
from mcpwatch.watchdog.senses import Context


class FleetHands:
    """What the repair loop can have done to this fleet."""

    def __init__(self, actors: Mapping[str, MemberActor], monitor: FleetMonitor, context: Context) -> None:
        self._actors = actors
        self._monitor = monitor
        self._clock = context.clock
        self._senses = context.senses

    async def carry(self, step: Step, finding: Finding, routes: tuple[str, ...]) -> None:
        """Do a step: a restart is counted, and over when the member runs again or failed."""
        actor = self._actors.get(step.subject)
        if actor is None:
            return
        match step.rung:
            case "reconnect":
                await self._senses.prepare(actor.spec)  # somebody may have taken the route out of what the proxy reads
                with contextlib.suppress(RuntimeFailed):  # not proved, then
                    await self._senses.nudge(routes)
            case "resume":
                with contextlib.suppress(RuntimeFailed):
                    await actor.resume()
                    self._monitor.renew(actor)
            case "restart" | "restart_proxy":
                actor.tell(d.WantRestart(self._clock.now(), f"repair: {finding.text}", counts=True))
                await actor.reached(Phase.RUNNING, Phase.FAILED)
            case "quarantine":
                return

    def settled(self) -> None:
        """Tell every change of a route's verdict."""
        self._monitor.tell_routes()

    async def look(self, member: str, *, deep: bool = False, brief: bool = False) -> None:
        """Probe a member and its route now, side by side; `deep`: by calls too; `brief`: with little time for each."""
        await self._monitor.look(member, deep=deep, brief=brief)

    async def prove(self, finding: Finding) -> None:
        """Run the checks that a finding was made from, of the member or of the route that it is about."""
        probing = self._monitor.probing
        kind, _, name = finding.about.partition(":")
        wanted = probing.of_member(name) if kind == "member" else probing.of(name, "route")
        await asyncio.gather(*(probing.run(one) for one in wanted))
