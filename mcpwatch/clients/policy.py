"""When a route enters a client's file and when it leaves: hysteresis with time as data. Pure; knows no file and no format.

A route enters after it was healthy for `hold_up`, leaves after it was unhealthy, or its member stopped, for `hold_down`. A route of
unknown health, and a fleet in which nothing that should be up is up, take nothing out: the last good file stays, and the time spent
so does not count as unhealthy. A member that an operator stopped is no accident: its route leaves all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mcpwatch.clients.adapter import Policy
from mcpwatch.model.member import Verdict
from mcpwatch.model.time import Instant, later
from mcpwatch.units import spell_seconds

UP = (Verdict.HEALTHY, Verdict.DEGRADED)


@dataclass(frozen=True, slots=True)
class SeenRoute:
    """One route as the fleet shows it now: its verdict through the proxy, the symptom when bad, whether it was stopped."""

    name: str
    verdict: Verdict
    symptom: str = ""
    stopped: bool = False

    @property
    def up(self) -> bool | None:
        """Whether it works; `None` when that is not known."""
        return False if self.stopped else None if self.verdict is Verdict.UNKNOWN else self.verdict in UP


@dataclass(frozen=True, slots=True)
class RouteStreak:
    """Since when a route is up (or down) without a break."""

    up: bool
    since: Instant


@dataclass(frozen=True, slots=True)
class Book:
    """What is remembered between two looks: since when each route is as it is, and which routes are listed."""

    held: Mapping[str, RouteStreak] = field(default_factory=dict[str, RouteStreak])
    listed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ListingRules:
    """The part of a client's spec that decides. Seconds."""

    policy: Policy = "remove"
    hold_up: float = 5.0
    hold_down: float = 60.0


@dataclass(frozen=True, slots=True)
class ListingDecision:
    """Which routes are listed, which are known and not listed, why anything changed or waits, and when to look again."""

    on: tuple[str, ...]
    off: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    waiting: Mapping[str, str] = field(default_factory=dict[str, str])
    wake_at: Instant | None = None
    kept: str = ""
    """Why nothing may be removed now but the routes of `stopped`, or the empty string."""
    stopped: tuple[str, ...] = ()
    """Those of `off` whose member an operator stopped."""


def advance(
    book: Book, seen: Sequence[SeenRoute], now: Instant, rules: ListingRules, *, proxy_up: bool = True
) -> tuple[Book, ListingDecision]:
    """One look at the fleet. `seen` are the routes that exist; `proxy_up` is whether the proxy itself works."""
    kept = _keep(seen, proxy_up)
    held = {route.name: _hold(book.held.get(route.name), route, now, kept) for route in seen}
    listed: set[str] = set()
    reasons: dict[str, str] = {}
    waiting: dict[str, str] = {}
    wakes: list[Instant] = []
    for route in seen:
        was, hold = route.name in book.listed, held[route.name]
        want = was
        stays = route.up is None or (was and ((kept and not route.stopped) or rules.policy == "keep"))
        if hold is not None and hold.up != was and not stays:
            span = rules.hold_up if hold.up else rules.hold_down
            state = "healthy" if hold.up else _bad(route)
            due = later(hold.since, span)
            if now >= due:
                want = hold.up
                reasons[route.name] = f"{state} for {spell_seconds(round(now - hold.since, 1))}"
            else:
                wakes.append(due)
                waiting[route.name] = f"{state}; {spell_seconds(round(due - now, 1))} of {spell_seconds(span)} to wait"
        if want:
            listed.add(route.name)
    known = {route.name for route in seen}
    if kept:
        listed |= book.listed - known
    else:
        reasons |= dict.fromkeys(book.listed - known, "no longer in the configuration")
    on = tuple(name for name in [*(route.name for route in seen), *sorted(book.listed - known)] if name in listed)
    off = tuple(route.name for route in seen if route.name not in listed)
    stopped = tuple(route.name for route in seen if route.stopped and route.name in off)
    steady = {name: hold for name, hold in held.items() if hold is not None}
    wake = min(wakes, default=None)
    return Book(steady, frozenset(listed)), ListingDecision(on, off, reasons, waiting, wake, kept, stopped)


def _bad(route: SeenRoute) -> str:
    if route.stopped:
        return "stopped"
    return f"unhealthy ({route.symptom})" if route.symptom else "unhealthy"


def _hold(held: RouteStreak | None, route: SeenRoute, now: Instant, kept: str) -> RouteStreak | None:
    up = route.up
    if up is None:
        return held
    if not up and kept and not route.stopped:
        return RouteStreak(False, now)
    return held if held is not None and held.up == up else RouteStreak(up, now)


def _keep(seen: Sequence[SeenRoute], proxy_up: bool) -> str:
    if not proxy_up:
        return "the proxy itself is down"
    meant = [route for route in seen if not route.stopped]
    if meant and not any(route.up for route in meant):
        return "no route is healthy"
    return ""
