"""What must prove the start of a member, and what its probes said of it so far. It decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from mcpwatch.model.probe import ProbeResult, Stage, Symptom
from mcpwatch.model.session_words import waits_for_login
from mcpwatch.model.symptom import CALLS
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.behind import Behind
from mcpwatch.watchdog.finding import CUT_OFF
from mcpwatch.watchdog.probing import Probing, ScheduledCheck
from mcpwatch.watchdog.refusals import refusal
from mcpwatch.watchdog.senses import Senses
from mcpwatch.watchdog.single_client import ProbeDeaths, held
from mcpwatch.watchdog.snapshot import GONE_SYMPTOMS, GREETED_STAGES, MUTE_SYMPTOMS, UNSAID_SYMPTOMS, ProxyLogHint


class StartProofs:
    """Of all members. `deaths` tells who is not probed past the proxy, `behind` who runs no other, `hints` what its log
    said of routes."""

    def __init__(
        self,
        probing: Probing,
        proxy: Callable[[], MemberActor | None],
        senses: Senses,
        deaths: ProbeDeaths,
        behind: Behind,
        hints: Mapping[str, ProxyLogHint],
    ) -> None:
        self._probing = probing
        self._proxy = proxy
        self._senses = senses
        self._deaths = deaths
        self._behind = behind
        self._hints = hints

    def sick(self, actor: MemberActor) -> bool:
        """Whether a start that was never proven runs and answers, so that what it says is the trouble and not the start."""
        latest = self._latest(actor)
        if (latest is None or latest.symptom in UNSAID_SYMPTOMS | MUTE_SYMPTOMS) and self.login(actor):
            return True
        if latest is None:
            return False
        if actor.hindered[0] in CUT_OFF or self._unasked(actor):
            return True
        told = refusal(latest) is not None or held(latest)
        if told or latest.stage in GREETED_STAGES or latest.symptom not in UNSAID_SYMPTOMS:
            return True
        if latest.symptom is Symptom.UPSTREAM_DOWN and latest.stage not in CALLS and self._behind.runs_none(actor.spec):
            return True  # what it says is gone is no part of it
        living = actor.incarnation
        lost = latest.symptom in GONE_SYMPTOMS or (latest.symptom is Symptom.TIMEOUT and latest.stage is Stage.CONNECT)
        if living is None or living.pid is None or not lost:
            return False
        if living.container:
            return bool(self._senses.inside(living.pid, living.container))
        return actor.spec.carried.own and bool(self._senses.listening(living.pid))

    def unmade(self, actor: MemberActor) -> str:
        """Why the watchdog itself could not look whether a member has started; empty where it could."""
        proof, proxy = self.check(actor), self._proxy()
        if proof is None:
            return ""
        unmade = self._probing.faults.unmade(proof.name)
        behind = proof.key.vantage == "route" and proxy not in (None, actor)  # and nobody is asked through one not proven
        return unmade or (self.unmade(proxy) if behind and proxy is not None else "")

    def login(self, actor: MemberActor) -> str:
        """The words by which a start that lives waits for a person to log in; to end it would take that page away. Else empty."""
        alive = actor.incarnation is not None and actor.lives
        return waits_for_login(self._senses.words(actor.spec.name)) if alive and actor.spec.kind != "proxy" else ""

    def said(self, actor: MemberActor) -> str:
        """What the latest probe that could have proved a start was answered by one that is not silent; empty without one."""
        latest = self._latest(actor)
        if unasked := self._unasked(actor):
            return f"not what it was asked: {unasked}"
        if latest is None or latest.symptom is None or (latest.symptom in MUTE_SYMPTOMS and latest.stage not in GREETED_STAGES):
            return ""
        return f"{latest.symptom_text}: {latest.message}".removesuffix(": ")

    def asked(self, actor: MemberActor, due: Instant) -> Callable[[], Awaitable[None]] | None:
        """What ends when the probe does that was to prove a start and was under way then; `None` without one."""
        proof = self.check(actor)
        return self._probing.proofs.before(proof.name, due, proof.check.timeout) if proof is not None else None

    def check(self, actor: MemberActor) -> ScheduledCheck | None:
        """The check that proves a start: the first direct one that speaks to the member, else the first through the proxy.

        A canary proves it where there is nothing else.
        """
        usable = [one for one in self._probing.of_member(actor.spec.name) if one.check.proves]
        usable.sort(key=lambda one: one.check.canary is not None)
        alone = actor.spec.name in self._deaths.alone
        direct = [one for one in usable if one.key.vantage == "direct" and not alone]
        routed = [one for one in usable if one.key.vantage == "route"]
        return next(iter(direct), None) or (next(iter(routed), None) if alone or actor.spec.carried.hosted else None)

    def _unasked(self, actor: MemberActor) -> str:
        """What the proxy says of answers to nothing that a member gave in its present run; empty without them."""
        hint = self._hints.get(actor.spec.route or "")
        since = actor.started_at or 0.0
        return hint.text if hint is not None and hint.meaning == "unasked" and hint.at >= since else ""

    def _latest(self, actor: MemberActor) -> ProbeResult | None:
        """What the check that proves a start saw last."""
        proof = self.check(actor)
        return self._probing.history(proof).latest if proof is not None else None
