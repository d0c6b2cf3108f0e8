"""From what happened to which conditions are true: facts and the fleet as shown into the book. Pure; sends nothing.

Which there are says `CONDITIONS`. Facts are quick, the fleet as shown is complete: it repairs what a lost fact, a crash or a
reload left standing. An unknown verdict argues neither way, so nothing starts or ends by the watchdog's own blindness.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mcpwatch.alerts.book import Alert, AlertBook, AlertState, EvidenceLine, ObservedMember, ObservedRoute, Severity
from mcpwatch.alerts.condition import Condition, turn
from mcpwatch.model import fact as facts
from mcpwatch.model.fact import Fact
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Diagnosis, FleetView, MemberView, RouteView

Event = Fact | FleetView

TOOLS_CHANGED_FOR = 3600.0
"""Seconds after the last contract change until its alert ends."""
UNPROBED_MAX = 900.0
"""Seconds after which an alert on something that is no longer probed at all ends."""
UNCONFIRMED_MAX = 600.0
"""Seconds a trouble from before a restart stands unless it is told again."""
TRIED_KEPT = 8
STARTS_KEPT = 64
TAIL_KEPT = 5


def observe(book: AlertBook, event: Event, now: WallTime) -> AlertBook:
    """The book after `event`. Unknown facts change nothing."""
    match event:
        case FleetView():
            return _view(book, event, now)
        case facts.MemberChanged():
            return _member_changed(book, event)
        case facts.RouteChanged():
            return _route_changed(book, event)
        case facts.MemberStarted():
            return _started(book, event)
        case facts.MemberExited() | facts.RepairTried() | facts.RepairProved():
            return _note(book, event)
        case facts.Diagnosed():
            return _diagnosed(book, event)
        case facts.ToolsChanged():
            return _tools_changed(book, event)
        case facts.Troubled() | facts.ConfigRejected() | facts.PlanApplied():
            return _own(book, event)
        case facts.WatchGap():
            return _unwatched(book, event.seconds, now)
        case _:
            return book


def restarted(book: AlertBook, now: WallTime) -> AlertBook:
    """The book as a new watchdog takes it over: troubles must be told again to stand, what a member tried is history."""
    alerts = {
        key: replace(alert, expires_at=WallTime(now + UNCONFIRMED_MAX)) if alert.name == "trouble" and alert.active else alert
        for key, alert in book.alerts.items()
    }
    return replace(book, alerts=alerts)


_CONFIG = Condition("config_rejected", "config", Severity.WARNING)


# members


def _member_changed(book: AlertBook, fact: facts.MemberChanged) -> AlertBook:
    old = book.members.get(fact.member, ObservedMember())
    if fact.at < old.at or fact.generation < old.generation:
        return book
    fresh = {"want": old.want, "phase": old.phase, "verdict": old.verdict, fact.field: fact.new}
    seen = _ran(replace(old, **fresh, generation=fact.generation, at=fact.at))
    ready = fact.field == "phase" and fact.new == "running"
    book = replace(book, members={**book.members, fact.member: seen})
    return _judge_member(book, fact.member, seen, fact.at, fact.reason, fact.at, proven=ready)


def _ran(seen: ObservedMember) -> ObservedMember:
    return replace(seen, ran=seen.want == "up" and (seen.ran or seen.phase == "running"))


def _judge_member(
    book: AlertBook, name: str, seen: ObservedMember, at: WallTime, why: str, checked_at: WallTime, *, proven: bool
) -> AlertBook:
    """`proven`: RUNNING was just reached, which is itself a proof of health unless a verdict says otherwise."""
    passing = seen.phase in ("starting", "stopping")  # why it is so is told by what was before

    def was(alert: str) -> bool:
        old = book.alerts.get(f"{alert}:{name}")
        return old is not None and old.active

    def set_to(book: AlertBook, alert: str, severity: Severity, active: bool) -> AlertBook:
        return turn(book, Condition(alert, name, severity, member=name), active, at, "" if passing else why, checked_at)

    up = seen.want == "up"
    book = set_to(book, "down", Severity.CRITICAL, up and _down(seen, was("down"), proven=proven))
    gave_up = seen.phase == "failed" or (was("gave_up") and seen.phase in ("starting", "backoff", "stopping"))
    book = set_to(book, "gave_up", Severity.CRITICAL, up and gave_up)
    degraded = seen.verdict == "degraded" or (was("degraded") and seen.verdict == "unknown" and not proven)
    return set_to(book, "degraded", Severity.WARNING, up and seen.phase == "running" and degraded)


def _down(seen: ObservedMember, was: bool, *, proven: bool) -> bool:
    if seen.phase in ("backoff", "failed"):
        return True
    if seen.phase == "stopped":
        return was or seen.ran
    if seen.phase != "running":
        return was
    if seen.verdict == "unhealthy":
        return True
    return was and seen.verdict == "unknown" and not proven


def _note(book: AlertBook, fact: facts.MemberExited | facts.RepairTried | facts.RepairProved) -> AlertBook:
    seen = book.members.get(fact.member, ObservedMember())
    if isinstance(fact, facts.MemberExited):
        if fact.planned:
            return book
        tail = tuple(dict.fromkeys(fact.tail))[-TAIL_KEPT:] or seen.tail
        seen = replace(seen, exit=EvidenceLine(fact.at, _exit_words(fact)), tail=tail)
    else:
        done = seen.tried[:-1] if seen.tried and seen.tried[-1].text == fact.rung else seen.tried
        tried, earlier = (fact.rung, seen.tried) if isinstance(fact, facts.RepairTried) else (_proof_words(fact), done)
        seen = replace(seen, tried=(*earlier, EvidenceLine(fact.at, tried))[-TRIED_KEPT:])
    return replace(book, members={**book.members, fact.member: seen})


def _started(book: AlertBook, fact: facts.MemberStarted) -> AlertBook:
    seen = book.members.get(fact.member, ObservedMember())
    if fact.adopted:
        return book
    seen = replace(seen, starts=(*seen.starts, fact.at)[-STARTS_KEPT:])
    return replace(book, members={**book.members, fact.member: seen})


def _exit_words(fact: facts.MemberExited) -> str:
    if fact.oom:
        return "killed for using too much memory (OOM)"
    if fact.signal:
        return f"ended by signal {fact.signal}"
    return "ended, exit code unknown" if fact.code is None else f"exited with code {fact.code}"


def _proof_words(fact: facts.RepairProved) -> str:
    return f"{fact.rung}: {'helped' if fact.outcome == 'proved' else 'did not help'} ({fact.seconds:.1f} s)"


# routes


def _route_changed(book: AlertBook, fact: facts.RouteChanged) -> AlertBook:
    old = book.routes.get(fact.route, ObservedRoute())
    if fact.at < old.at:
        return book
    seen = ObservedRoute(fact.member, fact.new, fact.symptom, fact.at)
    book = replace(book, routes={**book.routes, fact.route: seen})
    return _judge_route(book, fact.route, seen, fact.at, fact.reason, fact.at)


def _judge_route(book: AlertBook, name: str, seen: ObservedRoute, at: WallTime, why: str, checked_at: WallTime) -> AlertBook:
    member, proxy = book.members.get(seen.member, ObservedMember()), book.members.get(book.proxy)
    its_own = proxy is None or proxy.phase not in ("stopping", "starting")  # else the proxy is on its way, and the routes with it
    for alert, verdict, severity in (
        ("route_down", "unhealthy", Severity.CRITICAL),
        ("route_degraded", "degraded", Severity.WARNING),
    ):
        old = book.alerts.get(f"{alert}:{name}")
        unknown_keeps = seen.verdict == "unknown" and old is not None and old.active
        active = member.want == "up" and (seen.verdict == verdict or unknown_keeps)
        condition = Condition(alert, name, severity, seen.member, name)
        book = turn(book, condition, active, at, why, checked_at, its_own=its_own)
        now_open = book.alerts.get(f"{alert}:{name}")
        if now_open and active and seen.symptom and seen.symptom != now_open.symptom:
            book = book.with_alert(replace(now_open, symptom=seen.symptom))
    return book


# the whole fleet


def _view(book: AlertBook, view: FleetView, now: WallTime) -> AlertBook:
    members = {one.name: _member_seen(book, one, view) for one in view.members}
    routes = {one.name: _route_seen(book, one, view, now) for one in view.routes}
    book = replace(
        book,
        diagnoses=view.diagnoses,
        proxy=view.proxy or "",
        members={**book.members, **members},
        routes={**book.routes, **routes},
    )
    for member in view.members:
        book = _judge_shown_member(book, member, members[member.name], view, now)
    for route in view.routes:
        checked_at = max((probe.at for probe in route.probes), default=view.at)
        at, why = _when(route.verdict_since, now), route.message or route.symptom
        book = _judge_route(book, route.name, routes[route.name], at, why, checked_at)
    book = turn(book, _CONFIG, bool(view.daemon.config_error), now, view.daemon.config_error)
    return _removed(book, view, now)


def _member_seen(book: AlertBook, shown: MemberView, view: FleetView) -> ObservedMember:
    old = book.members.get(shown.name, ObservedMember())
    fresh = {"want": str(shown.want), "phase": str(shown.phase), "verdict": str(shown.verdict)}
    return _ran(replace(old, **fresh, generation=shown.generation, at=view.at))


def _judge_shown_member(book: AlertBook, shown: MemberView, seen: ObservedMember, view: FleetView, now: WallTime) -> AlertBook:
    checked_at = max((probe.at for probe in shown.probes), default=view.at)
    unprobed = not shown.probes and _stale(book, f"down:{shown.name}", view, now)
    times = (shown.verdict_since,) if shown.verdict == "unhealthy" else (shown.since, shown.verdict_since)
    at = _when(max((time for time in times if time), default=None), now)
    return _judge_member(book, shown.name, seen, at, shown.reason, checked_at, proven=unprobed)


def _route_seen(book: AlertBook, shown: RouteView, view: FleetView, now: WallTime) -> ObservedRoute:
    verdict = str(shown.verdict)
    if verdict == "unknown" and not shown.probes and _stale(book, f"route_down:{shown.name}", view, now):
        verdict = "healthy"
    return ObservedRoute(shown.member, verdict, shown.symptom, view.at)


def _when(at: WallTime | None, now: WallTime) -> WallTime:
    """When the shown state became true; never in the future."""
    return min(at, now) if at else now


def _stale(book: AlertBook, alert: str, view: FleetView, now: WallTime) -> bool:
    old = book.alerts.get(alert)
    return old is not None and now - max(old.checked_at, view.daemon.started_at) > UNPROBED_MAX


def _removed(book: AlertBook, view: FleetView, now: WallTime) -> AlertBook:
    """End what is about members and routes that the fleet no longer has; forget them."""
    members = {member.name for member in view.members}
    routes = {route.name for route in view.routes}
    for alert in tuple(book.alerts.values()):
        gone = (alert.route and alert.route not in routes) or (alert.member and alert.member not in members)
        if gone and alert.active:
            condition = Condition(alert.name, alert.subject, alert.severity, alert.member, alert.route)
            book = turn(book, condition, False, now, "it was removed from the configuration")
    if len(book.members) > len(members) or len(book.routes) > len(routes):
        book = replace(
            book,
            members={name: seen for name, seen in book.members.items() if name in members},
            routes={name: seen for name, seen in book.routes.items() if name in routes},
        )
    return book


# the rest


def _diagnosed(book: AlertBook, fact: facts.Diagnosed) -> AlertBook:
    others = _without(book.diagnoses, fact.member, fact.cause)
    if fact.cleared:
        return replace(book, diagnoses=others)
    named = Diagnosis(fact.cause, fact.member, fact.text, fact.evidence, None, fact.affects, members=fact.members)
    return replace(book, diagnoses=(*others, named))


def _without(diagnoses: Iterable[Diagnosis], subject: str, cause: str) -> tuple[Diagnosis, ...]:
    return tuple(one for one in diagnoses if (one.subject, one.cause) != (subject, cause))


def _own(book: AlertBook, fact: facts.Troubled | facts.ConfigRejected | facts.PlanApplied) -> AlertBook:
    if isinstance(fact, facts.Troubled):
        condition = Condition("trouble", fact.subject, Severity.WARNING, member=fact.member)
        return turn(book, condition, not fact.cleared, fact.at, fact.text)
    return turn(book, _CONFIG, isinstance(fact, facts.ConfigRejected), fact.at, fact.text)


def _tools_changed(book: AlertBook, fact: facts.ToolsChanged) -> AlertBook:
    severity = Severity.INFO if fact.severity == "compatible" else Severity.WARNING
    subject = fact.route or fact.member
    book = turn(book, Condition("tools_changed", subject, severity, fact.member, fact.route), True, fact.at, fact.text)
    alert = book.alerts[f"tools_changed:{subject}"]
    worst = max(alert.severity, severity, key=lambda one: one.rank)
    expires = WallTime(fact.at + TOOLS_CHANGED_FOR)
    return book.with_alert(replace(alert, changes=fact.changes, severity=worst, expires_at=expires))


def _unwatched(book: AlertBook, seconds: float, now: WallTime) -> AlertBook:
    """Unwatched time counts for nothing: it fulfils no `for` and is told as unknown in the length of an outage."""

    def shift(alert: Alert) -> Alert:
        if alert.state is AlertState.PENDING:
            since = WallTime(min(now, alert.since + seconds))
            return replace(alert, since=since, changed_at=max(alert.changed_at, since))
        return replace(alert, unwatched=alert.unwatched + min(seconds, now - alert.since)) if alert.open else alert

    return replace(book, alerts={key: shift(alert) for key, alert in book.alerts.items()})
