"""What is told and shown of routes: every change of a route's verdict is a fact. Owns since when each route is as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcpwatch.clock import Clock
from mcpwatch.model.fact import RouteChanged
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.spec import RouteSpec
from mcpwatch.model.time import Instant, WallTime, placed
from mcpwatch.model.view import Diagnosis, RouteView
from mcpwatch.ports import Publish
from mcpwatch.watchdog.actor import MemberActor
from mcpwatch.watchdog.history import Histories
from mcpwatch.watchdog.views import by_route, route_view, verdict_of


class Routes:
    """The routes of the plan in force, seen through the histories of the probing."""

    def __init__(self, actors: Mapping[str, MemberActor], histories: Histories, clock: Clock, publish: Publish) -> None:
        self._actors = actors
        self._histories = histories
        self._clock = clock
        self._publish = publish
        self._verdicts: dict[str, tuple[Verdict, WallTime, Instant]] = {}

    def views(
        self, routes: Sequence[RouteSpec], proxy: MemberActor | None, diagnoses: tuple[Diagnosis, ...]
    ) -> tuple[RouteView, ...]:
        """Every route as shown, now."""
        causes = by_route(diagnoses)
        return tuple(
            route_view(
                route,
                self._actors.get(route.member),
                proxy,
                self._histories,
                causes.get(route.name, ()),
                self._verdicts[route.name][1] if route.name in self._verdicts else None,
            )
            for route in routes
        )

    def clock_set(self, now: Instant, wall: WallTime) -> None:
        """The wall clock was set, and shows `wall`: verdicts are as old as they were."""
        held = self._verdicts.items()
        self._verdicts = {name: (verdict, placed(since, at, now, wall) or wall, at) for name, (verdict, since, at) in held}

    def tell(self, routes: Sequence[RouteSpec], proxy: MemberActor | None, diagnoses: tuple[Diagnosis, ...]) -> None:
        """Every change of a route's verdict is a fact."""
        names, causes = {route.name for route in routes}, by_route(diagnoses)
        self._verdicts = {name: held for name, held in self._verdicts.items() if name in names}
        for route in routes:
            actor, wall, now = self._actors.get(route.member), self._clock.wall(), self._clock.now()
            about = causes.get(route.name, ())
            verdict = verdict_of(route, actor, proxy, self._histories, about)
            old = self._verdicts[route.name][0] if route.name in self._verdicts else Verdict.UNKNOWN
            if old is verdict:
                self._verdicts.setdefault(route.name, (verdict, wall, now))
                continue
            self._verdicts[route.name] = (verdict, wall, now)
            shown = route_view(route, actor, proxy, self._histories, about, wall)
            why = shown.message or shown.symptom or _reason(actor, proxy)
            self._publish(
                RouteChanged(
                    at=wall,
                    text=f"route {route.name}: {old} -> {verdict}" + (f" ({why})" if why else ""),
                    level="warning" if verdict is Verdict.UNHEALTHY else "info",
                    route=route.name,
                    member=route.member,
                    old=str(old),
                    new=str(verdict),
                    reason=why,
                    symptom=shown.symptom,
                )
            )


def _reason(actor: MemberActor | None, proxy: MemberActor | None) -> str:
    """Why a route is as it is, where no probe of its own says so: what does not run, the member first."""
    for one in (actor, proxy):
        if one is not None and one.state.phase is not Phase.RUNNING:
            return f"{one.spec.name}: {one.reason}" if one.reason else f"{one.spec.name}: {one.state.phase}"
    return actor.reason if actor is not None else ""
