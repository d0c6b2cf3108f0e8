"""From findings to what is done and what is shown: one pure decision, made anew from every fresh snapshot.

Findings of one cause and one subject are shown as one diagnosis and repaired by one act; but each keeps its own count of attempts,
so that a merged diagnosis comes apart again when one of its routes needs another step. Must not know how an act is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcpwatch.model.time import Instant
from mcpwatch.model.view import Diagnosis
from mcpwatch.watchdog.advice import advice
from mcpwatch.watchdog.finding import DOWN, REJOINED, Finding, Findings, Rung
from mcpwatch.watchdog.ladder import Attempt, Choice, Step, choose

WORDS = {
    "reconnect": "have the proxy connect to it again",
    "resume": "let it run again",
    "restart": "restart the member",
    "restart_proxy": "restart the proxy, once for all routes that need it",
}
"""Each rung as a person reads it."""

_FOR_CAUSE: dict[tuple[str, Rung], str] = {
    **{(cause, "resume"): "put its container on that network again" for cause in REJOINED},
    ("not_mounted", "reconnect"): "have the proxy read its configuration again",
}
"""The same where a cause makes it something narrower."""

_SHARED = frozenset({"stale_session", "not_mounted", "wrong_base_url", "route_failing", "child_died"})
"""Causes that are one trouble of their subject, however many routes it spoils."""


@dataclass(frozen=True, slots=True)
class Act:
    """One step to take now, and the findings that it answers."""

    step: Step
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class RepairDecision:
    """What to show, what to do now, and when to consider again at the latest without anything having happened."""

    shown: tuple[Diagnosis, ...] = ()
    acts: tuple[Act, ...] = ()
    wake_at: Instant | None = None
    looks: tuple[Finding, ...] = ()
    """Findings that must be seen again before anything is done about them."""
    brief_looks: tuple[Finding, ...] = ()
    """The same, of silences that may be over: asked with little time."""


def decide_repairs(
    findings: Findings, attempts: tuple[Attempt, ...], now: Instant, under_way: tuple[Act, ...] = ()
) -> RepairDecision:
    """What follows from what was found and what was tried before. `under_way`: what is being done, or proved, at this moment."""
    mended = _mended(findings, attempts, under_way)
    by_repair = {found.about for found, _ in mended}
    chosen = [(one, choose(one, attempts, now)) for one in findings.found if one.text != DOWN or one.about not in by_repair]
    acts: dict[Step, list[Finding]] = {}
    for found, choice in chosen:
        if choice.step is not None:
            acts.setdefault(choice.step, []).append(found)
    wakes = [choice.wait_until for _, choice in chosen if choice.wait_until is not None and choice.wait_until > now]
    return RepairDecision(
        _shown([*chosen, *mended]),
        tuple(Act(step, tuple(found)) for step, found in acts.items()),
        min(wakes, default=None),
        tuple(found for found, choice in chosen if choice.look and not choice.brief),
        tuple(found for found, choice in chosen if choice.look and choice.brief),
    )


def _mended(findings: Findings, attempts: tuple[Attempt, ...], under_way: tuple[Act, ...]) -> list[tuple[Finding, Choice]]:
    """What is being repaired, and cannot be seen while that is done: a cause lasts until its repair is proved."""
    undecided = {(one.about, one.cause) for one in attempts if one.outcome == "under_way"}
    told = {one.about for one in findings.found if one.text != DOWN}
    found = [(one, act.step) for act in under_way for one in act.findings if one.key in undecided and one.about not in told]
    return [(one, Choice(None, "it is being done", next=step)) for one, step in found]


def _shown(chosen: list[tuple[Finding, Choice]]) -> tuple[Diagnosis, ...]:
    """One diagnosis for one cause of one subject that needs one next step: what spoils three routes is told once."""
    merged: dict[tuple[object, ...], Diagnosis] = {}
    for found, choice in chosen:
        one = _diagnosis(found, choice)
        key = (found.cause, found.subject, one.rung, *(() if found.cause in _SHARED else (found.about,)))
        first = merged.get(key)
        merged[key] = one if first is None else _joined(first, one)
    return tuple(merged.values())


def _joined(first: Diagnosis, other: Diagnosis) -> Diagnosis:
    text = first.text if other.text in first.text else f"{first.text}; {other.text}"
    return replace(
        first,
        text=text,
        evidence=(*first.evidence, *other.evidence),
        affects=(*first.affects, *other.affects),
        members=(*first.members, *other.members),
        hold=first.hold or other.hold,
        next=first.next if first.hold or not other.hold else other.next,
    )


def _diagnosis(found: Finding, choice: Choice) -> Diagnosis:
    """A finding as shown, with what will really be done next."""
    step = choice.step or choice.next
    rung = None if step is None or step.rung == "quarantine" else step.rung
    return Diagnosis(
        cause=found.cause,
        subject=found.subject,
        text=found.text,
        evidence=found.evidence,
        rung=rung,
        affects=found.affects,
        hold=choice.why if choice.step is None and rung else "",
        members=found.members,
        next=_next(found, choice, step),
    )


def _next(found: Finding, choice: Choice, step: Step | None) -> str:
    if found.rung is None:
        return found.hold or advice(found)
    if step is None or step.rung == "quarantine":
        where = f"; look at {found.look_at}" if found.look_at else ""
        return f"left to a person: {choice.why}{where}"
    whom = step.subject if step.rung in ("restart", "resume") and step.subject != found.subject else ""
    doing = _FOR_CAUSE.get((found.cause, step.rung), WORDS[step.rung])
    words = doing + (f" '{whom}'" if whom else "")
    return f"{words} ({choice.why})" if choice.step is None else words
