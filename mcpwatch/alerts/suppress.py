"""What keeps an alert from being told right now, and in whose favour. Pure.

Dependency semantics: alerting is suppressed, never checking; a beginning is suppressed, never an end; one hop is enough, since
what speaks is itself looked up to its root; and after the root's recovery the others wait for their own next check.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcpwatch.alerts.book import Alert, AlertBook
from mcpwatch.alerts.routing import AlertPolicy
from mcpwatch.alerts.silence import muting
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Diagnosis

RELEASE_MAX = 120.0
"""Seconds that an alert whose inhibitor ended waits for its own next check before it is told on its old result."""
INHIBITED = "inhibited by "
OF_MEMBERS = ("gave_up", "down", "degraded")
OF_ROUTES = ("route_down", "route_degraded")


def labels(book: AlertBook, alert: Alert) -> dict[str, str]:
    """The bounded labels of an alert that patterns and groups are written for."""
    found = diagnosis_of(book, alert)
    kind = "route" if alert.route else "member" if alert.member else "self"
    return {
        "alert": alert.name,
        "kind": kind,
        "member": alert.member,
        "route": alert.route,
        "name": alert.subject,
        "severity": str(alert.severity),
        "cause": found.cause if found else "",
        "symptom": alert.symptom.partition("@")[0],
    }


def diagnosis_of(book: AlertBook, alert: Alert) -> Diagnosis | None:
    """The diagnosis that names this alert's cause: of the subject itself before one that only affects it."""
    if alert.name not in (*OF_MEMBERS, *OF_ROUTES):
        return None
    affecting = [one for one in book.diagnoses if _explains(one, alert)]
    own = [one for one in book.diagnoses if one.subject == alert.member]
    return next(iter((*affecting, *own) if alert.route else (*own, *affecting)), None)


def muted(book: AlertBook, alert: Alert, now: WallTime, rules: AlertPolicy) -> str:
    """Why this alert is not told now, in words, or the empty string."""
    speaker = spoken_for(book, alert, rules)
    if speaker:
        return INHIBITED + speaker
    wished = muting(book.silences, rules.windows, labels(book, alert), now)
    if wished:
        return wished
    waiting = alert.released_at is not None and alert.checked_at <= alert.released_at and now - alert.released_at < RELEASE_MAX
    return "waiting for its next check" if waiting else ""


def spoken_for(book: AlertBook, alert: Alert, rules: AlertPolicy) -> str:
    """The alert that speaks for this one (its id), or the empty string.

    Follows speakers to the root. Two that blame each other must not both fall silent: of a circle the first by name speaks.
    """
    chain = [alert.id]
    current = alert
    while True:
        speaker = next((one for one in _speakers(book, current) if rules.routes_for(labels(book, one))), None)
        if speaker is None:
            return chain[1] if len(chain) > 1 else ""
        if speaker.id in chain:
            circle = chain[chain.index(speaker.id) :]
            return "" if alert.id == min(circle) else min(circle)
        chain.append(speaker.id)
        current = speaker


def inhibited(book: AlertBook) -> dict[str, tuple[str, ...]]:
    """The alerts that stay quiet, by the alert that speaks for them (ids)."""
    found: dict[str, tuple[str, ...]] = {}
    for alert in book.alerts.values():
        if alert.open and alert.muted.startswith(INHIBITED):
            speaker = alert.muted.removeprefix(INHIBITED)
            found[speaker] = (*found.get(speaker, ()), alert.id)
    return found


def _speakers(book: AlertBook, alert: Alert) -> Iterator[Alert]:
    """Open alerts that this one may be a mere consequence of, the best informed first. None speaks for itself."""
    if alert.name not in (*OF_MEMBERS, *OF_ROUTES):
        return
    for subject in _parents(book, alert):
        for name in ("gave_up", "down"):
            found = book.alerts.get(f"{name}:{subject}")
            if found and found.open and found.id != alert.id and not _says_more(alert, found):
                yield found
    if alert.name == "route_degraded":
        for key in (f"route_down:{alert.route}", f"degraded:{alert.member}"):
            if (found := book.alerts.get(key)) and found.open:
                yield found


def _parents(book: AlertBook, alert: Alert) -> Iterator[str]:
    """Members whose outage explains this alert: the diagnosed subject, the proxy for its routes, the member itself."""
    for diagnosis in book.diagnoses:
        if _explains(diagnosis, alert) and diagnosis.subject != alert.subject:
            yield diagnosis.subject
    if alert.route and book.proxy:
        yield book.proxy
    if alert.member:
        yield alert.member


def _explains(diagnosis: Diagnosis, alert: Alert) -> bool:
    """Whether the diagnosis explains this alert, of a route or of a member."""
    return diagnosis.explains(route=alert.route) if alert.route else diagnosis.explains(member=alert.member)


def _says_more(alert: Alert, other: Alert) -> bool:
    """Whether `alert` says more than `other` about the same member: giving up says more than being down."""
    same = not alert.route and alert.member == other.member
    return same and OF_MEMBERS.index(alert.name) <= OF_MEMBERS.index(other.name)
