"""Carrying out repairs: the shell around `diagnose` and `ladder`. One repair at a time per subject, each proved by what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from mcpwatch.clock import Clock
from mcpwatch.model.fact import Diagnosed, RepairProved, RepairTried
from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis
from mcpwatch.ports import Publish
from mcpwatch.watchdog.actor import Spawn
from mcpwatch.watchdog.ladder import Attempt, Rung, choose

PROOF_TIMEOUT = 120.0
"""Seconds a repair is given to be proved, start grace included."""

KEPT = 200
"""Attempts remembered."""

Carry = Callable[[Rung, Diagnosis], Awaitable[None]]
Prove = Callable[[Diagnosis], Awaitable[bool]]


class Repair:
    """Turns the present diagnoses into repairs. `carry` does a rung, `prove` reruns the probes that failed."""

    def __init__(self, clock: Clock, publish: Publish, spawn: Spawn, carry: Carry, prove: Prove) -> None:
        self.current: tuple[Diagnosis, ...] = ()
        self.attempts: tuple[Attempt, ...] = ()
        self.waiting: dict[str, str] = {}
        self.recreates: Callable[[str], bool] = lambda _: False
        self.enabled = True
        self._clock = clock
        self._publish = publish
        self._spawn = spawn
        self._carry = carry
        self._prove = prove
        self._timer: asyncio.TimerHandle | None = None

    def consider(self, found: tuple[Diagnosis, ...]) -> None:
        """These are the causes now: tell what is new and what is gone, and take the rungs that fit."""
        self._tell(found)
        self.current = found
        self.waiting = {}
        if not self.enabled:
            return
        now = self._clock.now()
        again: list[Instant] = []
        for diagnosis in found:
            choice = choose(diagnosis, self.attempts, now, self.recreates(diagnosis.subject))
            if choice.rung is None:
                self.waiting[diagnosis.subject] = choice.why
                if choice.wait_until is not None:
                    again.append(choice.wait_until)
                continue
            self._take(choice.rung, diagnosis, now)
        self._look_again(again, now)

    def forget(self, subject: str) -> None:
        """An operator acted on it: earlier attempts no longer count."""
        self.attempts = tuple(attempt for attempt in self.attempts if attempt.subject != subject)

    def close(self) -> None:
        """Start no more repairs."""
        self.enabled = False
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, rung: Rung, diagnosis: Diagnosis, now: Instant) -> None:
        quarantine = rung == "quarantine"
        attempt = Attempt(now, diagnosis.cause, diagnosis.subject, rung, proved=False if quarantine else None)
        self.attempts = (*self.attempts, attempt)[-KEPT:]
        self._publish(
            RepairTried(
                at=self._clock.wall(),
                text=f"{diagnosis.subject}: {rung}, because {diagnosis.text}",
                level="error" if quarantine else "warning",
                member=diagnosis.subject,
                rung=rung,
                cause=diagnosis.cause,
            )
        )
        if not quarantine:
            self._spawn(self._repair(attempt, diagnosis), f"repair {diagnosis.subject}")

    async def _repair(self, attempt: Attempt, diagnosis: Diagnosis) -> None:
        begun, proved = self._clock.now(), False
        try:
            async with asyncio.timeout(PROOF_TIMEOUT):
                await self._carry(attempt.rung, diagnosis)
                proved = await self._prove(diagnosis)
        except TimeoutError:
            proved = False
        finally:
            self.attempts = tuple(replace(a, proved=proved) if a is attempt else a for a in self.attempts)
        seconds = self._clock.now() - begun
        outcome: Literal["proved", "failed"] = "proved" if proved else "failed"
        words = "is well again" if proved else "is not better"
        self._publish(
            RepairProved(
                at=self._clock.wall(),
                text=f"{diagnosis.subject}: {words} {seconds:.1f}s after {attempt.rung}",
                level="info" if proved else "error",
                member=diagnosis.subject,
                rung=attempt.rung,
                cause=diagnosis.cause,
                outcome=outcome,
                seconds=seconds,
            )
        )
        if not proved:
            self.consider(self.current)

    def _tell(self, found: tuple[Diagnosis, ...]) -> None:
        """New causes and gone causes are facts."""
        before = {(d.cause, d.subject, d.affects, d.members): d for d in self.current}
        after = {(d.cause, d.subject, d.affects, d.members): d for d in found}
        for key in after.keys() - before.keys():
            self._publish(_diagnosed(self._clock, after[key], cleared=False))
        for key in before.keys() - after.keys():
            self._publish(_diagnosed(self._clock, before[key], cleared=True))

    def _look_again(self, times: list[Instant], now: Instant) -> None:
        """Reconsider when the earliest pause is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times:
            wait = max(0.05, min(times) - now)
            self._timer = asyncio.get_running_loop().call_later(wait, lambda: self.consider(self.current))


def _diagnosed(clock: Clock, diagnosis: Diagnosis, *, cleared: bool) -> Diagnosed:
    return Diagnosed(
        at=clock.wall(),
        text=f"{diagnosis.subject}: " + (f"no longer: {diagnosis.text}" if cleared else diagnosis.text),
        level="info" if cleared or diagnosis.cause == "planned_restart" else "warning",
        member=diagnosis.subject,
        cause=diagnosis.cause,
        evidence=diagnosis.evidence,
        affects=diagnosis.affects,
        members=diagnosis.members,
        cleared=cleared,
    )
