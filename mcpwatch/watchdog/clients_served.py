"""A member that is silent to checks because it serves clients: what the proxy tells of these is proof that it lives. Pure.

Who answers one at a time lets a check wait behind clients: an answer to one of them that came since the check began makes it slow
and not hung. While it answers nobody it may be at one long request; that is waited for, as long as the client does, and no longer
than a bound. Errors are no silence: a call that fails is not excused by others that succeed.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from mcpwatch.model.member import ClientCalls
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.symptom import CALLS
from mcpwatch.model.time import Instant, later
from mcpwatch.watchdog.doubt import silent_since
from mcpwatch.watchdog.finding import Finding
from mcpwatch.watchdog.snapshot import HUNG_SYMPTOMS, FleetSnapshot, MemberSnapshot, Observation

CALL_PATIENCE = 300.0
"""Seconds that a client's request may have been under way while a silent member is left to it. Most clients give up earlier."""

GIVEN_UP_PATIENCE = 60.0
"""Seconds that a member is given from the beginning of a request which its client gave up: few can be stopped in the midst."""


def unanswered(result: ProbeResult) -> bool:
    """Whether a result says no more than that nothing came in time."""
    return result.outcome is Outcome.FAILURE and result.symptom in HUNG_SYMPTOMS and not result.said


def meanwhile(result: ProbeResult, calls: ClientCalls, begun: Instant) -> ProbeResult:
    """The result of a probe that began then: slow, where clients got answers since. A tool call is excused by tool calls alone."""
    at = _served_at(result.stage, calls)
    if not unanswered(result) or at is None or at < begun:
        return result
    text = f"it is busy: {result.message}, while it answered clients ({_lately(calls)})"
    return replace(result, outcome=Outcome.DEGRADED, symptom=Symptom.SLOW, message=text)


def at_work(snapshot: FleetSnapshot, member: MemberSnapshot, seen: Observation | None, found: Finding) -> Finding | None:
    """The finding with a wait while the silence `seen` is that of a member which serves clients, or is at a request of one."""
    since, calls = silent_since(seen), member.calls
    if found.rung is None or seen is None or since is None:
        return None
    served, began = _served_at(seen.stage, calls), calls.waiting_since
    if served is not None and seen.began_at is not None and served >= seen.began_at:
        return replace(found, rung=None, hold=f"left alone while it answers its clients ({_lately(calls)})")
    works_on = _spoke_at(calls)
    if began is not None and (began < since or (works_on > since and calls.given_up is None and began < (seen.began_at or since))):
        when = "since before it fell silent" if began < since else "and it answered others until then"
        why = f"left to a client's request that has been under way for {snapshot.at - began:.0f}s, {when}"
        return given(snapshot, found, why, later(Instant(max(began, works_on)), CALL_PATIENCE))
    if calls.given_up is None:
        return None
    why = "it may still be at a request that its client gave up"
    return given(snapshot, found, why, later(calls.given_up, GIVEN_UP_PATIENCE))


def given(snapshot: FleetSnapshot, found: Finding, why: str, until: Instant) -> Finding | None:
    """The finding with a wait and the reason for it; `None` when the time is over."""
    if until <= snapshot.at:
        return None
    return replace(found, hold=f"{why}; it is given {until - snapshot.at:.0f}s more", until=until)


def _lately(calls: ClientCalls) -> str:
    return f"{calls.lately} request{'' if calls.lately == 1 else 's'} in the last minute"


def _served_at(stage: Stage | None, calls: ClientCalls) -> Instant | None:
    """When a client last got what proves that this stage can be answered."""
    return calls.called_at if stage in CALLS else calls.answered_at


def _spoke_at(calls: ClientCalls) -> Instant:
    """When it last said something to a client's request, progress included; long ago where it did not."""
    return max((at for at in (calls.answered_at, calls.progress_at) if at is not None), default=Instant(-inf))
