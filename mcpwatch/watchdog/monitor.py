"""What every vantage sees of the fleet: which checks run, against what, what their results mean for members and routes.

Owns the probing, the proxy's traits and what its log said, and what a start must prove. Gives the snapshot that a diagnosis is made
from. It must not know how a member is carried, nor causes and repairs (it only says when there is something to consider).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Exited
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Symptom
from mcpwatch.model.proxy import LogHint
from mcpwatch.model.spec import Traits
from mcpwatch.model.text import plain
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import RouteView
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.checked_fleet import CheckedFleet
from mcpwatch.watchdog.door import shut_out, turned_away
from mcpwatch.watchdog.evaluate import member_verdict
from mcpwatch.watchdog.history import CheckHistory
from mcpwatch.watchdog.probing import ScheduledCheck
from mcpwatch.watchdog.single_client import second_refused
from mcpwatch.watchdog.snapshot import (
    FleetSnapshot,
    ProxyLogHint,
    proved,
)
from mcpwatch.watchdog.take_snapshot import Known, take_snapshot

STRUCK = 0.5
"""Seconds between a probe that was cut and the end of the member that are put down to one another."""
FLEET_HINTS = 200
"""Hints of the proxy's log that are kept."""


class FleetMonitor(CheckedFleet):
    """Sees all members through their probes. `actors` is the fleet's own table."""

    # What others see and tell.

    def snapshot(self) -> FleetSnapshot:
        """The fleet at this moment."""
        plan = self._plan()
        behind, hints = self._behind, tuple(self._hints.values())
        alone, culprit = self.left_alone(self._deaths.alone), self._culprit()
        known = Known(self.traits, self._engines_gone, hints, alone, behind.frozen, behind.gone, culprit, self.parents)
        known = replace(known, childless=self._childless(), relisted=self._relisted(self._actors), wall=self._clock.wall())
        return take_snapshot(plan, self._actors, self.probing.histories, self._senses, known, self._clock.now())

    @property
    def parents(self) -> frozenset[str]:
        """Members of which something else ran when their present run was proven."""
        return frozenset(self._behind.parents)

    def _childless(self) -> frozenset[str]:
        """Members of which it is known that they run no other, as they are run now."""
        return frozenset(name for name, actor in self._actors.items() if self._behind.runs_none(actor.spec))

    def renews(self, actor: MemberActor) -> bool:
        """Whether the proxy replaces a member by itself, and once, when what is written of it changes."""
        return actor.spec.carried.hosted and self.traits.reloads

    def clock_set(self, now: Instant, wall: WallTime) -> None:
        """The wall clock was set, and shows `wall`."""
        self.probing.clock_set()
        self._routes.clock_set(now, wall)

    def tell_routes(self) -> None:
        """Every change of a route's verdict is a fact."""
        self._routes.tell(self._plan().routes, self.proxy(), self._diagnoses())

    def route_views(self) -> tuple[RouteView, ...]:
        """Every route as shown, now."""
        return self._routes.views(self._plan().routes, self.proxy(), self._diagnoses())

    def learn(self, traits: Traits) -> None:
        """This is how the proxy behaves, as far as is known now."""
        self.traits = traits

    def engine(self, runtime: str, gone: str) -> None:
        """The engine of a runtime is away, and why; the empty string: it is there."""
        self._engines_gone.pop(runtime, None)
        if gone:
            self._engines_gone[runtime] = gone

    def hear(self, hint: LogHint, at: WallTime | None = None) -> None:
        """The proxy's own log said something of a route (or, with `ready`, of all): look through it again, and at the cause.

        `at`: when the line was stamped.
        """
        if hint.member or hint.meaning == "exhausted":
            self._hints[hint.member] = ProxyLogHint(hint.member, hint.meaning, plain(hint.text), self._clock.now())
            if len(self._hints) > FLEET_HINTS:
                self._hints.pop(next(iter(self._hints)))
            self._run(self.probing.of(hint.member, "route"))
            if hint.meaning == "mounting":
                living = proxy.incarnation if (proxy := self.proxy()) is not None else None
                self._mounting.heard(hint.member, at, living.started_at if living is not None else None)
        elif hint.meaning == "ready":
            self._mounting.ready()
            self._run_routes()
        self.soon()

    def _culprit(self) -> str:
        """The route of the server with which the whole proxy ended; empty when it was none, or is not known."""
        proxy = self.proxy()
        return self._mounting.culprit(runs=proxy is not None and proxy.state.phase in (Phase.STARTING, Phase.RUNNING))

    # What starts prove.

    def on_start(self, actor: MemberActor) -> None:
        """A new generation lives: its histories begin again, and it must prove itself."""
        name, generation = actor.spec.name, actor.state.generation
        if actor.spec.kind == "proxy":
            self._hints.clear()
            self._mounting.begin()
            self._behind.renew()
        self.probing.renew(name, generation)
        self.renew(actor)
        proof = self.starts.check(actor)
        if proof is None or actor.spec.carried.watched:
            actor.tell(d.Judged(self._clock.now(), "nothing to prove", generation, Verdict.UNKNOWN, proven=True))
            self._first_looks(actor)
        else:
            self._spawn(self.probing.ready(proof, generation), f"ready {name}")

    def renew(self, actor: MemberActor, *, look: bool = False) -> None:
        """What was seen of a member that changed, or through a proxy that did, says nothing any more. `look`: look at it now."""
        checks = list(self.probing.of(actor.spec.name, "direct"))
        if actor.spec.kind == "proxy":
            checks += [one for route in self._plan().routes for one in self.probing.of(route.name, "route")]
        elif not checks and actor.spec.route:
            checks += self.probing.of(actor.spec.route, "route")
        for scheduled in checks:
            self.probing.renew_check(scheduled)
        if look:
            self._run(self.probing.of_member(actor.spec.name))

    def _proving(self, member: str, generation: int) -> bool:
        actor = self._actors.get(member)
        starting = actor is not None and actor.state.phase is Phase.STARTING and actor.state.generation == generation
        return starting and not self._closed

    def _on_try(self, scheduled: ScheduledCheck) -> None:
        """A start was probed and is not proven: after an end, what it answers may be a cause."""
        actor = self._actors.get(scheduled.member)
        if actor is not None and actor.state.failures:
            self.soon()

    def _first_looks(self, actor: MemberActor) -> None:
        """Run all checks of a member once, so that its verdicts are known; of every route when it is the proxy."""
        if actor.spec.kind == "proxy":
            self._run_routes()
        unknown = [one for one in self.probing.of_member(actor.spec.name) if self.probing.history(one).verdict is Verdict.UNKNOWN]
        self._run(unknown)

    # What results mean.

    def _on_result(self, scheduled: ScheduledCheck, before: CheckHistory, after: CheckHistory) -> None:
        """A history changed: the member's verdict, the route's, and the diagnosis follow."""
        actor = self._actors.get(scheduled.member)
        if actor is None:
            return
        hosted = actor.spec.carried.hosted and not (after.failing and turned_away(after.latest))
        own = scheduled.key.vantage == "direct" or hosted or bool(self.left_alone((actor.spec.name,)))
        if scheduled.key.vantage == "route" and after.failing:
            self._look_behind(scheduled.member, after)
        if scheduled.key.vantage == "direct" and after.failing:
            self._refused(actor, after)
        recovers = before.verdict is Verdict.UNHEALTHY is not after.verdict
        if scheduled.key.vantage == "route" and recovers and self.left_alone((actor.spec.name,)):
            self.renew(actor)  # it is asked itself no more, and what it answered meanwhile is over
        if own:
            self._judge(actor, scheduled, after)
        if scheduled.key.vantage == "direct" and before.failing and not after.failing:
            self._recovered(actor)
        if before.failing and not after.failing:
            shut, here = shut_out(self.probing.histories, scheduled.key), self.probing.of(scheduled.key.subject)
            self._run([one for one in here if one.key in shut and one.check.interval is not None])
        if self._hides(scheduled, after) or not self._quiet(before, after) or self._relisted((scheduled.member,)):
            self.soon()

    def _hides(self, scheduled: ScheduledCheck, after: CheckHistory) -> bool:
        """Look at the processes where a memory answered and nothing was asked that only the server behind it can answer. Whether
        any of the fleet are stopped or gone: then the kernel alone knows that something does not work."""
        actor, proxy = self._actors[scheduled.member], self.proxy()
        routed = scheduled.key.vantage == "route"
        remembers = self.traits.lists_from_cache if routed else scheduled.member in self._deep
        well = after.latest if not after.failing else None
        if routed and well is not None and proved(well):
            self._behind.answered(actor.spec.name)
        if well is not None and remembers and not proved(well):
            mains = {
                one.spec.name: one.incarnation.pid
                for one in (actor, proxy if routed else None)
                if one is not None and one.incarnation is not None and one.incarnation.pid is not None
            }
            inside = routed and proxy is not None and actor.spec.direct is None and actor.spec.name not in mains
            holder = mains.get(proxy.spec.name, 0) if inside and proxy is not None else 0
            self._spawn(self._ask_kernel(scheduled, mains, holder), f"look behind {scheduled.member}")
        return bool(self._behind.frozen or self._behind.gone)

    async def _ask_kernel(self, scheduled: ScheduledCheck, mains: Mapping[str, int], holder: int) -> None:
        """What runs below these main processes; `holder`: the proxy's, where the server runs inside that, else 0."""
        await self._behind.look_at(mains)
        if holder:
            await self._behind.look_inside(scheduled.member, scheduled.key.subject, holder)
        self._behind.keep(self._actors.keys())
        if self._behind.frozen or self._behind.gone:
            self.soon()

    def _judge(self, actor: MemberActor, scheduled: ScheduledCheck, after: CheckHistory) -> None:
        verdict = member_verdict(self.probing.histories, scheduled.key.subject, scheduled.key.vantage)
        symptom = after.latest.symptom_text if after.latest else ""
        reason = f"{scheduled.key.check} {scheduled.key.vantage}: {symptom or 'ok'}"
        starting = actor.state.phase is Phase.STARTING
        proven = scheduled.check.proves and not after.failing and (actor.lives or not starting or not actor.spec.carried.own)
        actor.tell(d.Judged(self._clock.now(), reason, actor.state.generation, verdict, proven=proven))
        if starting and actor.state.phase is Phase.RUNNING:
            living, carried = actor.incarnation, actor.spec.carried
            if living is not None and living.pid is not None and (carried.own or carried.container):
                look = self._behind.look_below(actor.spec.name, living.pid, living.container or "", actor.spec.fingerprint)
                self._spawn(look, f"look below {actor.spec.name}")
            for one in self.probing.of_member(scheduled.member):  # what failed before it was ready says nothing of it now
                if self.probing.history(one).failing:
                    self.probing.renew_check(one)
            if actor.spec.kind == "proxy" and proven:
                self._mounting.served()
            self._recovered(actor)
            self._first_looks(actor)

    def _recovered(self, actor: MemberActor) -> None:
        """A member is well (again): a proxy that waits before it tries again is told not to, and the route is looked at."""
        proxy = self.proxy()
        if proxy is not None and self._culprit() == actor.spec.route and proxy.state.phase in (Phase.FAILED, Phase.BACKOFF):
            proxy.tell(d.WantUp(self._clock.now(), f"'{actor.spec.name}' is well again, with which it could not start"))
        if actor.spec.route and not actor.spec.carried.hosted and self.traits.nudges:
            self._spawn(self._reconnect(actor.spec.route), f"reconnect {actor.spec.route}")
        elif actor.spec.route:
            self._run(self.probing.of(actor.spec.route, "route"))

    async def _reconnect(self, route: str) -> None:
        proxy = self.proxy()
        if proxy is None or proxy.state.phase is not Phase.RUNNING:
            return
        with contextlib.suppress(RuntimeFailed):  # then it tries again by itself
            await self._senses.nudge((route,))
        await self.probing.look(self.probing.of(route, "route"))

    def _quiet(self, before: CheckHistory, after: CheckHistory) -> bool:
        """Whether a result is one more success like the last, in a fleet where nothing is wrong: there is nothing to diagnose."""
        if self._diagnoses() or after.failing or before.failing or before.verdict is not after.verdict:
            return False
        return before.symptom is after.symptom and not self.probing.histories.failing

    def _look_behind(self, member: str, failed: CheckHistory) -> None:
        """A route fails: look at the member itself too, unless that was done since the trouble began."""
        for scheduled in self.probing.of(member, "direct"):
            history = self.probing.history(scheduled)
            if scheduled.check.canary is None and (
                history.began_at is None or failed.since is None or history.began_at < failed.since
            ):
                self._run((scheduled,))

    def ended(self, event: Exited, tail: tuple[str, ...]) -> None:
        """An incarnation ended: count it when it was being probed just then."""
        actor = self._actors.get(event.member)
        if actor is None or actor.state.phase is not Phase.RUNNING or event.generation != actor.state.generation:
            return
        by_itself = bool(event.code) and event.signal is None
        behind = actor.spec.route is not None and self.proxy() is not None
        probed = by_itself and behind and any(self._struck(one) for one in self.probing.of(event.member, "direct"))
        self._deaths.ended(event.member, tail[-1].strip() if tail else event.detail, probed=probed)

    def _refused(self, actor: MemberActor, after: CheckHistory) -> None:
        """A direct check fails: leave the only session to the proxy where that has it, and was seen to serve clients since."""
        route, words = actor.spec.route, second_refused(after.latest, after.streaks.failures)
        if not words or route is None or self.proxy() is None or actor.spec.name in self._deaths.alone:
            return
        through = [self.probing.history(one) for one in self.probing.of(route, "route")]
        since = [one for one in through if one.latest is not None and (one.began_at or 0.0) >= (after.onset or 0.0)]
        remembers = self.traits.lists_from_cache
        if any(one.failing for one in through) or not any(not remembers or proved(one.latest) for one in since if one.latest):
            return
        self._deaths.refused(actor.spec.name, words)
        self.renew(actor)

    def _struck(self, scheduled: ScheduledCheck) -> bool:
        """Whether a check runs at this moment, or was cut just now."""
        history = self.probing.history(scheduled)
        cut = history.symptom is Symptom.CUT and history.at is not None and self._clock.now() - history.at < STRUCK
        return self.probing.running(scheduled) or cut
