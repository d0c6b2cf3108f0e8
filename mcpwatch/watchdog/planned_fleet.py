"""The plan and the members that serve it: the first plan taken, later ones applied member by member, each start in its order.

What an operator stopped stays down whatever plan comes. Knows nothing of what is shown, and of commands only what they left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from mcpwatch.clock import Clock
from mcpwatch.model.errors import RuntimeFailed, UsageError
from mcpwatch.model.fact import PlanApplied, Troubled
from mcpwatch.model.incarnation import Incarnation
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff
from mcpwatch.model.view import Diagnosis, SelfView
from mcpwatch.ports import Holding, ProbeRunner, Publish, Reminded, Runtime, Store
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import ActorListener, MemberActor
from mcpwatch.watchdog.checked_fleet import MonitorListener
from mcpwatch.watchdog.contracts import Contracts
from mcpwatch.watchdog.hands import FleetHands
from mcpwatch.watchdog.mend import Mender
from mcpwatch.watchdog.monitor import FleetMonitor
from mcpwatch.watchdog.order import at_rest, others_first, proved, put_in_order
from mcpwatch.watchdog.recycle import Recycler
from mcpwatch.watchdog.runtime_events import RuntimeEventRouter
from mcpwatch.watchdog.senses import Context, Senses
from mcpwatch.watchdog.start_notes import no_note, noted_starts, start_note

Carriers = Callable[[str], Runtime]
"""Gives the runtime of a name, made when first asked for."""

Guard = Callable[[Coroutine[Any, Any, Any], str], object]
"""Runs a named task whose failure is told and harms nobody."""

BEGIN_WAIT = 30.0
"""Seconds that a command waits for the fleet to begin."""
KEEP_WAIT = 5.0
"""Seconds that an answer waits for the disk."""
FRESH_PATIENCE = 20.0
"""Seconds that a proxy which mounts no late member waits with its new file for members that are new or changed."""
SWEPT = {"process"}
"""Runtimes asked what they own even when the plan names none of their members: what a removed member left is ended."""
ROOM = "fleet"


class PlannedFleet:
    """The members of a plan. Lives on one event loop; `guard` runs a task of the app that cannot take the watchdog down."""

    def __init__(
        self,
        carry: Carriers,
        prober: ProbeRunner,
        clock: Clock,
        publish: Publish,
        guard: Guard,
        memory: Store,
        *,
        daemon: SelfView,
        senses: Senses | None = None,
    ) -> None:
        self.actors: dict[str, MemberActor] = {}
        self.daemon = daemon
        self._carrier = carry
        self._runtimes: dict[str, Runtime] = {}
        self._memory = memory
        self._clock, self._made_at = clock, clock.now()
        self._publish = publish
        self._guard = guard
        self._plan = Plan()
        self._closing = False
        self._begun = asyncio.Event()
        self.contracts = Contracts(memory, clock, publish)
        self._context = context = Context(clock, publish, self._spawn, senses or Senses())
        ears = MonitorListener(self.plan, self._diagnoses, self._soon)
        self.monitor = FleetMonitor(self.actors, prober, context, self.contracts, ears)
        self.mender = Mender(context, self.monitor.snapshot, FleetHands(self.actors, self.monitor, context))
        self._events = RuntimeEventRouter(self.actors, self.monitor, context)
        self._recycler = Recycler(self.actors, clock, publish)
        seen = self.monitor.starts
        self._listener = ActorListener(self._on_start, lambda _: self._soon(), seen.sick, seen.said, seen.asked, seen.unmade)

    def _soon(self) -> None:
        """Something happened: consider the fleet."""
        self.mender.soon()

    def _diagnoses(self) -> tuple[Diagnosis, ...]:
        """The causes in force."""
        return self.mender.current

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task of the fleet; after closing, nothing new begins."""
        if self._closing and not name.startswith("stop "):
            work.close()
            return
        self._guard(work, name)

    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

    def _hold(self, actor: MemberActor, *, down: bool) -> None:
        """A carrier that begins, or reads its file again, would start what an operator stopped."""
        if isinstance(actor.runtime, Holding):
            actor.runtime.hold(actor.spec.name, down=down)

    async def _kept(self) -> None:
        """Return when what an operator wants is on disk: this watchdog may be killed right after its answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_WAIT):
                await self._memory.flush()

    async def begin(self, plan: Plan) -> int:
        """Take the first plan: adopt what lives, start what is wanted, in order. Returns how many were adopted."""
        self._plan = plan
        found: dict[str, Incarnation] = {}
        for name in sorted({member.runtime for member in plan.members} | SWEPT):
            found |= await self._open(name, plan)
        self._add(plan.members)
        self.monitor.rewatch()
        self.monitor.probing.schedule.start()
        held = {key.removeprefix("down:") for key in self._memory.recall(ROOM) if key.startswith("down:")}
        for name in held - {spec.name for spec in plan.members}:
            self._memory.remember(ROOM, f"down:{name}", None)
        for spec in plan.members:
            self._begin_member(spec, found.get(spec.name), held=spec.name in held)
        self._follow(self._runtimes)
        self._begun.set()
        return len(found)

    async def until_begun(self) -> None:
        """Whatever is asked while what lives is still being looked for waits for that, or it would be started twice."""
        try:
            async with asyncio.timeout(BEGIN_WAIT):
                await self._begun.wait()
        except TimeoutError:
            raise UsageError(f"the watchdog is still looking for what lives after {BEGIN_WAIT:g}s; try again") from None

    async def _open(self, name: str, plan: Plan) -> dict[str, Incarnation]:
        """Begin to use a runtime: find what of ours lives in it. It is to be followed then."""
        runtime = self._runtimes[name] = self._carrier(name)
        living: dict[str, Incarnation] = {}
        try:
            specs = [member for member in plan.members if member.runtime == name]
            noted = noted_starts(self._memory.recall(ROOM))
            if isinstance(runtime, Reminded):
                runtime.remind(noted)
            living = {found.member: found for found in await runtime.owned(specs)}
            for gone in noted.keys() - {spec.name for spec in plan.members} if name in SWEPT else ():  # what it left is ended
                self._memory.remember(ROOM, *no_note(gone))
        except RuntimeFailed as error:
            self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {name}"))
        return living

    def _follow(self, names: Iterable[str]) -> None:
        """Hear what these runtimes tell, now that their members are known: what was told of one before would be lost."""
        for name in names:
            self._guard(self._events.follow(self._runtimes[name]), f"watch {name}")

    def _begin_member(self, spec: MemberSpec, living: Incarnation | None, *, held: bool) -> None:
        """Adopt a living member, start a wanted one, and keep down one that an operator stopped."""
        actor = self.actors[spec.name]
        self._hold(actor, down=held)
        if living is not None:
            known = actor.state.generation if living.generation is None else living.generation
            # Where its runtime lost count, what it says must still be of this generation.
            actor.state = replace(actor.state, generation=min(known, actor.state.generation))
            actor.adopt(living)
            if held or not spec.want_up:
                actor.tell(d.WantDown(self._clock.now(), "an operator stopped it"))
            elif living.fingerprint and living.fingerprint != spec.fingerprint:
                actor.replacing = self.monitor.renews(actor)
                if not actor.replacing:
                    actor.tell(d.WantRestart(self._clock.now(), "its configuration changed while nobody watched"))
        elif held:
            actor.reason = "an operator stopped it"
        elif spec.want_up:
            self._spawn(self._start_in_order(spec), f"order {spec.name}")

    async def apply(self, plan: Plan, diff: PlanDiff, prepare: Callable[[], object] = lambda: None) -> None:
        """Change to a new plan, touching only the members it names. Publishes `PlanApplied`.

        `prepare` writes what the proxy reads: a proxy that reloads by itself then replaces what it hosts, which is no failure.
        """
        await self.until_begun()
        moved = {name for name in diff.replace if (spec := plan.member(name)) and spec.runtime != self.actors[name].spec.runtime}
        stay = [name for name in diff.replace if name not in moved]
        theirs = [name for name in stay if self.monitor.renews(self.actors[name])]
        for name in theirs:
            self.actors[name].replacing = self.actors[name].state.phase in (Phase.STARTING, Phase.RUNNING)
        prepare()
        self._plan = plan
        for name in (opened := sorted({member.runtime for member in plan.members} - self._runtimes.keys())):
            await self._open(name, plan)
        down = {name for name in (*stay, *moved) if self._kept_down(self.actors[name])}
        for name in (*diff.remove, *moved):
            await self._remove(name)
        for name in diff.remove:
            self._memory.remember(ROOM, f"down:{name}", None)
        for name in (*stay, *diff.retune):
            if (spec := plan.member(name)) is not None:
                self._respec(self.actors[name], spec)
        fresh = [spec for name in (*diff.add, *moved) if (spec := plan.member(name)) is not None]
        self._add(fresh)
        self._follow(opened)
        put_in_order(self.actors, plan)
        self.monitor.rewatch()
        changed = [spec for name in stay if (spec := plan.member(name)) is not None and spec.kind != "proxy"]
        coming = [spec.name for spec in (*fresh, *changed) if spec.want_up and spec.carried.own and spec.name not in down]
        self._restart_changed(stay, theirs, down, coming)
        for spec in fresh:
            if spec.want_up and spec.name not in down:
                self._spawn(self._start_in_order(spec), f"order {spec.name}")
        text = f"configuration applied: {len(diff.add)} added, {len(diff.remove)} removed, {len(diff.replace)} replaced"
        at, add, gone = self._clock.wall(), diff.add, diff.remove
        self._publish(PlanApplied(at=at, text=text, added=add, removed=gone, replaced=diff.replace, retuned=diff.retune))
        self.monitor.soon()
        await self._kept()

    def _restart_changed(self, stay: list[str], theirs: list[str], down: set[str], coming: list[str]) -> None:
        """Restart what changed and is up; what a proxy replaces by itself only where it had failed.

        `coming`: members that are new or restarted, which a proxy that mounts no late one should find there.
        """
        anew = next((self.actors[name] for name in stay if self.actors[name].spec.kind == "proxy"), None)
        for name in stay:
            if name not in down and (name not in theirs or self.actors[name].state.phase in (Phase.FAILED, Phase.BACKOFF)):
                if name in theirs and anew is not None:
                    self._spawn(self._start_behind(anew, name, "its configuration changed"), f"order {name}")
                elif anew is not None and anew is self.actors[name] and coming and not self.monitor.traits.mounts_late:
                    self._spawn(self._restart_with(anew, anew.state.generation, coming), f"order {name}")
                else:
                    self.actors[name].tell(d.WantRestart(self._clock.now(), "its configuration changed"))

    async def _restart_with(self, proxy: MemberActor, generation: int, coming: list[str]) -> None:
        """Restart a proxy for its new file once new and changed members are ready, so that one restart serves them too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FRESH_PATIENCE):
                await asyncio.gather(*(proved(self.actors[name]) for name in coming if name in self.actors))
        if proxy.state.generation == generation and self.actors.get(proxy.spec.name) is proxy and proxy.state.want is Want.UP:
            proxy.tell(d.WantRestart(self._clock.now(), "its configuration changed"))

    def _kept_down(self, actor: MemberActor) -> bool:
        """Whether a member is down because an operator or the file says so: a changed command is no reason to start it."""
        held = f"down:{actor.spec.name}" in self._memory.recall(ROOM)
        return actor.state.want is Want.DOWN and (held or not actor.spec.want_up)

    def _respec(self, actor: MemberActor, spec: MemberSpec) -> None:
        """Give a member its new spec; start or stop it when the file enabled or disabled it."""
        turned = spec.want_up != actor.spec.want_up
        actor.spec = spec
        if turned and spec.want_up:
            self._memory.remember(ROOM, f"down:{spec.name}", None)
            self._spawn(self._start_in_order(spec), f"order {spec.name}")
        elif turned:
            actor.tell(d.WantDown(self._clock.now(), "the configuration disables it"))

    async def _remove(self, name: str) -> None:
        actor = self.actors[name]
        actor.tell(d.WantDown(self._clock.now(), "removed from the configuration"))
        await at_rest(actor)
        actor.close()
        self._events.removed(actor)
        if isinstance(actor.runtime, Reminded):
            self._memory.remember(ROOM, *no_note(name))
        del self.actors[name]
        self.mender.forget(name, actor.spec.route)

    def _add(self, specs: Iterable[MemberSpec]) -> None:
        known = self._memory.recall(ROOM)
        for spec in specs:
            kept = known.get(f"generation:{spec.name}", "")
            self.actors[spec.name] = MemberActor(
                spec, self._runtimes[spec.runtime], self._context, self._listener, int(kept) if kept.isdecimal() else 0
            )

    async def _start_in_order(self, spec: MemberSpec) -> None:
        """Start a member once those it waits for are ready, failed, or out of grace. Never waits for ever."""
        await others_first(spec, self._plan, self.actors, mounts_late=self.monitor.traits.mounts_late)
        actor = self.actors.get(spec.name)
        if actor is not None and actor.state.phase is Phase.STOPPED:
            actor.tell(d.WantUp(self._clock.now(), "the configuration wants it"))

    async def _start_behind(self, proxy: MemberActor, name: str, why: str) -> None:
        """Start a hosted member that is down when the gateway is there, if that has not started it and nobody stopped it."""
        await proved(proxy)
        actor = self.actors.get(name)
        if actor is not None and actor.spec.want_up and f"down:{name}" not in self._memory.recall(ROOM):
            actor.tell(d.WantUp(self._clock.now(), why))

    def _on_start(self, actor: MemberActor) -> None:
        self._memory.remember(ROOM, f"generation:{actor.spec.name}", str(actor.state.generation))
        if isinstance(actor.runtime, Reminded) and actor.incarnation is not None:
            self._memory.remember(ROOM, *start_note(actor.spec.name, actor.state.generation, actor.incarnation))
        self.monitor.on_start(actor)
