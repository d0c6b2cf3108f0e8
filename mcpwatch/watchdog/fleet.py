"""The fleet: every member's actor, the probing, the repair, and the plan they serve. Implements `ports.Fleet`.

Owns the order of things: members before the proxy, the proxy before what it hosts, stop in reverse. It must not know file formats,
wires, or who listens to its facts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Literal

from mcpwatch.clock import Clock
from mcpwatch.model.errors import RuntimeFailed, UsageError
from mcpwatch.model.fact import PlanApplied, Troubled
from mcpwatch.model.member import Phase, Want
from mcpwatch.model.naming import suggest
from mcpwatch.model.probe import ProbeResult, Vantage
from mcpwatch.model.spec import MemberSpec, Plan, PlanDiff
from mcpwatch.model.view import Diagnosis, FleetView, SelfView
from mcpwatch.ports import Holding, Incarnation, Prober, Publish, Runtime, Store
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import ActorListener, MemberActor
from mcpwatch.watchdog.contracts import Contracts
from mcpwatch.watchdog.hands import FleetHands
from mcpwatch.watchdog.history import placed
from mcpwatch.watchdog.mend import Mender
from mcpwatch.watchdog.monitor import FleetMonitor, MonitorListener
from mcpwatch.watchdog.order import at_rest, others_first, proved, stop_in_order
from mcpwatch.watchdog.recycle import Recycler
from mcpwatch.watchdog.runtime_events import RuntimeEventRouter
from mcpwatch.watchdog.senses import Context, Senses
from mcpwatch.watchdog.views import by_member, member_view

Carriers = Callable[[str], Runtime]
"""Gives the runtime of a name, made when first asked for."""

Guard = Callable[[Coroutine[Any, Any, Any], str], object]
"""Runs a named task whose failure is told and harms nobody."""

BEGIN_WAIT = 30.0
"""Seconds that a command waits for the fleet to begin."""
KEEP_WAIT = 5.0
"""Seconds that an answer waits for the disk."""
SWEPT = {"process"}
"""Runtimes asked what they own even when the plan names none of their members: what a removed member left is ended."""
ROOM = "fleet"


class Fleet:
    """Everything supervised. Lives on one event loop; `guard` runs a task of the app that cannot take the watchdog down."""

    def __init__(
        self,
        carry: Carriers,
        prober: Prober,
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
        self._listener = ActorListener(self._on_start, lambda _: self._soon(), self.monitor.sick, self.monitor.said)

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

    # What others may see and ask.

    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

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
        self._hold(actor, down=verb == "stop")
        at, why = self._clock.now(), "an operator asked"
        match verb:
            case "start" if (proxy := self._between_gateways(actor)) is not None:
                self._spawn(self._start_behind(proxy, member, why), f"order {member}")
            case "start":
                actor.tell(d.WantUp(at, why))
            case "stop":
                actor.tell(d.WantDown(at, why))
            case "restart":
                actor.tell(d.WantRestart(at, why))
        await self._kept()

    def _hold(self, actor: MemberActor, *, down: bool) -> None:
        """A carrier that begins, or reads its file again, would start what an operator stopped."""
        if isinstance(actor.runtime, Holding):
            actor.runtime.hold(actor.spec.name, down=down)

    async def _kept(self) -> None:
        """Return when what an operator wants is on disk: this watchdog may be killed right after its answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_WAIT):
                await self._memory.flush()

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
        """Begin to use a runtime: find what of ours lives in it, and follow it."""
        runtime = self._runtimes[name] = self._carrier(name)
        living: dict[str, Incarnation] = {}
        try:
            specs = [member for member in plan.members if member.runtime == name]
            living = {found.member: found for found in await runtime.owned(specs)}
        except RuntimeFailed as error:
            self._publish(Troubled(at=self._clock.wall(), text=str(error), level="error", subject=f"runtime {name}"))
        self._guard(self._events.follow(runtime), f"watch {name}")
        return living

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
        theirs = [n for n in stay if self.actors[n].spec.runtime == "hosted" and self.monitor.traits.reloads]
        for name in theirs:
            self.actors[name].replacing = self.actors[name].state.phase in (Phase.STARTING, Phase.RUNNING)
        prepare()
        self._plan = plan
        for name in sorted({member.runtime for member in plan.members} - self._runtimes.keys()):
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
        self._in_order(plan)
        self.monitor.rewatch()
        anew = next((self.actors[name] for name in stay if self.actors[name].spec.kind == "proxy"), None)
        for name in stay:
            if name not in down and (name not in theirs or self.actors[name].state.phase in (Phase.FAILED, Phase.BACKOFF)):
                if name in theirs and anew is not None:
                    self._spawn(self._start_behind(anew, name, "its configuration changed"), f"order {name}")
                else:
                    self.actors[name].tell(d.WantRestart(self._clock.now(), "its configuration changed"))
        for spec in fresh:
            if spec.want_up and spec.name not in down:
                self._spawn(self._start_in_order(spec), f"order {spec.name}")
        text = f"configuration applied: {len(diff.add)} added, {len(diff.remove)} removed, {len(diff.replace)} replaced"
        self._publish(
            PlanApplied(
                at=self._clock.wall(), text=text, added=diff.add, removed=diff.remove, replaced=diff.replace, retuned=diff.retune
            )
        )
        self.monitor.soon()
        await self._kept()

    def _in_order(self, plan: Plan) -> None:
        """Members in the plan's start order, also those that came later: they are shown in it, and stopped in its reverse."""
        ordered = {member.name: self.actors[member.name] for member in plan.members}
        self.actors.clear()
        self.actors.update(ordered)

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

    async def _remove(self, name: str) -> None:
        actor = self.actors[name]
        actor.tell(d.WantDown(self._clock.now(), "removed from the configuration"))
        await at_rest(actor)
        actor.close()
        self._events.removed(actor)
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

    def _between_gateways(self, actor: MemberActor) -> MemberActor | None:
        """The proxy of a hosted member, while one process of it goes or the next one comes: each may start what it is asked to."""
        proxy = self.monitor.proxy()
        if proxy is None or actor.spec.runtime != "hosted" or not actor.spec.want_up:
            return None
        return proxy if proxy.state.phase in (Phase.STOPPING, Phase.STARTING) else None

    async def _start_behind(self, proxy: MemberActor, name: str, why: str) -> None:
        """Start a hosted member that is down when the gateway is there, if that has not started it and nobody stopped it."""
        await proved(proxy)
        actor = self.actors.get(name)
        if actor is not None and actor.spec.want_up and f"down:{name}" not in self._memory.recall(ROOM):
            actor.tell(d.WantUp(self._clock.now(), why))

    def _on_start(self, actor: MemberActor) -> None:
        self._memory.remember(ROOM, f"generation:{actor.spec.name}", str(actor.state.generation))
        self.monitor.on_start(actor)

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
