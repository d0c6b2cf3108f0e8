"""One alert with its evidence as a message tells it: a snapshot, so that a message sent late tells what was known then. Pure."""

from __future__ import annotations

from mcpwatch.alerts.book import Alert, AlertBook, AlertSnapshot, AlertState, ObservedMember
from mcpwatch.alerts.suppress import OF_MEMBERS, OF_ROUTES, diagnosis_of

BEFORE = 10.0
"""Seconds before the beginning from which an exit or a repair belongs to this alert."""
EVIDENCE_MAX = 8
SPEAKS_MAX = 50


def snapshot(book: AlertBook, alert: Alert, receiver: str, speaks_for: tuple[str, ...] = ()) -> AlertSnapshot:
    """The alert as `receiver` is told of it now. `speaks_for` are ids of alerts quiet because of it."""
    seen = book.members.get(alert.member, ObservedMember())
    found = diagnosis_of(book, alert)
    told = next((one for one in alert.told if one.receiver == receiver), None)
    from_then = alert.since - BEFORE
    about_member = alert.name in (*OF_MEMBERS, *OF_ROUTES)
    starts = sum(at > alert.since for at in seen.starts)
    restarts = (f"started again {starts} times" if starts > 1 else "started again",) if starts and alert.route == "" else ()
    exited = seen.exit if about_member and seen.exit and seen.exit.at >= from_then else None
    return AlertSnapshot(
        id=alert.id,
        alert=alert.name,
        subject=alert.subject,
        severity=alert.severity,
        state=AlertState.RESOLVED if alert.state is AlertState.RESOLVED else AlertState.FIRING,
        since=alert.since,
        member=alert.member,
        route=alert.route,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        why=alert.ended if alert.state is AlertState.RESOLVED else alert.why,
        cause=found.cause if found else "",
        cause_text=found.text if found else "",
        symptom=alert.symptom,
        evidence=found.evidence[:EVIDENCE_MAX] if found else (),
        exit=exited.text if exited else "",
        tail=seen.tail if exited else (),
        tried=(*restarts, *(note.text for note in seen.tried if note.at >= from_then)) if about_member else (),
        changes=alert.changes,
        speaks_for=tuple(sorted(speaks_for))[:SPEAKS_MAX],
        flapping=len(alert.flips) if alert.flapping else 0,
        unwatched=alert.unwatched,
        times=told.times if told else 1,
    )
