"""Running checks: on their schedule, at a start until proven, again soon after a failure, and on demand.

Owns the tallies. A result is held against the generation it was begun for and against gaps in watching: what an older generation
said, or what was asked before the machine slept, changes nothing. It must not know lifecycles, repairs or wires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Level, ProbeFinished
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Target, Vantage
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.time import Instant
from mcpwatch.ports import Prober, Publish
from mcpwatch.watchdog.actor import Spawn
from mcpwatch.watchdog.schedule import Schedule
from mcpwatch.watchdog.verdict import Key, Tallies, Tally, confirm_after, judge, renew

CONCURRENCY = 64
"""Probes under way at once, over the whole fleet."""

LAG_WINDOW = 60.0
"""Seconds over which the worst lag is told."""

PROOF_FIRST = 0.02
PROOF_GROWTH = 1.6
PROOF_MAX = 1.0
"""Seconds between readiness probes of a start: the first, the growth, the longest."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One check from one vantage on one subject: what the schedule runs. `member` owns the generation."""

    key: Key
    check: CheckSpec
    member: str

    @property
    def name(self) -> str:
        """The job's name."""
        return f"{self.key.vantage}:{self.key.subject}:{self.key.check}"


class Probing:
    """All checks of the fleet. `target_of` and `generation_of` tell where and against what to hold a result (`None`: not now)."""

    def __init__(self, prober: Prober, clock: Clock, publish: Publish, spawn: Spawn) -> None:
        self.tallies = Tallies()
        self.schedule = Schedule()
        self.target_of: Callable[[Watched], Target | None] = lambda _: None
        self.generation_of: Callable[[str], int | None] = lambda _: None
        self.on_result: Callable[[Watched, Tally, Tally], None] = _ignore
        self.refine: Callable[[Watched, ProbeResult], ProbeResult] = _as_it_is
        """Sees every result of a running member before it is judged."""
        self.notice: Callable[[], None] = lambda: None
        """Called before a failure is judged: tells `gap` now if time went by unwatched, and not only at the next tick."""
        self._lags: tuple[tuple[Instant, float], ...] = ()
        self._prober = prober
        self._clock = clock
        self._publish = publish
        self._spawn = spawn
        self._watched: dict[str, Watched] = {}
        self._by_subject: dict[str, list[Watched]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._confirming: set[str] = set()
        self._gate = asyncio.Semaphore(CONCURRENCY)
        self._gap_at = Instant(0.0)

    def watch(self, wanted: Iterable[Watched]) -> None:
        """Make these the scheduled checks: new ones are added, changed ones replaced, others dropped."""
        fresh = {watched.name: watched for watched in wanted}
        for name in self._watched.keys() - fresh.keys():
            self.schedule.drop(name)
            self.tallies.drop(self._watched[name].key)
        for name, watched in fresh.items():
            if self._watched.get(name) != watched:
                self._put(watched)
        self._watched = fresh
        self._by_subject = {}
        for watched in fresh.values():
            self._by_subject.setdefault(watched.key.subject, []).append(watched)

    def _put(self, watched: Watched) -> None:
        async def job(lag: float) -> None:
            self._lag(lag)
            await self.run(watched, lag)

        self.schedule.put(watched.name, job, interval=watched.check.interval, cron=watched.check.cron)
        if watched.key not in self.tallies:
            self.tallies[watched.key] = Tally()

    def of(self, subject: str, vantage: Vantage | None = None) -> tuple[Watched, ...]:
        """The checks of a member or route, from one vantage or all."""
        return tuple(w for w in self._by_subject.get(subject, ()) if vantage in (None, w.key.vantage))

    def of_member(self, member: str) -> tuple[Watched, ...]:
        """The checks of a member and of its route."""
        return tuple(watched for watched in self._watched.values() if watched.member == member)

    def renew(self, member: str, generation: int) -> None:
        """A new generation of a member: its tallies begin again, and what was learned of its targets is dropped.

        Of its route too where that is the only way to it: what is hosted in the proxy is seen nowhere else.
        """
        only_routed = not self.of(member, "direct")
        for watched in self.of_member(member):
            self.tallies[watched.key] = renew(self.tallies.get(watched.key, Tally()), generation)
            target = self.target_of(watched)
            if target is not None and (watched.key.vantage == "direct" or only_routed):
                self._prober.forget(target)

    def gap(self, at: Instant) -> None:
        """Watching was interrupted until now: failures of probes begun before say nothing, and what was due before is not late."""
        self._gap_at = at

    def clock_set(self) -> None:
        """The wall clock was set: checks go by the new one, and lags measured across the step say nothing."""
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
            self.notice()
        now = self._clock.now()
        if now - lag < self._gap_at:
            return
        self._lags = (*(kept for kept in self._lags if kept[0] >= now - LAG_WINDOW and kept[1] > lag), (now, lag))

    async def run(self, watched: Watched, lag: float = 0.0) -> ProbeResult | None:
        """Run one check now and judge it. `None` when it cannot be run, is already running, or its result is void."""
        generation = self.generation_of(watched.member)
        target = self.target_of(watched)
        if generation is None or target is None or watched.name in self._running:
            return None
        task = asyncio.current_task()
        assert task is not None
        self._running[watched.name] = task
        try:
            async with self._gate:
                begun = self._clock.now()
                result = await self._prober.probe(watched.check, target, watched.key.vantage)
        finally:
            self._running.pop(watched.name, None)
        if self.generation_of(watched.member) != generation or self._watched.get(watched.name) != watched:
            return None
        if result.outcome is not Outcome.SUCCESS:
            self.notice()
            if begun < self._gap_at:
                result = replace(result, outcome=Outcome.UNKNOWN)
        result = self.refine(watched, result)
        self._take(watched, result, generation, lag)
        return result

    def _take(self, watched: Watched, result: ProbeResult, generation: int, lag: float) -> None:
        """Judge a result, tell it, and look again soon when it is not yet a verdict."""
        before = self.tallies.get(watched.key, Tally())
        after = judge(before, result, watched.check, self._clock.now(), self._clock.wall())
        self.tallies[watched.key] = replace(after, generation=generation)
        subject, vantage = watched.key.subject, watched.key.vantage
        level: Level = "debug" if result.outcome in (Outcome.SUCCESS, Outcome.UNKNOWN) else "info"
        detail = f": {result.symptom_text}: {result.message}" if result.symptom else ""
        self._publish(
            ProbeFinished(
                at=self._clock.wall(),
                text=f"{subject}: {watched.key.check} {vantage} {result.outcome} in {result.seconds * 1000:.0f} ms{detail}",
                level=level,
                member=watched.member,
                check=watched.key.check,
                vantage=vantage,
                generation=generation,
                outcome=result.outcome,
                result=result,
                route=subject if vantage == "route" else "",
                lag=lag,
            )
        )
        self.on_result(watched, before, after)
        pause = confirm_after(watched.check, after)
        if pause is not None and watched.name not in self._confirming and not watched.check.cron:
            self._confirming.add(watched.name)
            self._spawn(self._confirm(watched, pause), f"confirm {watched.name}")

    async def _confirm(self, watched: Watched, pause: float) -> None:
        await asyncio.sleep(pause)
        self._confirming.discard(watched.name)
        await self.run(watched)

    async def ready(self, watched: Watched) -> None:
        """Probe a fresh start, quickly at first, until the check succeeds or the generation is over. Ends with the start."""
        generation, pause = self.generation_of(watched.member), PROOF_FIRST
        while self.generation_of(watched.member) == generation and generation is not None:
            target = self.target_of(watched)
            if target is not None:
                result = await self._prober.probe(watched.check, target, watched.key.vantage)
                proven = result.outcome in (Outcome.SUCCESS, Outcome.DEGRADED)
                if self.generation_of(watched.member) != generation:
                    return
                if proven:
                    self._take(watched, result, generation, 0.0)
                    return
                before = self.tallies.get(watched.key, Tally())
                self.tallies[watched.key] = replace(before, latest=result, wall=self._clock.wall(), at=self._clock.now())
            await asyncio.sleep(pause)
            pause = min(PROOF_MAX, pause * PROOF_GROWTH)

    def verdicts(self, subject: str, vantage: Vantage) -> tuple[Verdict, ...]:
        """The verdicts of all checks of a subject from a vantage."""
        return tuple(self.tallies[watched.key].verdict for watched in self.of(subject, vantage) if watched.key in self.tallies)


def _ignore(watched: Watched, before: Tally, after: Tally) -> None:
    """Nobody listens yet."""


def _as_it_is(watched: Watched, result: ProbeResult) -> ProbeResult:  # noqa: ARG001
    """Nothing is held against a result."""
    return result
