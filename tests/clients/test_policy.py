"""When a route is listed: hysteresis, and everything that must never empty a client's file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.clients.policy import Book, ListingDecision, ListingRules, SeenRoute, advance
from mcpwatch.clients.state import seen_routes
from mcpwatch.model.member import Verdict
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import FleetView, RouteView, SelfView

UP, DOWN, UNKNOWN = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN
RULES = ListingRules("remove", hold_up=5, hold_down=60)


def walk(
    steps: list[tuple[float, dict[str, Verdict]]], rules: ListingRules = RULES, listed: frozenset[str] = frozenset()
) -> list[ListingDecision]:
    book, decisions = Book(listed=listed), list[ListingDecision]()
    for at, verdicts in steps:
        book, decision = advance(
            book, [SeenRoute(name, verdict, "refused") for name, verdict in verdicts.items()], Instant(at), rules
        )
        decisions.append(decision)
    return decisions


def test_a_route_enters_after_hold_up_and_leaves_after_hold_down() -> None:
    steps = [
        (0, {"a": UP, "b": UP}), (4.9, {"a": UP, "b": UP}), (5, {"a": UP, "b": UP}),
        (10, {"a": DOWN, "b": UP}), (69.9, {"a": DOWN, "b": UP}), (70, {"a": DOWN, "b": UP}),
    ]  # fmt: skip
    shown = [decision.on for decision in walk(steps)]
    assert shown == [(), (), ("a", "b"), ("a", "b"), ("a", "b"), ("b",)]


def test_each_change_says_its_reason_and_each_wait_its_end() -> None:
    first, held, down, gone = walk(
        [(0, {"a": UP, "b": UP}), (5, {"a": UP, "b": UP}), (6, {"a": DOWN, "b": UP}), (66, {"a": DOWN, "b": UP})]
    )
    assert (first.waiting["a"], first.wake_at) == ("healthy; 5s of 5s to wait", 5)
    assert held.reasons["a"] == "healthy for 5s"
    assert (down.waiting["a"], down.wake_at) == ("unhealthy (refused); 1m of 1m to wait", 66)
    assert gone.reasons == {"a": "unhealthy (refused) for 1m"}


def test_a_flapping_route_never_changes_the_list() -> None:
    flaps = [(float(at), {"a": UP if at % 2 else DOWN, "b": UP}) for at in range(200)]
    assert all("a" not in decision.on for decision in walk(flaps))
    assert all("a" in decision.on for decision in walk(flaps, listed=frozenset({"a"})))


@pytest.mark.parametrize(
    ("verdicts", "why"),
    [
        ({"a": DOWN, "b": DOWN}, "no route is healthy"),
        ({"a": UNKNOWN, "b": DOWN}, "no route is healthy"),
    ],
)
def test_a_fleet_in_which_nothing_is_up_keeps_the_last_list(verdicts: dict[str, Verdict], why: str) -> None:
    decisions = walk([(float(at), verdicts) for at in range(0, 1000, 50)], listed=frozenset({"a", "b"}))
    assert all(set(decision.on) == {"a", "b"} and decision.kept == why for decision in decisions)


def test_the_last_route_leaves_when_it_is_taken_out_of_the_configuration() -> None:
    kept, gone = walk([(0.0, {"a": UNKNOWN}), (1.0, {})], listed=frozenset({"a"}))
    assert (kept.on, gone.on, gone.kept, gone.reasons) == (("a",), (), "", {"a": "no longer in the configuration"})


@given(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")), st.sampled_from([UP, DOWN, UNKNOWN]))
def test_a_route_of_the_plan_that_no_view_shows_yet_changes_nothing(planned: set[str], shown: set[str], verdict: Verdict) -> None:
    routes = tuple(RouteView(name, name, "", verdict) for name in sorted(shown))
    seen = seen_routes(FleetView(WallTime(0), SelfView(1, "", WallTime(0)), routes=routes), planned)
    assert {route.name for route in seen if route.up is None} >= planned - shown
    book, _ = advance(Book(listed=frozenset("abc")), seen, Instant(0), RULES)
    assert book.listed >= planned


def test_time_spent_all_down_does_not_count_as_unhealthy() -> None:
    steps = [
        (0.0, {"a": DOWN, "b": DOWN}),
        (500.0, {"a": DOWN, "b": DOWN}),
        (501.0, {"a": DOWN, "b": UP}),
        (559.9, {"a": DOWN, "b": UP}),
    ]
    decisions = walk([*steps, (560.0, {"a": DOWN, "b": UP})], listed=frozenset({"a", "b"}))
    assert [decision.on for decision in decisions[2:]] == [("a", "b"), ("a", "b"), ("b",)]


def test_a_proxy_that_is_down_takes_no_route_out() -> None:
    book = Book(listed=frozenset({"a"}))
    for at in range(0, 500, 20):
        book, decision = advance(book, [SeenRoute("a", DOWN), SeenRoute("b", UP)], Instant(at), RULES, proxy_up=False)
        assert ("a" in decision.on, decision.kept) == (True, "the proxy itself is down")


def test_an_unknown_verdict_changes_nothing() -> None:
    steps = [(0.0, {"a": UNKNOWN, "b": UP}), (1000.0, {"a": UNKNOWN, "b": UP})]
    assert "a" not in walk(steps)[-1].on
    assert "a" in walk(steps, listed=frozenset({"a"}))[-1].on


def test_policy_keep_lets_no_route_leave_for_its_health_but_one_that_is_gone_from_the_configuration() -> None:
    rules = ListingRules("keep", 5, 60)
    decisions = walk([(0, {"a": DOWN, "b": UP}), (1000, {"a": DOWN, "b": UP}), (1001, {"b": UP})], rules, frozenset({"a", "b"}))
    assert [decision.on for decision in decisions] == [("a", "b"), ("a", "b"), ("b",)]
    assert decisions[-1].reasons == {"a": "no longer in the configuration"}


@given(st.lists(st.tuples(st.floats(0, 40), st.lists(st.sampled_from([UP, DOWN, UNKNOWN]), min_size=3, max_size=3)), max_size=40))
def test_whatever_happens_a_route_leaves_only_beside_a_healthy_one_and_after_its_hold(
    moves: list[tuple[float, list[Verdict]]],
) -> None:
    book, at, names = Book(listed=frozenset("abc")), 0.0, "abc"
    for pause, verdicts in moves:
        at += pause
        seen = [SeenRoute(name, verdict) for name, verdict in zip(names, verdicts, strict=True)]
        before, (book, decision) = book, advance(book, seen, Instant(at), RULES)
        for name in before.listed - book.listed:
            assert UP in verdicts
            assert verdicts[names.index(name)] is DOWN
            assert at - before.held[name].since >= 60
        assert decision.wake_at is None or decision.wake_at > at
