"""Every change of a route's verdict is told once, with its reason and since when; what is shown says the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mcpwatch.model.fact import RouteChanged
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Symptom, Target
from mcpwatch.model.spec import MemberSpec, RouteSpec
from mcpwatch.watchdog.history import CheckHistory, CheckKey, Histories
from mcpwatch.watchdog.routes import Routes
from tests.watchdog.step_runtime import Crew, crewed

ROUTE = RouteSpec("time", "clock", "http://h/time/sse", Target("http://h/time/sse"))
MEMBERS = (MemberSpec("clock", "server", "process", object()), MemberSpec("proxy", "proxy", "process", object()))
KEY = CheckKey("time", "mcp", "route")


class Sights:
    """The routes of a crew, and what was told of them."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.histories = Histories()
        self.routes = Routes(crew.actors, self.histories, crew.clock, crew.facts.append)
        for name in crew.actors:
            crew.put(name, want=Want.UP, phase=Phase.RUNNING)

    def see(self, verdict: Verdict, symptom: Symptom | None = None, message: str = "") -> None:
        """Probes of the route came to this verdict."""
        result = ProbeResult(Outcome.FAILURE if symptom else Outcome.SUCCESS, symptom, message=message)
        self.histories[KEY] = CheckHistory(verdict=verdict, latest=result)

    def told(self, *routes: RouteSpec) -> list[tuple[str, str]]:
        """Tell what changed; the level and the text of each fact."""
        before = len(self.crew.facts)
        self.routes.tell(routes or (ROUTE,), self.crew.actors["proxy"], ())
        return [(fact.level, fact.text) for fact in self.crew.facts[before:]]

    def since(self) -> float | None:
        """Since when the route is as it is, in seconds of the story."""
        (shown,) = self.routes.views((ROUTE,), self.crew.actors["proxy"], ())
        return None if shown.verdict_since is None else shown.verdict_since - (self.crew.clock.wall() - self.crew.loop.time())


def test_a_change_is_told_once_with_what_was_seen_and_since_when() -> None:
    async def play(crew: Crew) -> None:
        sights = Sights(crew)
        assert sights.since() is None
        await asyncio.sleep(5.0)
        assert sights.told() == []
        assert sights.since() == 5.0, "unknown since it was first looked at"
        sights.see(Verdict.UNHEALTHY, Symptom.REFUSED, "nothing listens")
        await asyncio.sleep(5.0)
        assert sights.since() == 5.0, "what is not told yet is not dated"
        assert sights.told() == [("warning", "route time: unknown -> unhealthy (nothing listens)")]
        fact = crew.facts[-1]
        assert isinstance(fact, RouteChanged)
        assert (fact.route, fact.member, fact.old, fact.new) == ("time", "clock", "unknown", "unhealthy")
        assert (fact.reason, fact.symptom) == ("nothing listens", "refused")
        await asyncio.sleep(5.0)
        assert sights.told() == []
        assert sights.since() == 10.0
        sights.see(Verdict.DEGRADED, Symptom.SLOW)
        assert sights.told() == [("info", "route time: unhealthy -> degraded (slow)")]
        assert sights.since() == 15.0

    crewed(MEMBERS, play)


def test_where_no_probe_says_anything_the_members_own_reason_is_told() -> None:
    async def play(crew: Crew) -> None:
        sights = Sights(crew)
        crew.actors["clock"].reason = "an operator asked"
        sights.see(Verdict.HEALTHY)
        assert sights.told() == [("info", "route time: unknown -> healthy (an operator asked)")]

    crewed(MEMBERS, play)


def test_a_route_whose_member_is_no_more_is_unknown_for_no_reason() -> None:
    async def play(crew: Crew) -> None:
        sights = Sights(crew)
        sights.see(Verdict.HEALTHY)
        sights.told()
        del crew.actors["clock"]
        assert sights.told() == [("info", "route time: healthy -> unknown")]

    crewed(MEMBERS, play)


def test_a_route_that_left_the_plan_begins_again_and_the_others_go_on() -> None:
    async def play(crew: Crew) -> None:
        sights = Sights(crew)
        other = replace(ROUTE, name="other")
        sights.see(Verdict.HEALTHY)
        sights.histories[replace(KEY, subject="other")] = sights.histories[KEY]
        assert len(sights.told(ROUTE, other)) == 2
        assert sights.told(other) == []
        assert sights.told(ROUTE, other) == [("info", "route time: unknown -> healthy")]

    crewed(MEMBERS, play)


def test_a_route_whose_proxy_does_not_run_gives_the_proxy_as_the_reason() -> None:
    async def play(crew: Crew) -> None:
        sights = Sights(crew)
        sights.see(Verdict.HEALTHY)
        sights.told()
        crew.put("proxy", want=Want.UP, phase=Phase.STARTING)
        ((_, text),) = sights.told()
        assert text.startswith("route time: healthy -> unknown (proxy: "), text

    crewed(MEMBERS, play)
