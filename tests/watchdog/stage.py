"""One actor over a runtime that does as it is told, and what it told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from mcpwatch.model.fact import Fact, MemberExited
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import ActorListener, MemberActor
from mcpwatch.watchdog.senses import Context, Senses
from tests.virtual import VirtualClock, VirtualLoop, ended, run
from tests.watchdog.step_runtime import StepRuntime


class Stage:
    """An actor, its runtime, and what it told."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock, runtime: StepRuntime, spec: MemberSpec, **senses: Any) -> None:
        self.runtime, self.clock, self.loop = runtime, clock, loop
        self.facts: list[Fact] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.sick = False
        self.said = ""
        self.began: list[int] = []
        self.heard: list[Phase] = []
        listener = ActorListener(
            lambda one: self.began.append(one.state.generation),
            lambda one: self.heard.append(one.state.phase),
            lambda _: self.sick,
            lambda _: self.said,
        )
        self.on_fact: Callable[[], None] = lambda: None
        context = Context(clock, self.hear, self.spawn, Senses(**senses))
        self.actor = MemberActor(spec, runtime, context, listener)

    def hear(self, fact: Fact) -> None:
        """Keep a fact, and do what is to be done then."""
        self.facts.append(fact)
        self.on_fact()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task until the end of the story."""
        self.tasks.append(self.loop.create_task(work, name=name))

    async def up(self) -> None:
        """Wanted, started and proved."""
        self.actor.tell(d.WantUp(self.clock.now(), "wanted"))
        await asyncio.sleep(1.0)
        self.prove()

    def prove(self) -> None:
        """Its present generation answers."""
        generation = self.actor.state.generation
        self.actor.tell(d.Judged(self.clock.now(), "ok", generation, Verdict.HEALTHY, proven=True))

    def ends(self) -> list[tuple[int, bool, str]]:
        """What was told of its ends: generation, planned, text."""
        return [(one.generation, one.planned, one.text) for one in self.facts if isinstance(one, MemberExited)]


SPEC = MemberSpec("time", "server", "step", object(), restart=RestartPolicy(), fingerprint="f1")


def staged(
    play: Any,
    supervision: Literal["ours", "theirs"] = "ours",
    spec: MemberSpec = SPEC,
    runtime: StepRuntime | None = None,
    **senses: Any,
) -> None:
    """Play with one actor in virtual time."""

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        stage = Stage(loop, clock, runtime or StepRuntime(supervision), spec, **senses)
        try:
            await play(stage)
        finally:
            stage.actor.close()
            await ended(stage.tasks)

    run(story)
