"""Which rung of the repair ladder to take now, if any. Pure: a finding, what was tried before, and the time.

A rung is tried, proved by the probe that failed, and only then is the next one considered. Attempts are counted by what the
finding is about (one member, one route) and its cause: what did not help one route says nothing of another. Two useless attempts
of a step lead to the next different one; when none is left, a person is told what to look at. A repair that is proved and needed
again within `FORGET` counts too: what comes back again and again is not repaired by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from mcpwatch.model.time import Instant
from mcpwatch.watchdog.finding import REJOINED, Finding, Rung

HOLD_DOWN = 30.0
"""Seconds after a useless repair before the next one for the same finding; half of it after one that helped."""

NUDGE_PAUSE = 2.0
"""The same after a reconnect, which disturbs nothing."""

LASTING: dict[Rung, int] = {"reconnect": 20, "resume": 3, "restart": 3, "restart_proxy": 5}
"""How often a proved repair may be needed again within `FORGET` before it counts as no repair."""

FLEETING, FLEETING_TIMES = 60.0, 2
"""A repair that is needed again so soon, so many times, though nothing changed, mends nothing and only cuts others."""

FRESH = 2.0
"""Seconds after the end of a probe within which a repair may rest on it."""

FORGET = 900.0
"""Seconds after which an attempt no longer counts."""

Outcome = Literal["under_way", "proved", "useless", "void"]
"""`void`: something else happened meanwhile, so that the attempt proves nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: a rung for a member (of the proxy, for `reconnect` and `restart_proxy`)."""

    rung: Rung
    subject: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One step that was tried for one finding. `ended` is `None` while the proof is due, `carried` until the step is done."""

    at: Instant
    about: str
    cause: str
    step: Step
    outcome: Outcome = "under_way"
    ended: Instant | None = None
    carried: Instant | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do: a step now, or none and why (`wait_until` when trying later makes sense). `next` is the step that comes then."""

    step: Step | None
    why: str
    wait_until: Instant | None = None
    next: Step | None = None
    look: bool = False
    """It rests on what was seen too long ago: probe again now."""
    brief: bool = False
    """That look has no more time than one needs that is well."""


def choose(finding: Finding, attempts: tuple[Attempt, ...], now: Instant) -> Choice:
    """The step for a finding, given every attempt so far (oldest first)."""
    if finding.rung is None:
        return Choice(None, finding.hold or f"no repair helps against {finding.cause}", finding.until)
    recent = tuple(one for one in attempts if now - one.at < FORGET)
    same = _of(finding, recent)
    if same and same[-1].step.rung == "quarantine":
        return Choice(None, _vain(finding, same), Instant(same[-1].at + FORGET))
    step = _step(finding, same)
    if step is None:
        return Choice(Step("quarantine", finding.subject), _vain(finding, same))
    if finding.hold:
        return Choice(None, finding.hold, finding.until, step)
    if any(one.outcome == "under_way" and _keeps_away(one, finding, step) for one in recent):
        return Choice(None, "a repair is under way", next=step)
    if same and (ended := same[-1].ended) is not None:
        wait = Instant(ended + _pause(same))
        if wait > now:
            return Choice(None, "the last repair was moments ago", wait, step)
        if finding.seen_at is not None and finding.seen_at < ended:
            return Choice(None, "looking again after the last repair", next=step, look=True)
    if finding.seen_until is not None and now - finding.seen_until > FRESH and step.rung != "reconnect":
        return Choice(None, "looking again before it", next=step, look=True)
    if finding.unsure and step.rung in ("restart", "restart_proxy"):
        silent = finding.unsure == "silent"
        why = "asking once more before it" if silent else "asking some more times before it, because it may answer well between"
        return Choice(None, why, next=step, look=True, brief=silent)
    return Choice(step, "the lowest rung that fits", next=step)


def _of(finding: Finding, recent: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts that count for a finding, in order. A restart of the proxy that proved nothing for it counts by whatever name.

    So does the latest for others, since which it was never served.
    """
    own = [one for one in recent if one.about == finding.about]
    same = [one for one in own if one.cause == finding.cause]
    if finding.rung != "restart_proxy" or (same and same[-1].step.rung == "quarantine"):
        return tuple(same)
    proved = max((one.at for one in own if one.outcome == "proved"), default=0.0)
    others = [one for one in recent if one.step.rung == "restart_proxy" and one.carried is not None and one not in same]
    vain = [one for one in others if one.about == finding.about and one.outcome in ("void", "useless") and one.at > proved]
    since, last = finding.unserved_since, max((one.at for one in own), default=0.0)
    shared = [one for one in others if one.about != finding.about and one.at > last and since is not None and _began(one, since)]
    counted = [replace(one, outcome="useless", ended=one.ended or one.carried) for one in (*vain, *shared[-1:])]
    return tuple(sorted((*same, *counted), key=lambda one: one.at))


