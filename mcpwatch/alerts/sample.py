"""One notification as an example: for the documentation, and to see what a receiver gets."""

from __future__ import annotations

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification, Reason, Severity
from mcpwatch.model.time import WallTime

_AT = WallTime(1_795_238_400.0)

SAMPLE = Notification(
    id="5f2d9c0a7b1e4c33",
    receiver="ops",
    reason=Reason.FIRST,
    state=AlertState.FIRING,
    group="route/cause=member_down",
    at=_AT,
    items=(
        AlertSnapshot(
            id="down:fetch",
            alert="down",
            subject="fetch",
            severity=Severity.CRITICAL,
            state=AlertState.FIRING,
            since=WallTime(_AT - 75),
            member="fetch",
            fired_at=WallTime(_AT - 15),
            why="exited with code 1",
            cause="member_down",
            cause_text="fetch: the member is down: exited with code 1",
            evidence=("direct: refused: 127.0.0.1:9072 refuses connections: nothing listens there",),
            exit="exited with code 1",
            tail=("KeyError: 'FETCH_TOKEN'",),
            tried=("restart: did not help (2.5 s)",),
            speaks_for=("route_down:fetch",),
        ),
    ),
)
