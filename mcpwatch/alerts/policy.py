"""When someone is told: the book, what happened, and the time in; the book and notifications out. Pure, total, reads no clock.

    advance(book, happened, now, rules) = observe each → settle (pending → firing → resolved, damped) → tell (what is due, grouped)

Promises, each tested: an alert that fired is open or resolved; a receiver that was told of a beginning is told of the end,
whatever mutes it; no receiver is told the same thing twice; every notification has a reason.
Passing time is an advance with no events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mcpwatch.alerts.book import Acknowledgement, Alert, AlertBook, AlertState, Notification, Reason, ReceiverState, Silence
from mcpwatch.alerts.observe import Event, observe
from mcpwatch.alerts.routing import AlertPolicy, Flapping, RoutingNode
from mcpwatch.alerts.silence import living
from mcpwatch.alerts.snapshot import snapshot
from mcpwatch.alerts.suppress import INHIBITED, inhibited, labels, muted, spoken_for
from mcpwatch.model.errors import UsageError
from mcpwatch.model.time import WallTime


def advance(
    book: AlertBook, happened: Iterable[Event], now: WallTime, rules: AlertPolicy
) -> tuple[AlertBook, tuple[Notification, ...]]:
    """The book after all that happened, in order, and what is to be sent for it. Keep both together or neither."""
    for event in happened:
        book = observe(book, event, now)
    book = _settle(book, now, rules)
    return _tell(book, now, rules)


def acknowledge(book: AlertBook, name: str, ack: Acknowledgement) -> tuple[AlertBook, tuple[str, ...]]:
    """Mark firing alerts as taken care of: by id, or all of a member or route. Returns their ids; raises `UsageError` if none."""
    taken = [one for one in book.alerts.values() if one.open and name in (one.id, one.subject, one.member, one.route)]
    if not taken:
        raise UsageError(f"no open alert is called {name!r}; see 'mcpwatch alerts list'")
    return replace(book, alerts={**book.alerts, **{one.id: replace(one, ack=ack) for one in taken}}), tuple(one.id for one in taken)


def silence(book: AlertBook, added: Silence) -> AlertBook:
    """The book with one more silence."""
    return replace(book, silences=(*book.silences, added))


def expire(book: AlertBook, which: str, *, maintenance: bool) -> tuple[AlertBook, tuple[Silence, ...]]:
    """End a silence (or a maintenance) by id, or all of them with the empty string. Raises `UsageError` for an unknown id."""
    ended = tuple(one for one in book.silences if one.maintenance == maintenance and which in ("", one.id))
    if which and not ended:
        word = "maintenance" if maintenance else "silence"
        raise UsageError(f"no {word} has the id {which!r}; see 'mcpwatch {word} list'")
    return replace(book, silences=tuple(one for one in book.silences if one not in ended)), ended


# settle: the life of each alert


def _settle(book: AlertBook, now: WallTime, rules: AlertPolicy) -> AlertBook:
    book = replace(book, silences=living(book.silences, now))
    stepped: dict[str, Alert] = {}
    for key, alert in book.alerts.items():
        after = _step(book, _expired(_flapping(alert, now, rules.flapping), now), now, rules)
        if after is not None:
            stepped[key] = after
    book = replace(book, alerts=stepped)
    return replace(book, alerts={key: _mute(book, alert, now, rules) for key, alert in stepped.items()})


def _flapping(alert: Alert, now: WallTime, rule: Flapping) -> Alert:
    flips = tuple(at for at in alert.flips if now - at < rule.period)
    flapping = len(flips) > rule.changes or (alert.flapping and now - alert.changed_at < rule.quiet)
    return replace(alert, flips=flips, flapping=flapping) if (flips, flapping) != (alert.flips, alert.flapping) else alert


def _expired(alert: Alert, now: WallTime) -> Alert:
    if not alert.active or alert.expires_at is None or now < alert.expires_at:
        return alert
    ended = "no further change" if alert.changes else "it was not reported again"
    return replace(alert, active=False, changed_at=alert.expires_at, ended=ended, expires_at=None)


def _step(book: AlertBook, alert: Alert, now: WallTime, rules: AlertPolicy) -> Alert | None:
    """The alert one step on, or `None` when nothing about it is worth remembering."""
    if alert.state is AlertState.RESOLVED:
        if alert.active:
            return _step(book, _again(alert), now, rules)
        return alert if alert.believed or alert.flips else None
    if alert.active or (alert.flapping and now - alert.changed_at < rules.flapping.quiet):
        ripe = alert.state is AlertState.PENDING and now - alert.since >= rules.patience(labels(book, alert))
        return replace(alert, state=AlertState.FIRING, fired_at=now) if ripe else alert
    if alert.state is AlertState.PENDING and not alert.flips:
        return None
    return replace(alert, state=AlertState.RESOLVED, resolved_at=alert.changed_at)


def _again(alert: Alert) -> Alert:
    """True again. While somebody still believes it fires it is the same incident going on; else a new one begins."""
    if alert.believed:
        return replace(alert, state=AlertState.FIRING, resolved_at=None)
    return replace(
        alert,
        state=AlertState.PENDING,
        since=alert.changed_at,
        fired_at=None,
        resolved_at=None,
        released_at=None,
        unmuted_at=None,
        unwatched=0.0,
        told=(),
        ack=None,
        muted="",
    )


def _mute(book: AlertBook, alert: Alert, now: WallTime, rules: AlertPolicy) -> Alert:
    if not alert.open:
        return replace(alert, muted="") if alert.muted else alert
    if alert.muted.startswith(INHIBITED) and not spoken_for(book, alert, rules):
        alert = replace(alert, released_at=now)
    why = muted(book, alert, now, rules)
    if why == alert.muted:
        return alert
    return replace(alert, muted=why, unmuted_at=None if why else now)


# tell: what is due, grouped


@dataclass(frozen=True, slots=True)
class DueNotification:
    """One alert that a receiver is to hear of, from `ready` on."""

    receiver: str
    group: str
    reason: Reason
    ready: float
    alert: Alert

    @property
    def bucket(self) -> tuple[str, str, str]:
        """What goes into one message: ends before beginnings before reminders."""
        order = {Reason.RESOLVED: "1 ended", Reason.REPEAT: "3 still"}
        return self.receiver, self.group, order.get(self.reason, "2 begun")


def _tell(book: AlertBook, now: WallTime, rules: AlertPolicy) -> tuple[AlertBook, tuple[Notification, ...]]:
    book = _forget_groups(book, now, rules)
    buckets: dict[tuple[str, str, str], list[DueNotification]] = {}
    for alert in book.alerts.values():
        for due in coming(book, alert, now, rules):
            buckets.setdefault(due.bucket, []).append(due)
    sent: list[Notification] = []
    for (receiver, group, _), dues in sorted(buckets.items(), key=lambda bucket: bucket[0]):
        if min(due.ready for due in dues) > now:
            continue
        book = _mark(book, dues, now)
        notification = _notification(book, receiver, group, dues, now)
        book = replace(book, seq=book.seq + 1, groups={**book.groups, f"{receiver}|{group}": now})
        sent.append(notification)
    return book, tuple(sent)


def coming(book: AlertBook, alert: Alert, now: WallTime, rules: AlertPolicy) -> Iterator[DueNotification]:
    """What receivers are to hear of one alert, now or later, as things stand."""
    if alert.state is AlertState.PENDING:
        return
    named = labels(book, alert)
    routes = rules.routes_for(named)
    if alert.state is AlertState.RESOLVED:
        wait = min((route.group_wait for route in routes), default=0.0)
        for told in alert.believed:
            yield DueNotification(told.receiver, told.group, Reason.RESOLVED, (alert.resolved_at or now) + wait, alert)
        return
    if alert.muted:
        return
    told_to = {told.receiver: told for told in alert.told}
    for to in _addresses(routes, alert, named, now):
        due = _due(book, alert, told_to.get(to.receiver), to, now)
        if due is not None:
            yield due


@dataclass(frozen=True, slots=True)
class _Address:
    """A receiver, by which node of the tree, and whether only because the alert was not acknowledged in time."""

    receiver: str
    route: RoutingNode
    group: str
    escalated: bool = False


def _addresses(routes: Iterable[RoutingNode], alert: Alert, named: Mapping[str, str], now: WallTime) -> Iterator[_Address]:
    """Each receiver once: the first node that names it decides."""
    late = now - alert.fired_at if alert.ack is None and alert.fired_at is not None and alert.told else -1.0
    found: dict[str, _Address] = {}
    for route in routes:
        group = "/".join((route.id, *(f"{key}={named.get(key, '')}" for key in route.group_by)))
        for receiver in route.receivers:
            found.setdefault(receiver, _Address(receiver, route, group))
        for step in route.escalate:
            if late >= step.after:
                found.setdefault(step.receiver, _Address(step.receiver, route, group, escalated=True))
    yield from found.values()


def _due(book: AlertBook, alert: Alert, told: ReceiverState | None, to: _Address, now: WallTime) -> DueNotification | None:
    """When this receiver is to hear of a firing alert that nothing mutes; `None`: it was told, and needs no reminder."""
    if told is not None:
        if to.route.repeat is None or alert.ack is not None:
            return None
        return DueNotification(to.receiver, told.group, Reason.REPEAT, told.last_at + to.route.repeat, alert)
    if to.escalated:
        return DueNotification(to.receiver, to.group, Reason.ESCALATED, now, alert)
    fired = alert.fired_at or now
    begun = max(fired, alert.unmuted_at or fired, alert.since + to.route.for_)
    flushed = book.groups.get(f"{to.receiver}|{to.group}")
    ready = begun + to.route.group_wait if flushed is None else max(begun, flushed + to.route.group_interval)
    reason = Reason.UNMUTED if alert.unmuted_at and alert.unmuted_at > fired else Reason.FIRST
    return DueNotification(to.receiver, to.group, reason, ready, alert)


def _mark(book: AlertBook, dues: Iterable[DueNotification], now: WallTime) -> AlertBook:
    for due in dues:
        alert = book.alerts[due.alert.id]
        earlier = next((told for told in alert.told if told.receiver == due.receiver), None)
        if earlier is None:
            told = (*alert.told, ReceiverState(due.receiver, due.group, now, now))
        else:
            state = AlertState.RESOLVED if due.reason is Reason.RESOLVED else AlertState.FIRING
            again = replace(earlier, state=state, last_at=now, times=earlier.times + (due.reason is Reason.REPEAT), failed="")
            told = tuple(again if one is earlier else one for one in alert.told)
        book = book.with_alert(replace(alert, told=told))
    return book


def lost(book: AlertBook, gone: Notification, why: str) -> AlertBook:
    """The book when a notification never reaches its receiver, and why: it was not told of these alerts (but for a reminder)."""
    known = [book.alerts[item.id] for item in gone.items if item.id in book.alerts and gone.reason is not Reason.REPEAT]
    for alert in known:
        told = tuple(replace(one, failed=why) if one.receiver == gone.receiver else one for one in alert.told)
        book = book.with_alert(replace(alert, told=told))
    return book


def _notification(book: AlertBook, receiver: str, group: str, dues: list[DueNotification], now: WallTime) -> Notification:
    quiet = inhibited(book)
    first = min(dues, key=lambda due: due.ready)
    items = tuple(
        sorted(
            (snapshot(book, book.alerts[due.alert.id], receiver, quiet.get(due.alert.id, ())) for due in dues),
            key=lambda item: (-item.severity.rank, item.since, item.id),
        )
    )
    state = AlertState.RESOLVED if first.reason is Reason.RESOLVED else AlertState.FIRING
    words = (receiver, group, str(first.reason), str(book.seq), str(now), *(item.id for item in items))
    return Notification(
        id=hashlib.sha256("\n".join(words).encode()).hexdigest()[:16],
        receiver=receiver,
        reason=first.reason,
        state=state,
        group=group,
        at=now,
        items=items,
    )


def _forget_groups(book: AlertBook, now: WallTime, rules: AlertPolicy) -> AlertBook:
    """A group without a believed alert starts afresh, with its own wait."""
    living_groups = {f"{told.receiver}|{told.group}" for alert in book.alerts.values() for told in alert.believed}
    kept = {key: at for key, at in book.groups.items() if key in living_groups or now - at < rules.route.group_interval}
    return replace(book, groups=kept) if len(kept) != len(book.groups) else book