def _began(one: Attempt, since: Instant) -> bool:
    """Whether an attempt began the run of the proxy that began then."""
    return one.carried is not None and one.carried >= since


def _keeps_away(under_way: Attempt, finding: Finding, step: Step) -> bool:
    """Whether a repair is waited for: while it is being done by all who need the same subject, while it is being proved by those
    who speak of the same. What the others saw before it was done says nothing now.
    """
    if under_way.about == finding.about:
        return True
    seen = finding.seen_until if finding.seen_at is None else finding.seen_at
    undone = under_way.carried is None or seen is None or seen < under_way.carried
    return under_way.step.subject == step.subject and undone


def steps(finding: Finding) -> tuple[Step, ...]:
    """The whole ladder of a finding, the lowest rung first."""
    subject, suspect = finding.subject, finding.suspect
    match finding.rung:
        case "reconnect":
            harder: Rung = "restart" if finding.about.startswith("member:") else "restart_proxy"
            return (Step("reconnect", subject), *((Step(harder, suspect),) if suspect else ()))
        case "resume" if finding.cause in REJOINED:
            return (Step("resume", subject),)
        case "resume":
            return Step("resume", subject), Step("restart", subject)
        case "restart_proxy":
            return (Step("restart_proxy", subject), *((Step("restart", suspect),) if suspect else ()))
        case "restart":
            return (Step("restart", subject),)
        case _:
            return ()


def _step(finding: Finding, same: tuple[Attempt, ...]) -> Step | None:
    """The first step that was not yet proved useless, nor helped for moments only; `None`: there is no other."""
    if finding.unprovoked and _fleeting(same, finding) >= FLEETING_TIMES:
        return None
    for step in steps(finding):
        tried = [one for one in same if one.step == step]
        useless = sum(one.outcome == "useless" for one in tried)
        if useless < (1 if step.rung == "resume" else finding.tries) and len(tried) - useless < LASTING[step.rung]:
            return step
    return None


def _fleeting(same: tuple[Attempt, ...], finding: Finding) -> int:
    """How many restarts of the proxy were proved and needed again at once, the last one included."""
    needed = [*(one.at for one in same[1:]), finding.seen_at]
    pairs = zip(same, needed, strict=False)
    held = [at - one.ended for one, at in pairs if _healed(one) and one.ended is not None and at is not None]
    return sum(seconds < FLEETING for seconds in held)


def _healed(one: Attempt) -> bool:
    return one.outcome == "proved" and one.step.rung == "restart_proxy"


def again(finding: Finding, attempts: tuple[Attempt, ...], now: Instant) -> str:
    """What is told with a repair that was proved and is needed again: how often it was, and how long the last one held."""
    same = [one for one in attempts if (one.about, one.cause) == finding.key and one.outcome == "proved" and now - one.at < FORGET]
    if not same or same[-1].ended is None:
        return ""
    return f" (again: repaired {len(same)}× before, and the last held for {now - same[-1].ended:.0f}s)"


def _vain(finding: Finding, same: tuple[Attempt, ...]) -> str:
    """Why no more is tried: what was, changed nothing, or the same trouble was there again soon after each."""
    tried = [one for one in same if one.step.rung != "quarantine"]
    if finding.unprovoked and (times := _fleeting(same, finding)) >= FLEETING_TIMES:
        return f"restarts help for moments only ({times} times)"
    lasted = [later.at - one.ended for one, later in pairwise(same) if one.outcome == "proved" and one.ended is not None]
    if 2 * len(lasted) <= len(tried):
        return "repairs did not help"
    return f"repairs help for a while only ({len(lasted)} times, each for about {median(lasted):.0f}s)"


def _pause(same: tuple[Attempt, ...]) -> float:
    """Seconds between the end of the last attempt and the next, growing while they are useless."""
    useless = 0
    for attempt in reversed(same):
        if attempt.outcome != "useless":
            break
        useless += 1
    base = NUDGE_PAUSE if same[-1].step.rung == "reconnect" else HOLD_DOWN
    return base * 2.0**useless / 2.0


def changed(attempts: tuple[Attempt, ...], attempt: Attempt, **changes: Outcome | Instant) -> tuple[Attempt, ...]:
    """The attempts with one of them at its end, or carried out."""
    return tuple(replace(one, **changes) if _same(one, attempt) else one for one in attempts)


def _same(one: Attempt, other: Attempt) -> bool:
    return (one.at, one.about, one.cause, one.step) == (other.at, other.about, other.cause, other.step)
