"""Running checks: on their schedule, at a start until proven, again soon after a failure, and on demand.

Owns the histories. A result is held against the incarnations it was begun for and against gaps in watching: what an older
generation said, or what was asked before the machine slept, changes nothing. It must not know lifecycles, repairs or wires.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.model.fact import Level, ProbeFinished
from mcpwatch.model.probe import Outcome, ProbeResult, Vantage
from mcpwatch.model.time import Instant
from mcpwatch.ports import ProbeRunner
from mcpwatch.watchdog import doubt
from mcpwatch.watchdog.history import CheckHistory, Histories, Sight, confirm_after, fold, glance, renew, unseen
from mcpwatch.watchdog.own_faults import OwnFaults, broken
from mcpwatch.watchdog.pending_proofs import PendingProofs
from mcpwatch.watchdog.scheduled import Aim, ProbeListener, ScheduledCheck
from mcpwatch.watchdog.senses import Context

CONCURRENCY = 64
"""Probes under way at once, over the whole fleet."""

LAG_WINDOW = 60.0
"""Seconds over which the worst lag is told."""

PROVEN = (Outcome.SUCCESS, Outcome.DEGRADED)
"""What proves a start."""

PROOF_FIRST = 0.02
PROOF_GROWTH = 1.6
PROOF_MAX = 1.0
"""Seconds between readiness probes of a start: the first, the growth, the longest."""


class Probing:
    """All checks of the fleet."""

    def __init__(self, prober: ProbeRunner, context: Context, listener: ProbeListener) -> None:
        self.histories = Histories()
        self.proofs = PendingProofs()
        self.faults = OwnFaults(context)
        self.schedule = context.senses.schedule()
        self._listener = listener
        self._lags: tuple[tuple[Instant, float], ...] = ()
        self._prober = prober
        self._clock = context.clock
        self._publish = context.publish
        self._spawn = context.spawn
        self._scheduled: dict[str, ScheduledCheck] = {}
        self._by_subject: dict[str, list[ScheduledCheck]] = {}
        self._by_member: dict[str, list[ScheduledCheck]] = {}
        self._running: dict[str, asyncio.Event] = {}
        self._confirming: set[str] = set()
        self._gate = asyncio.Semaphore(CONCURRENCY)
        self._door = asyncio.Lock()
        self._gap_at = Instant(0.0)

    def watch(self, wanted: Iterable[ScheduledCheck]) -> None:
        """Make these the scheduled checks: new ones are added, changed ones replaced, others dropped."""
        fresh = {scheduled.name: scheduled for scheduled in wanted}
        for name in self._scheduled.keys() - fresh.keys():
            self.schedule.drop(name)
            self.histories.drop(self._scheduled[name].key)
        for name, scheduled in fresh.items():
            if self._scheduled.get(name) != scheduled:
                self._put(scheduled)
        self._scheduled = fresh
        self.faults.keep(fresh)
        self._by_subject, self._by_member = {}, {}
        for scheduled in fresh.values():
            self._by_subject.setdefault(scheduled.key.subject, []).append(scheduled)
            self._by_member.setdefault(scheduled.member, []).append(scheduled)

    def _put(self, scheduled: ScheduledCheck) -> None:
        async def job(lag: float) -> None:
            self._lag(lag)
            await self.run(scheduled, lag)

        self.schedule.put(scheduled.name, job, interval=scheduled.check.interval, cron=scheduled.check.cron)
        if scheduled.key not in self.histories:
            self.histories[scheduled.key] = CheckHistory()

    def of(self, subject: str, vantage: Vantage | None = None) -> tuple[ScheduledCheck, ...]:
        """The checks of a member or route, from one vantage or all."""
        return tuple(one for one in self._by_subject.get(subject, ()) if vantage in (None, one.key.vantage))

    def of_member(self, member: str) -> tuple[ScheduledCheck, ...]:
        """The checks of a member and of its route."""
        return tuple(self._by_member.get(member, ()))

    def history(self, scheduled: ScheduledCheck) -> CheckHistory:
        """The history of a check; an empty one before its first result."""
        return self.histories.get(scheduled.key, CheckHistory())

    def running(self, scheduled: ScheduledCheck) -> bool:
        """Whether a check runs at this moment."""
        return scheduled.name in self._running

    def renew(self, member: str, generation: int) -> None:
        """A new generation of a member: its histories begin again, and what was learned of its targets is dropped.

        Of its route too where that is the only way to it: what is hosted in the proxy is seen nowhere else.
        """
        only_routed = not self.of(member, "direct")
        for scheduled in self.of_member(member):
            self.histories[scheduled.key] = renew(self.history(scheduled), generation)
            aim = self._listener.aim(scheduled)
            if aim is not None and (scheduled.key.vantage == "direct" or only_routed):
                self._prober.forget(aim.target)

    def renew_check(self, scheduled: ScheduledCheck) -> None:
        """What one check has seen says nothing any more: its history begins again."""
        self.histories[scheduled.key] = renew(self.history(scheduled), self.history(scheduled).generation)

    def gap(self, at: Instant) -> None:
        """Watching was interrupted until now: failures of probes begun before say nothing, and what was due before is not late."""
        self._gap_at = at

    def clock_set(self) -> None:
        """The wall clock was set: checks go by the new one, and lags measured across the step say nothing."""
        self.histories.clock_set(self._clock.now(), self._clock.wall())
        self.schedule.realign()
        self._lags = ()

    @property
    def worst_lag(self) -> float:
        """By how many seconds a check began late, at worst in the last minute."""
        since = self._clock.now() - LAG_WINDOW
        return max((lag for at, lag in self._lags if at >= since), default=0.0)

    def _lag(self, lag: float) -> None:
        """Keep what can still be the worst of a minute: of two, the older goes when it is not the larger."""
        if lag > 1.0:
            self._listener.notice()
        now = self._clock.now()
        if now - lag < self._gap_at:
            return
        self._lags = (*(kept for kept in self._lags if kept[0] >= now - LAG_WINDOW and kept[1] > lag), (now, lag))

    async def look(self, checks: Iterable[ScheduledCheck], *, brief: bool = False) -> None:
        """Run these checks now, side by side; one that is already running is waited for and then run again.

        `brief`: each has no more time than one needs that is well.
        """

        async def one(scheduled: ScheduledCheck) -> None:
            if (busy := self._running.get(scheduled.name)) is not None:
                await busy.wait()
            await self.run(scheduled, brief=brief)

        await asyncio.gather(*(one(scheduled) for scheduled in checks))

    async def run(self, scheduled: ScheduledCheck, lag: float = 0.0, *, brief: bool = False) -> ProbeResult | None:
        """Run one check now and judge it. `None` when it cannot be run, is already running, or its result is void.

        Whatever breaks in our own code on the way is an unknown result: it says nothing of whom the check is about.
        """
        if scheduled.name in self._running:
            return None
        try:
            result = await self._run(scheduled, lag, brief=brief)
        except Exception as error:  # noqa: BLE001 - as above
            result = broken(error)
        if self.faults.took(scheduled.name, result) >= scheduled.check.failure_threshold:
            self._unsee(scheduled)
        return result

    def _unsee(self, scheduled: ScheduledCheck) -> None:
        """Nobody could look for so long that what was good is no longer known to be."""
        before = self.history(scheduled)
        self.histories[scheduled.key] = after = unseen(before)
        if after.verdict is not before.verdict:
            with contextlib.suppress(Exception):  # it may be this that is broken, and is told already
                self._listener.on_result(scheduled, before, after)

    async def _run(self, scheduled: ScheduledCheck, lag: float, *, brief: bool) -> ProbeResult | None:
        if self._listener.aim(scheduled) is None:
            self.faults.drop(scheduled.name)
            return None
        done = self._running[scheduled.name] = asyncio.Event()
        try:
            async with self._gate:
                async with self._door:  # one a turn of the loop: a death that is seen meanwhile is not behind all of them
                    await asyncio.sleep(0)
                aim, begun = self._listener.aim(scheduled), self._clock.now()
                if aim is None:
                    return None
                check = doubt.brief(aim.check, self.history(scheduled)) if brief else aim.check
                result = await self._prober.probe(check, aim.target, scheduled.key.vantage)
                result = await self._listener.excuse(scheduled, result, begun)
        finally:
            self._running.pop(scheduled.name, None)
            done.set()
        if not aim.same(self._listener.aim(scheduled)) or self._scheduled.get(scheduled.name) != scheduled:
            return None
        if result.outcome is not Outcome.SUCCESS:
            self._listener.notice()
            if begun < self._gap_at:
                result = replace(result, outcome=Outcome.UNKNOWN)
        result = self._listener.refine(scheduled, result, aim.generation)
        self._take(scheduled, result, self._sight(aim, begun, brief=brief), lag)
        return result

    def _sight(self, aim: Aim, begun: Instant, *, brief: bool = False) -> Sight:
        now, wall, target = self._clock.now(), self._clock.wall(), f"{aim.target.transport} {aim.target.url}"
        return Sight(begun, now, wall, aim.generation, aim.proxy_generation, aim.deep, brief, target)

    def _take(self, scheduled: ScheduledCheck, result: ProbeResult, sight: Sight, lag: float) -> None:
        """Judge a result, tell it, and look again soon when it is not yet a verdict."""
        before = self.history(scheduled)
        counts = doubt.one_more(before, result) if sight.brief else result
        after = fold(before, counts, scheduled.check, sight)
        if (after.generation, after.proxy_generation) != (sight.generation, sight.proxy_generation):
            after = replace(after, generation=sight.generation, proxy_generation=sight.proxy_generation)
        self.histories[scheduled.key] = after
        subject, vantage = scheduled.key.subject, scheduled.key.vantage
        level: Level = "debug" if result.outcome in (Outcome.SUCCESS, Outcome.UNKNOWN) else "info"
        detail = f": {result.symptom_text}: {result.message}" if result.symptom else ""
        self._publish(
            ProbeFinished(
                at=self._clock.wall(),
                text=f"{subject}: {scheduled.key.check} {vantage} {result.outcome} in {result.seconds * 1000:.0f} ms{detail}",
                level=level,
                member=scheduled.member,
                check=scheduled.key.check,
                vantage=vantage,
                generation=sight.generation,
                outcome=result.outcome,
                result=result,
                route=subject if vantage == "route" else "",
                lag=lag,
            )
        )
        self._listener.on_result(scheduled, before, after)
        pause = confirm_after(scheduled.check, after)
        if pause is not None and scheduled.name not in self._confirming:
            self._confirming.add(scheduled.name)
            self._spawn(self._confirm(scheduled, pause), f"confirm {scheduled.name}")

    async def _confirm(self, scheduled: ScheduledCheck, pause: float) -> None:
        await asyncio.sleep(pause)
        self._confirming.discard(scheduled.name)
        await self.run(scheduled)

    async def ready(self, scheduled: ScheduledCheck, generation: int) -> None:
        """Probe a fresh start, quickly at first, until the check succeeds or the start is over."""
        pause = PROOF_FIRST
        while self._listener.proving(scheduled.member, generation):
            try:
                aim = self._listener.aim(scheduled)
                result = await self._tried(scheduled, aim) if aim is not None and aim.generation == generation else None
            except Exception as error:  # noqa: BLE001 - our own fault is no failure of the start
                result = broken(error)
            self.faults.took(scheduled.name, result)
            if result is not None and result.outcome in PROVEN:
                return
            await asyncio.sleep(pause)
            pause = min(PROOF_MAX, pause * PROOF_GROWTH)

    async def _tried(self, scheduled: ScheduledCheck, aim: Aim) -> ProbeResult | None:
        """One probe of a start; `None` when its result is void."""
        begun = self._clock.now()
        with self.proofs.under_way(scheduled.name, begun):
            result = await self._prober.probe(aim.check, aim.target, scheduled.key.vantage)
            result = await self._listener.excuse(scheduled, result, begun)
            if not self._listener.proving(scheduled.member, aim.generation) or not aim.same(self._listener.aim(scheduled)):
                return None
            sight = self._sight(aim, begun)
            if result.outcome in PROVEN:
                self._take(scheduled, self._listener.refine(scheduled, result, aim.generation), sight, 0.0)
                return result
            self.histories[scheduled.key] = glance(self.history(scheduled), result, sight)
            self._listener.on_try(scheduled)
            return result
