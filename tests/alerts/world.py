"""A small world for policy tests: facts by name, a clock that is moved by hand, and what was sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mcpwatch.alerts.book import AlertBook, Notification, dump, load
from mcpwatch.alerts.observe import Event
from mcpwatch.alerts.policy import advance
from mcpwatch.alerts.routing import AlertPolicy, RoutingNode
from mcpwatch.model.fact import Diagnosed, MemberChanged, MemberExited, RouteChanged
from mcpwatch.model.time import WallTime

START = 1_000_000.0


def route(**settings: object) -> RoutingNode:
    """A root route to `ops` that waits for nothing unless told to."""
    base: dict[str, object] = {
        "id": "route",
        "receivers": ("ops",),
        "for_": 0.0,
        "group_wait": 0.0,
        "group_interval": 0.0,
        "repeat": None,
    }
    return RoutingNode(**{**base, **settings})  # pyright: ignore[reportArgumentType]


@dataclass
class World:
    """Drives `advance` as the service does and keeps what was sent. The book passes through its JSON at every step."""

    rules: AlertPolicy = field(default_factory=lambda: AlertPolicy(route()))
    now: float = START
    book: AlertBook = field(default_factory=AlertBook)
    sent: list[Notification] = field(default_factory=list[Notification])

    def happen(self, *events: Event) -> list[Notification]:
        self.book, new = advance(self.book, events, WallTime(self.now), self.rules)
        self.book = load(AlertBook, dump(self.book))
        self.sent.extend(new)
        return list(new)

    def after(self, seconds: float, *events: Event, step: float = 0.0) -> list[Notification]:
        """Let time pass (in steps, ticking, when asked), then let events happen."""
        new: list[Notification] = []
        end = self.now + seconds
        while step and self.now + step < end:
            self.now += step
            new += self.happen()
        self.now = end
        return new + self.happen(*(self._now(event) for event in events))

    def _now(self, event: Event) -> Event:
        return event

    def member(self, name: str, value: str, what: str = "verdict", generation: int = 1, reason: str = "because") -> MemberChanged:
        return MemberChanged(
            at=WallTime(self.now),
            text=f"{name} {what} {value}",
            member=name,
            generation=generation,
            field=what,  # pyright: ignore[reportArgumentType]
            old="",
            new=value,
            reason=reason,
        )

    def running(self, name: str) -> tuple[MemberChanged, ...]:
        return self.member(name, "running", "phase"), self.member(name, "healthy")

    def down(self, name: str) -> MemberChanged:
        return self.member(name, "unhealthy")

    def up(self, name: str) -> MemberChanged:
        return self.member(name, "healthy")

    def route(self, name: str, value: str, symptom: str = "", member: str = "") -> RouteChanged:
        at = WallTime(self.now)
        return RouteChanged(at=at, text=name, route=name, member=member or name, old="", new=value, reason="probe", symptom=symptom)

    def diagnosed(self, subject: str, cause: str, *routes: str, members: tuple[str, ...] = (), cleared: bool = False) -> Diagnosed:
        at, text = WallTime(self.now), f"{subject}: {cause}"
        return Diagnosed(at=at, text=text, member=subject, cause=cause, affects=routes, members=members, cleared=cleared)

    def exited(self, name: str, code: int = 1, *tail: str) -> MemberExited:
        return MemberExited(at=WallTime(self.now), text="gone", member=name, generation=1, code=code, tail=tail)


def told(notifications: Iterable[Notification]) -> list[tuple[str, str, list[str]]]:
    """What was sent, briefly: (receiver, reason, alert ids)."""
    return [(one.receiver, str(one.reason), [item.id for item in one.items]) for one in notifications]
