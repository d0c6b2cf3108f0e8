"""What is known of one client between two looks, and what the fleet looks like to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcpwatch.clients.policy import Book, ListingDecision, SeenRoute
from mcpwatch.clients.route import ClientRoute
from mcpwatch.clients.writer import Done
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.time import Instant
from mcpwatch.model.view import FleetView, MemberView, RouteView

GATHER = 2.0
"""Seconds a change waits for others whose hold ends so soon after it: one write then serves them all."""
_GONE = (Phase.STOPPED, Phase.FAILED, Phase.BACKOFF)


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one client between two looks."""

    book: Book = field(default_factory=Book)
    decision: ListingDecision = field(default_factory=lambda: ListingDecision((), ()))
    done: Done | None = None
    error: str = ""
    told: str = ""
    next_look: Instant = Instant(0)
    written_for: tuple[ClientRoute, ...] | None = None
    brought: tuple[tuple[str, ...], str] | None = None
    """The list, and why it is kept, that the file was last brought up to."""
    changing_since: Instant | None = None
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why each route entered or left that the file does not show yet."""


def seen_routes(view: FleetView, planned: set[str]) -> tuple[SeenRoute, ...]:
    """The routes of the plan as they are now: not served counts as unhealthy, whatever the last probe said.

    One that is not in the view yet is unknown: only a plan that does not name it takes it out of a client.
    """
    members = {member.name: member for member in view.members}
    seen = tuple(_seen(members.get(route.member), route) for route in view.routes if route.name in planned)
    return (*seen, *(SeenRoute(name, Verdict.UNKNOWN) for name in sorted(planned - {route.name for route in seen})))


def _seen(member: MemberView | None, route: RouteView) -> SeenRoute:
    if member is not None and member.want is Want.DOWN:
        return SeenRoute(route.name, route.verdict, "stopped", stopped=True)
    if member is not None and member.phase in _GONE and route.verdict is Verdict.UNKNOWN:
        return SeenRoute(route.name, Verdict.UNHEALTHY, f"its member is {member.phase.value}")
    return SeenRoute(route.name, route.verdict, route.symptom)


def brought(state: State, done: Done, routes: Sequence[ClientRoute]) -> State:
    """The state after the file was brought up to its decision."""
    listed = (state.decision.on, state.decision.kept)
    return replace(state, done=done, error="", written_for=tuple(routes), brought=listed, changing_since=None, reasons={})


def ripe(state: State, now: Instant) -> bool:
    """Whether a change of the list is to be written now: it is there, and no other is about to join it."""
    if state.changing_since is None:
        return False
    wake = state.decision.wake_at
    return wake is None or wake - now >= GATHER or now - state.changing_since >= GATHER


def proxy_up(view: FleetView) -> bool:
    """Whether the proxy itself works, as far as is known."""
    proxy = view.member(view.proxy) if view.proxy else None
    return proxy is None or (proxy.phase is Phase.RUNNING and proxy.verdict is not Verdict.UNHEALTHY)
