"""What the runtimes tell, handed to the members it is about: ends, returns, and carriers that went away. It decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from mcpwatch.clock import Clock
from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.fact import MemberPreparing, Troubled
from mcpwatch.model.member import Phase
from mcpwatch.ports import Appeared, Exited, Gone, Preparing, Publish, Runtime, RuntimeEvent
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.oversight import Oversight

REGISTRY_PAUSE = 1.0
"""Seconds before a runtime whose watch broke is watched again."""


class Hearing:
    """Follows every runtime for the fleet. `tail` gives the last lines that a member wrote to stderr."""

    def __init__(self, actors: Mapping[str, MemberActor], oversight: Oversight, clock: Clock, publish: Publish) -> None:
        self.closing = False
        self.tail: Callable[[str], tuple[str, ...]] = lambda _: ()
        self._actors = actors
        self._oversight = oversight
        self._clock = clock
        self._publish = publish

    async def follow(self, runtime: Runtime) -> None:
        """Hand what a runtime sees to the members, for ever."""
        while True:
            try:
                async for event in runtime.watch():
                    self._hear(runtime, event)
            except RuntimeFailed as error:
                self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {runtime.name}"))
            await asyncio.sleep(REGISTRY_PAUSE)

    def _hear(self, runtime: Runtime, event: RuntimeEvent) -> None:
        match event:
            case Exited():
                if (actor := self._actors.get(event.member)) is not None:
                    actor.exited(event, self.tail(event.member))
            case Appeared():
                if (actor := self._actors.get(event.member)) is not None:
                    actor.appeared(event.pid, event.container)
            case Preparing():
                if (actor := self._actors.get(event.member)) is not None:
                    actor.reason = event.text
                self._publish(MemberPreparing(at=self._clock.wall(), text=f"{event.member}: {event.text}", member=event.member))
            case Gone():
                self._hear_gone(runtime, event)

    def _hear_gone(self, runtime: Runtime, event: Gone) -> None:
        if self.closing:
            return
        if runtime.name in ("docker", "swarm"):
            self._oversight.engine_gone = "" if event.back else event.detail or "away"
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
        if not event.back and runtime.supervision == "theirs":
            proxy = self._oversight.proxy()
            for actor in self._actors.values():
                if actor.runtime is runtime:
                    if proxy is not None and (proxy.planned or proxy.state.phase is Phase.STOPPING):
                        actor.excuse()
                    lost = d.Lost(self._clock.now(), f"its carrier is away: {event.detail}", generation=actor.state.generation)
                    actor.last_exit = lost.reason
                    actor.tell(lost)
        self._oversight.look()
