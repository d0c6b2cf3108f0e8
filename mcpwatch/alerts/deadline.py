"""When the policy has to look again although nothing happens: the earliest moment at which time alone changes anything. Pure.

Every moment named here may turn out to change nothing; none that changes something may be missing. A test compares both ways:
looking at these moments only gives the same notifications, at the same time, as looking all the time.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcpwatch.alerts.book import Alert, AlertBook, AlertState
from mcpwatch.alerts.policy import coming
from mcpwatch.alerts.routing import AlertPolicy
from mcpwatch.alerts.suppress import RELEASE_MAX, labels
from mcpwatch.model.time import WallTime

LATE = 0.001
"""Seconds added to each moment, so that no rounding of a clock makes it come just before itself."""


def next_look(book: AlertBook, now: WallTime, rules: AlertPolicy) -> WallTime | None:
    """The first moment after `now` at which `advance` may have something to do; `None`: never, unless something happens."""
    moments = (moment + LATE for moment in _moments(book, now, rules))
    return WallTime(min((moment for moment in moments if moment > now), default=0.0)) or None


def _moments(book: AlertBook, now: WallTime, rules: AlertPolicy) -> Iterator[float]:
    for alert in book.alerts.values():
        yield from _of(book, alert, now, rules)
    for silence in book.silences:
        yield from (silence.since, silence.until)
    if any(alert.open for alert in book.alerts.values()):
        for window in rules.windows:
            change = window.changes(now)
            if change is not None:
                yield change


def _of(book: AlertBook, alert: Alert, now: WallTime, rules: AlertPolicy) -> Iterator[float]:
    yield from (at + rules.flapping.period for at in alert.flips)
    if alert.flapping:
        yield alert.changed_at + rules.flapping.quiet
    if alert.active and alert.expires_at is not None:
        yield alert.expires_at
    if alert.state is AlertState.PENDING:
        yield alert.since + rules.patience(labels(book, alert))
    if alert.open and alert.released_at is not None:
        yield alert.released_at + RELEASE_MAX
    if alert.state is AlertState.FIRING and not alert.muted:
        for route in rules.routes_for(labels(book, alert)):
            yield from ((alert.fired_at or now) + step.after for step in route.escalate)
    yield from (due.ready for due in coming(book, alert, now, rules))
