"""The fleet: every member's actor, the probing, the repair, and the plan they serve. Implements `ports.SupervisedFleet`.

Owns the order of things: members before the proxy, the proxy before what it hosts, stop in reverse. It must not know file formats,
wires, or who listens to its facts.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

from mcpwatch.model.errors import UsageError, suggest
from mcpwatch.model.member import Phase
from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.time import placed
from mcpwatch.model.view import FleetView
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.order import stop_in_order
from mcpwatch.watchdog.planned_fleet import ROOM, PlannedFleet
from mcpwatch.watchdog.views import by_member, member_view

COMMANDS = {"start": d.WantUp, "stop": d.WantDown, "restart": d.WantRestart}
"""What a command wants of a member."""


class Fleet(PlannedFleet):
    """Everything supervised. Lives on one event loop; `guard` runs a task of the app that cannot take the watchdog down."""

    # What others may see and ask.

    def view(self) -> FleetView:
        """The fleet as shown, now."""
        now, wall = self._clock.now(), self._clock.wall()
        diagnoses, histories = self.mender.current, self.monitor.probing.histories
        causes = by_member(diagnoses)
        members = tuple(
            member_view(actor, histories, actor.runtime.usage(name), causes.get(name, ()), now, wall)
            for name, actor in self.actors.items()
        )
        proxy = self._plan.proxy.member if self._plan.proxy else None
        return FleetView(wall, self.daemon, proxy, members, self.monitor.route_views(), diagnoses)

    async def command(self, verb: Literal["start", "stop", "restart"], member: str) -> None:
        """Hand a command to a member's mailbox, and keep it for the next watchdog too. Raises `UsageError` for an unknown name."""
        await self.until_begun()
        actor = self.actors.get(member)
        if actor is None:
            raise UsageError(f"no member '{member}'{suggest(member, self.actors)}")
        self.mender.forget(member, actor.spec.route)
        self._memory.remember(ROOM, f"down:{member}", "1" if verb == "stop" else None)
        why, proxy = "an operator asked", self._between_gateways(actor) if verb == "start" else None
        if proxy is not None:  # held until it is there: the gateway that begins would start it too
            self._spawn(self._start_behind(proxy, member, why), f"order {member}")
        else:
            self._hold(actor, down=verb == "stop")
            actor.tell(COMMANDS[verb](self._clock.now(), why))
        await self._kept()

    async def probe_now(self, name: str, vantage: Vantage | None = None) -> tuple[tuple[str, Vantage, ProbeResult], ...]:
        """Run the checks of a member and its route at once; `(check, vantage, result)` each. Raises `UsageError`."""
        await self.until_begun()
        actor = self.actors.get(name)
        found = self.monitor.probing.of_member(name) if actor else self.monitor.probing.of(name)
        if actor is None and not found:
            raise UsageError(f"no member or route '{name}'{suggest(name, self.actors)}")
        wanted = [w for w in found if vantage in (None, w.key.vantage)]
        results = await asyncio.gather(*(self.monitor.probing.run(w) for w in wanted))
        return tuple((w.key.check, w.key.vantage, r) for w, r in zip(wanted, results, strict=True) if r is not None)

    # The plan.

    async def stop(self) -> None:
        """Stop every member, the proxy first, then the others in reverse start order; returns when all are at rest."""
        self._end()
        await stop_in_order(list(self.actors.values()))
        self.close()

    def hurry(self) -> None:
        """Someone asked again to stop: kill what is still being stopped, and give no grace to what comes after it."""
        for actor in self.actors.values():
            actor.hurried = True
        for actor in self.actors.values():
            if actor.state.phase is Phase.STOPPING:
                self._spawn(actor.force(), f"stop {actor.spec.name}")

    def close(self) -> None:
        """Let go of everything; members live on."""
        self._end()
        for actor in self.actors.values():
            actor.close()

    def _end(self) -> None:
        """Look no more, and repair no more."""
        self._closing = self._events.closing = True
        self.monitor.close()
        self.mender.close()

    def _between_gateways(self, actor: MemberActor) -> MemberActor | None:
        """The proxy of a hosted member, while one process of it goes or the next one comes: each may start what it is asked to."""
        proxy = self.monitor.proxy()
        if proxy is None or not actor.spec.carried.hosted or not actor.spec.want_up:
            return None
        return proxy if proxy.state.phase in (Phase.STOPPING, Phase.STARTING) else None

    # What time does.

    def unwatched(self) -> None:
        """Nobody watched for a while, until now: nothing that was due meanwhile is held against a member."""
        now = self._clock.now()
        self.monitor.probing.gap(now)
        for actor in self.actors.values():
            actor.tell(d.Unwatched(now, "nobody watched"))

    def clock_set(self) -> None:
        """The wall clock was set: what is shown with its age is as old as it was."""
        now, wall = self._clock.now(), self._clock.wall()
        self.daemon = replace(self.daemon, started_at=placed(self.daemon.started_at, self._made_at, now, wall) or wall)
        for actor in self.actors.values():
            actor.clock_set(now, wall)
        self.monitor.clock_set(now, wall)

    def recycle(self) -> None:
        """Restart, as planned, every member whose whole tree has grown beyond the memory its policy allows."""
        self._recycler.look()
