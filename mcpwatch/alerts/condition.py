"""The conditions that alerts are about, and how one that becomes true or ends changes its alert in the book. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcpwatch.alerts.book import Alert, AlertBook, AlertState, Severity
from mcpwatch.model.time import WallTime

CONDITIONS: tuple[tuple[str, str, str], ...] = (
    ("down", "critical", "a member that should be up does not run, or fails its checks"),
    ("gave_up", "critical", "a member failed too often and is no longer restarted"),
    ("degraded", "warning", "a member runs, but is slow or offers less than it should"),
    ("route_down", "critical", "a route fails its checks through the proxy, as a client sees it"),
    ("route_degraded", "warning", "a route is slow or offers less than it should"),
    ("tools_changed", "warning (info when compatible)", "a member changed its tools; ends an hour after the last change"),
    ("trouble", "warning", "something of mcpwatch itself: the disk, the store, the container engine"),
    ("config_rejected", "warning", "a changed configuration was refused; the running one stays"),
)
"""Every alert: name, severity, meaning."""
FLIPS_KEPT = 32


@dataclass(frozen=True, slots=True)
class Condition:
    """What an alert is about, before it is known to be true."""

    name: str
    subject: str
    severity: Severity
    member: str = ""
    route: str = ""


def turn(
    book: AlertBook,
    condition: Condition,
    active: bool,
    at: WallTime,
    why: str,
    checked_at: WallTime | None = None,
    *,
    its_own: bool = True,
) -> AlertBook:
    """Set whether a condition is true. A first time opens an alert; a change is a flip, unless it is not `its_own`."""
    old = book.alerts.get(f"{condition.name}:{condition.subject}")
    checked = checked_at or at
    if old is None:
        if not active:
            return book
        opened = Alert(condition.name, condition.subject, condition.severity, AlertState.PENDING, at, at, checked)
        flips = (at,) if its_own else ()
        return book.with_alert(replace(opened, member=condition.member, route=condition.route, why=why, flips=flips))
    checked, at = max(checked, old.checked_at), max(at, old.changed_at)
    if active == old.active:
        if not active:
            return book
        return book.with_alert(replace(old, checked_at=checked, why=why or old.why, expires_at=None))
    if active:
        old = replace(old, why=why or old.why, severity=condition.severity, member=condition.member, expires_at=None)
    else:
        old = replace(old, ended=why)
    counts = its_own if active else old.changed_at in old.flips[-1:]  # what began as somebody else's ends as that
    flips = (*old.flips, at)[-FLIPS_KEPT:] if counts else old.flips
    return book.with_alert(replace(old, active=active, changed_at=at, checked_at=checked, flips=flips))
