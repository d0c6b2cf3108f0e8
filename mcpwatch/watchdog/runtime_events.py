"""What the runtimes tell, routed to the members it is about: ends, returns, and carriers that went away. It decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import MemberPreparing, Troubled
from mcpwatch.model.incarnation import Appeared, Exited, Gone, Hindered, Moved, Parked, Paused, Preparing, RuntimeEvent, Startable
from mcpwatch.model.member import Phase
from mcpwatch.model.runtime import traits_of
from mcpwatch.ports import Runtime
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.monitor import FleetMonitor
from mcpwatch.watchdog.senses import Context

REGISTRY_PAUSE = 1.0
"""Seconds before a runtime whose watch broke is watched again."""


class RuntimeEventRouter:
    """Follows every runtime for the fleet."""

    def __init__(self, actors: Mapping[str, MemberActor], monitor: FleetMonitor, context: Context) -> None:
        self.closing = False
        self._actors = actors
        self._monitor = monitor
        self._senses = context.senses
        self._clock = context.clock
        self._publish = context.publish

    async def follow(self, runtime: Runtime) -> None:
        """Hand what a runtime sees to the members, for ever."""
        while True:
            try:
                async for event in runtime.watch():
                    self._take(runtime, event)
            except RuntimeFailed as error:
                self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {runtime.name}"))
            await asyncio.sleep(REGISTRY_PAUSE)

    def _take(self, runtime: Runtime, event: RuntimeEvent) -> None:
        actor = self._actors.get(event.member) if not isinstance(event, Gone) else None
        match event:
            case Gone():
                self._take_gone(runtime, event)
            case Hindered():
                self._take_hindered(event)
            case Preparing():
                if actor is not None:
                    actor.reason = event.text
                self._publish(MemberPreparing(at=self._clock.wall(), text=f"{event.member}: {event.text}", member=event.member))
            case _ if actor is None:
                return
            case Exited():
                self._senses.hold()
                tail = self._senses.tail(event.member)
                self._monitor.ended(event, tail)
                actor.exited(event, tail)
            case Appeared():
                actor.appeared(event.pid, event.container)
            case Parked():
                actor.tell(d.CarrierParked(self._clock.now(), actor.reason))
            case Paused():
                actor.paused = not event.back
                if event.back:
                    self._monitor.renew(actor, look=True)
                self._monitor.soon()
            case Moved():
                self._take_moved(event)
            case Startable():  # somebody started what it waits for: it waits no longer
                if actor.state.phase in (Phase.BACKOFF, Phase.FAILED):
                    actor.tell(d.DeadlinePassed(self._clock.now(), "its container was started", early=True))

    def _take_moved(self, event: Moved) -> None:
        actor = self._actors.get(event.member)
        if actor is not None and actor.incarnation is not None and actor.incarnation.generation == event.generation:
            actor.incarnation = replace(actor.incarnation, direct=event.direct)
            self._monitor.renew(actor)

    def _take_hindered(self, event: Hindered) -> None:
        """What an engine says of a member is a reason, and a fact when it is new."""
        actor = self._actors.get(event.member)
        if actor is None or actor.hindered == (event.cause, event.text):
            return
        before, actor.hindered = actor.hindered[0], (event.cause, event.text)
        if before not in ("", "member_down", event.cause):
            self._over(event.member, before)
            if not event.cause:  # what was seen while that was so says nothing of it now
                self._monitor.renew(actor, look=True)
        if event.cause == "member_down":  # that it is down was told already; this is why it stays so
            actor.reason = event.text
        elif event.cause and event.cause != before:
            actor.reason = event.text
            text = f"{event.member}: {event.text}"
            subject = f"{event.cause} {event.member}"
            self._publish(Troubled(at=self._clock.wall(), text=text, level="warning", subject=subject, member=event.member))
        self._monitor.soon()

    def removed(self, actor: MemberActor) -> None:
        """A member is no longer of the plan: what was told of it is over."""
        self._take_hindered(Hindered(actor.spec.name))

    def _over(self, member: str, cause: str) -> None:
        text = f"{member}: no longer {cause.replace('_', ' ')}"
        self._publish(
            Troubled(at=self._clock.wall(), text=text, level="info", subject=f"{cause} {member}", cleared=True, member=member)
        )

    def _take_gone(self, runtime: Runtime, event: Gone) -> None:
        if self.closing:
            return
        if traits_of(runtime.name).engine:
            self._monitor.engine(runtime.name, "" if event.back else event.detail or "away")
        words = f"runtime {runtime.name} is back" if event.back else f"runtime {runtime.name} is away: {event.detail}"
        self._publish(
            Troubled(
                at=self._clock.wall(),
                text=words,
                level="info" if event.back else "warning",
                subject=f"runtime {runtime.name}",
                cleared=event.back,
            )
        )
        if not event.back and runtime.supervision == "theirs" and not traits_of(runtime.name).engine:
            proxy = self._monitor.proxy()
            for actor in self._actors.values():
                if actor.runtime is runtime:
                    if proxy is not None and (proxy.planned or proxy.state.phase is Phase.STOPPING):
                        actor.excuse("with the proxy that runs it")
                    lost = d.Lost(self._clock.now(), f"its carrier is away: {event.detail}", generation=actor.state.generation)
                    actor.last_exit = lost.reason
                    actor.tell(lost)
        self._monitor.soon()
