"""The repair loop: the shell around `diagnose`, `repair` and `ladder`. It holds no diagnosis: whenever it considers, waits or
proves, it takes a fresh snapshot.

One repair at a time per subject, each proved by what failed. Looking again is an action of its own. Must not know how a member is
carried or probed (`Hands`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Diagnosed, RepairProved, RepairTried
from mcpwatch.model.member import Phase
from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.beside import settled
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import Finding, LookAgain
from mcpwatch.watchdog.ladder import FORGET, Attempt, Outcome, Step, again, changed
from mcpwatch.watchdog.proof import Proof
from mcpwatch.watchdog.repair import Act, RepairDecision, decide_repairs
from mcpwatch.watchdog.senses import Context
from mcpwatch.watchdog.snapshot import FleetSnapshot

PROOF_TIMEOUT = 120.0
"""Seconds a repair is given to be proved, or the start grace of its subject and `PROOF_MARGIN` where that is longer."""
PROOF_MARGIN = 30.0
LIGHT_PROOF = {"reconnect": 15.0, "resume": 30.0}
"""The same for what takes effect at once or never."""
PROOF_PAUSE = 0.5
"""Seconds between tries while a repair is being proved."""
LOOK_DELAY = 0.05
"""Seconds between a change and the diagnosis, so that what falls together is seen together. Restarts do not wait for it."""
LOOK_SHARE, LOOK_DELAY_MAX = 4.0, 2.0
"""That delay grows to so many times what the last diagnosis took, and to so many seconds: a large fleet must be probed too."""
LOOK_FIRST, LOOK_MAX = 0.2, 5.0
"""Seconds between two looks again at the same member, at first and at most."""

QUIET = frozenset({"planned_restart"})  # causes that are no trouble; `starting` is shown, and no fact at all


class Hands(Protocol):
    """What the loop can have done."""

    async def carry(self, step: Step, finding: Finding, routes: tuple[str, ...]) -> None:
        """Do a step, and return when it is done (a restart: when the member runs again or failed)."""
        ...

    def settled(self) -> None:
        """The causes in force are others now, perhaps: what is told because of them follows."""
        ...

    async def look(self, member: str, *, deep: bool = False, brief: bool = False) -> None:
        """Probe a member and its route now, side by side; `deep`: by calls too; `brief`: with little time for each."""
        ...

    async def prove(self, finding: Finding) -> None:
        """Run the checks that a finding was made from."""
        ...


class Mender:
    """Turns what is wrong now into repairs. `look` takes a fresh snapshot."""

    def __init__(self, context: Context, look: Callable[[], FleetSnapshot], hands: Hands) -> None:
        self.current: tuple[Diagnosis, ...] = ()
        self.attempts: tuple[Attempt, ...] = ()
        self._enabled = True
        self._clock = context.clock
        self._publish = context.publish
        self._spawn = context.spawn
        self._senses = context.senses
        self._look = look
        self._hands = hands
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._asking = False
        self._delay = LOOK_DELAY
        self._looking: dict[str, float] = {}
        self._busy: set[str] = set()
        self._under_way: tuple[Act, ...] = ()

    def soon(self) -> None:
        """Consider once, after what is happening now has happened: a proxy and what it hosts fall within milliseconds."""
        if not self._due and self._enabled:
            self._due = True
            asyncio.get_running_loop().call_later(self._delay, self._considered)

    def _considered(self) -> None:
        self._due = False
        began = self._clock.now()
        self.consider()
        self._delay = min(LOOK_DELAY_MAX, max(LOOK_DELAY, LOOK_SHARE * (self._clock.now() - began)))

    def consider(self) -> None:
        """Look at the fleet as it is now: tell what is new and what is gone, and take the steps that fit.

        Where the machine has something to say first, that is asked beside the loop, and the fleet looked at again.
        """
        if not self._enabled or self._asking:
            return
        snapshot = self._look()
        if (answers := self._senses.open()) is not None:
            self._asking = True
            self._spawn(self._consider_after(answers), "look at the machine")
            return
        self._decide(snapshot)

    async def _consider_after(self, answers: Callable[[], Awaitable[None]]) -> None:
        try:
            await answers()
        finally:
            self._asking = False
        self.consider()

    def _decide(self, snapshot: FleetSnapshot) -> None:
        now = self._clock.now()
        findings = diagnose(snapshot)
        decision = decide_repairs(findings, self.attempts, now, self._under_way)
        before, self.current = self.current, decision.shown
        self._hands.settled()
        self._tell(before)
        for act in decision.acts:
            self._take(act, now)
        self._again(findings.look_again, decision, snapshot)
        self._wake(decision, now)

    def forget(self, member: str, route: str | None = None) -> None:
        """An operator acted on a member: earlier attempts no longer count."""
        about = {f"member:{member}", f"route:{route or member}"}
        self.attempts = tuple(one for one in self.attempts if one.about not in about and one.step.subject != member)

    def close(self) -> None:
        """Start no more repairs."""
        self._enabled = False

    # Looking again.

    def _again(self, looks: tuple[LookAgain, ...], decision: RepairDecision, snapshot: FleetSnapshot) -> None:
        """Probe again what nothing can be said of yet, and what is about to be repaired on old evidence."""
        brief = {found.about: found in decision.brief_looks for found in (*decision.looks, *decision.brief_looks)}
        about = ((one.name, about) for one in snapshot.members for about in (f"member:{one.name}", f"route:{one.route}"))
        looks = (*looks, *(LookAgain(name, brief=brief[about]) for name, about in about if about in brief))
        wanted = {look.member for look in looks}
        self._looking = {member: pause for member, pause in self._looking.items() if member in wanted}
        for look in looks:
            if look.member in self._busy:
                continue
            pause = self._looking.get(look.member, 0.0)
            self._looking[look.member] = min(LOOK_MAX, max(LOOK_FIRST, pause * 2.0))
            self._busy.add(look.member)
            self._spawn(self._look_again(look, pause), f"look again {look.member}")

    async def _look_again(self, look: LookAgain, pause: float) -> None:
        try:
            await asyncio.sleep(pause)
            await self._hands.look(look.member, deep=look.deep, brief=look.brief)
        finally:
            self._busy.discard(look.member)
        self.soon()

    # Repairing.

    def _take(self, act: Act, now: Instant) -> None:
        quarantine = act.step.rung == "quarantine"
        outcome: Outcome = "useless" if quarantine else "under_way"
        tried = tuple(
            Attempt(now, found.about, found.cause, act.step, outcome, now if quarantine else None) for found in act.findings
        )
        recent = tuple(one for one in self.attempts if now - one.at < FORGET)
        self.attempts = (*recent, *tried)
        first = act.findings[0]
        reason = "; ".join(dict.fromkeys(found.text + again(found, recent, now) for found in act.findings))
        look_at = f"; look at {first.look_at}" if quarantine and first.look_at else ""
        self._publish(
            RepairTried(
                at=self._clock.wall(),
                text=f"{act.step.subject}: {act.step.rung}, because {reason}{look_at}",
                level="error" if quarantine else "warning",
                member=act.step.subject,
                rung=act.step.rung,
                cause=first.cause,
            )
        )
        if quarantine:
            self.soon()
        else:
            self._spawn(self._repair(act, tried), f"repair {act.step.subject}")

    async def _repair(self, act: Act, tried: tuple[Attempt, ...]) -> None:
        proof = Proof(act, self._clock.now(), {(one.about, one.cause): one for one in tried})
        self._under_way = (*self._under_way, act)
        try:
            async with asyncio.timeout(self._patience(act, self._look())) as bound:
                routes = tuple(route for found in act.findings for route in found.affects)
                await self._hands.carry(act.step, act.findings[0], routes)
                proof.done = self._clock.now()
                for attempt in tried:
                    self.attempts = changed(self.attempts, attempt, carried=proof.done)
                await self._prove(proof, bound)
        except TimeoutError:
            pass
        finally:
            self._under_way = tuple(one for one in self._under_way if one is not act)
            for found in act.findings:
                if found.key not in proof.outcomes:
                    self._came_of(proof, found, "useless")
        self._tell_end(proof)

    def _came_of(self, proof: Proof, found: Finding, outcome: Outcome) -> None:
        """What a repair was for one of its findings: told at once, so that nothing waits for what the others come to."""
        proof.outcomes[found.key] = outcome
        self.attempts = changed(self.attempts, proof.tried[found.key], outcome=outcome, ended=self._clock.now())
        self.soon()

    def _patience(self, act: Act, snapshot: FleetSnapshot) -> float:
        if act.step.rung in LIGHT_PROOF:
            return LIGHT_PROOF[act.step.rung]
        routes = {route for found in act.findings for route in found.affects}
        involved = [one for one in snapshot.members if one.name == act.step.subject or one.route in routes]
        return max([PROOF_TIMEOUT, *(one.start_grace + PROOF_MARGIN for one in involved)])

    async def _prove(self, proof: Proof, bound: asyncio.Timeout) -> None:
        """Run the checks that each finding was made from, until it is known of each what came of it. The caller bounds the wait.

        What is still starting is given that time, and is proved after it.
        """
        while pending := [found for found in proof.act.findings if found.key not in proof.outcomes]:
            await asyncio.gather(*(self._hands.prove(found) for found in pending))
            snapshot = await settled(self._senses, self._look)
            found_now = diagnose(snapshot).found
            until = [one.until for one in found_now if one.cause == "starting" and one.about in {found.about for found in pending}]
            if until and (due := bound.when()) is not None:
                longest = max(one - snapshot.at for one in until if one is not None) + PROOF_MARGIN
                bound.reschedule(max(due, asyncio.get_running_loop().time() + longest))
            subject = snapshot.member(proof.act.step.subject)
            if subject is None or subject.phase in (Phase.FAILED, Phase.STOPPED):
                return
            for found in pending:
                if (outcome := proof.outcome(found, snapshot, found_now)) is not None:
                    self._came_of(proof, found, outcome)
            if len(proof.outcomes) < len(proof.act.findings):
                await asyncio.sleep(PROOF_PAUSE)

    def _tell_end(self, proof: Proof) -> None:
        act = proof.act
        proved = all(outcome == "proved" for outcome in proof.outcomes.values())
        seconds, subject = self._clock.now() - proof.begun, act.step.subject
        words = "is well again" if proved else "is not better"
        self._publish(
            RepairProved(
                at=self._clock.wall(),
                text=f"{subject}: {words} {seconds:.1f}s after {act.step.rung}",
                level="info" if proved else "error",
                member=subject,
                rung=act.step.rung,
                cause=act.findings[0].cause,
                outcome="proved" if proved else "failed",
                seconds=seconds,
            )
        )

    # Telling and waking.

    def _tell(self, old: tuple[Diagnosis, ...]) -> None:
        """New causes and gone causes are facts."""
        before, after = (
            {(one.cause, one.subject, one.affects, one.members): one for one in told if one.cause != "starting"}
            for told in (old, self.current)
        )
        for key in after.keys() - before.keys():
            self._publish(_diagnosed(self._clock, after[key], cleared=False))
        for key in before.keys() - after.keys():
            self._publish(_diagnosed(self._clock, before[key], cleared=True))

    def _wake(self, decision: RepairDecision, now: Instant) -> None:
        """Consider again when the earliest pause is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if decision.wake_at is not None:
            wait = max(LOOK_DELAY, decision.wake_at - now)
            self._timer = asyncio.get_running_loop().call_later(wait, self.consider)


def _diagnosed(clock: Clock, diagnosis: Diagnosis, *, cleared: bool) -> Diagnosed:
    return Diagnosed(
        at=clock.wall(),
        text=f"{diagnosis.subject}: " + (f"no longer: {diagnosis.text}" if cleared else diagnosis.text),
        level="info" if cleared or diagnosis.cause in QUIET else "warning",
        member=diagnosis.subject,
        cause=diagnosis.cause,
        evidence=diagnosis.evidence,
        affects=diagnosis.affects,
        members=diagnosis.members,
        cleared=cleared,
    )
