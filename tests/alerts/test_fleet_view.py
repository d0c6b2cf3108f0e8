"""The fleet as shown repairs what facts left standing: after a crash, a lost fact, a reload."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.alerts import observe as observation
from mcpwatch.alerts.book import AlertBook, AlertState
from mcpwatch.alerts.observe import UNPROBED_MAX, restarted
from mcpwatch.model.fact import Troubled
from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.model.time import WallTime
from mcpwatch.model.view import Diagnosis, FleetView, MemberView, ProbeView, RouteView, SelfView
from tests.alerts.world import World, told


def member(w: World, name: str, phase: Phase = Phase.RUNNING, verdict: Verdict = Verdict.HEALTHY, **more: Any) -> MemberView:
    probe = ProbeView("mcp", "direct", WallTime(w.now), ProbeResult(Outcome.SUCCESS))
    shown = MemberView(name, "server", "process", Want.UP, phase, verdict, 1, since=WallTime(w.now), probes=(probe,))
    return replace(shown, **more)


def path(w: World, name: str, verdict: Verdict = Verdict.HEALTHY, **more: Any) -> RouteView:
    return replace(RouteView(name, name, "http://x/sse", verdict, verdict_since=WallTime(w.now)), **more)


def view(w: World, *members: MemberView, routes: tuple[RouteView, ...] = (), **more: Any) -> FleetView:
    daemon = SelfView(1, "0", WallTime(w.now), config_error=more.pop("config_error", ""))
    return replace(FleetView(WallTime(w.now), daemon, "proxy", members, routes), **more)


def test_what_is_shown_as_down_fires_and_what_is_shown_as_well_ends_it():
    w = World()
    assert told(w.happen(view(w, member(w, "fetch", verdict=Verdict.UNHEALTHY)))) == [("ops", "first", ["down:fetch"])]
    w.now += 30
    (end,) = w.happen(view(w, member(w, "fetch")))
    assert end.items[0].resolved_at == w.now


def test_a_fleet_that_just_starts_raises_nothing():
    w = World()
    w.happen(view(w, member(w, "proxy", Phase.STOPPED, Verdict.UNKNOWN, generation=0, probes=())))
    w.happen(view(w, member(w, "fetch", Phase.STARTING, Verdict.UNKNOWN), routes=(path(w, "fetch", Verdict.UNKNOWN),)))
    assert w.book.alerts == {}


def test_an_alert_from_before_a_restart_stands_until_the_first_verdict():
    w = World()
    w.happen(*w.running("fetch"), w.down("fetch"))
    w.book = restarted(w.book, WallTime(w.now))
    w.now += 60
    starting = member(w, "fetch", Phase.STARTING, Verdict.UNKNOWN, generation=0, probes=())
    assert w.happen(view(w, starting)) == []
    assert w.book.alerts["down:fetch"].state is AlertState.FIRING
    assert told(w.happen(view(w, member(w, "fetch")))) == [("ops", "resolved", ["down:fetch"])]


def test_an_alert_on_a_member_that_was_removed_ends_and_says_so():
    w = World()
    w.happen(*w.running("fetch"), w.down("fetch"), w.route("gone", "unhealthy", member="fetch"))
    (end,) = w.happen(view(w, member(w, "time")))
    assert [item.id for item in end.items] == ["down:fetch"]
    assert end.items[0].why == "it was removed from the configuration"
    assert "fetch" not in w.book.members


def test_an_alert_on_what_is_no_longer_checked_ends_after_a_while():
    w = World()
    w.happen(*w.running("fetch"), w.route("fetch", "unhealthy", "timeout"))

    def unchecked() -> FleetView:
        shown = view(w, member(w, "fetch"), routes=(path(w, "fetch", Verdict.UNKNOWN),))
        return replace(shown, daemon=replace(shown.daemon, started_at=WallTime(0)))

    w.now += 1
    assert w.happen(unchecked()) == []
    w.now += UNPROBED_MAX + 1
    assert told(w.happen(unchecked())) == [("ops", "resolved", ["route_down:fetch"])]


def test_routes_of_a_member_that_is_not_wanted_up_raise_nothing():
    w = World()
    w.happen(view(w, member(w, "fetch", Phase.STOPPED, want=Want.DOWN), routes=(path(w, "fetch", Verdict.UNHEALTHY),)))
    assert w.book.alerts == {}


def test_the_diagnoses_shown_inhibit_as_the_ones_told_do():
    w = World()
    diagnosis = Diagnosis("proxy_down", "proxy", "the proxy does not answer", affects=("fetch",))
    w.happen(
        view(
            w,
            member(w, "proxy", verdict=Verdict.UNHEALTHY),
            member(w, "fetch"),
            routes=(path(w, "fetch", Verdict.UNHEALTHY, symptom="refused"),),
            diagnoses=(diagnosis,),
        )
    )
    assert told(w.sent) == [("ops", "first", ["down:proxy"])]
    assert w.sent[0].items[0].cause_text == "the proxy does not answer"


def test_a_refused_configuration_shown_is_an_alert_until_it_is_mended():
    w = World()
    assert told(w.happen(view(w, config_error="members.x: unknown key"))) == [("ops", "first", ["config_rejected:config"])]
    assert told(w.happen(view(w))) == [("ops", "resolved", ["config_rejected:config"])]


def test_a_trouble_from_before_a_restart_ends_unless_it_is_told_again():
    w = World()
    w.happen(
        Troubled(at=WallTime(w.now), text="no engine", subject="docker"), Troubled(at=WallTime(w.now), text="full", subject="disk")
    )
    w.book = restarted(w.book, WallTime(w.now))
    w.after(60, Troubled(at=WallTime(w.now + 60), text="full", subject="disk"))
    assert told(w.after(700, step=50)) == [("ops", "resolved", ["trouble:docker"])]
    assert w.book.alerts["trouble:disk"].active


def test_a_thousand_members_falling_at_once_are_one_message_within_a_second_of_thought():
    w = World()
    names = [f"m{number}" for number in range(1000)]
    w.happen(view(w, *(member(w, name) for name in names)))
    w.now += 10
    (one,) = w.happen(view(w, *(member(w, name, verdict=Verdict.UNHEALTHY) for name in names)))
    assert len(one.items) == 1000


@pytest.mark.parametrize("count", [1, 50])
def test_a_look_at_a_fleet_that_is_well_makes_one_new_book_however_large_the_fleet_is(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World()
    names = [f"m{number}" for number in range(count)]
    shown = view(w, *(member(w, name) for name in names), routes=tuple(path(w, name) for name in names))
    made: list[AlertBook] = []

    def remade(value: Any, **changes: Any) -> Any:
        new = replace(value, **changes)
        made.extend([new] if isinstance(new, AlertBook) else [])
        return new

    monkeypatch.setattr(observation, "replace", remade)
    book = observation.observe(w.book, shown, WallTime(w.now))
    assert set(book.members) == set(book.routes) == set(names)
    assert made == [book]
