"""Clients of the stateless wire are counted by what every request carries: there while they wait, and for a minute after."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mcpwatch.gateway.session import visits as room
from mcpwatch.gateway.session.visits import KEPT, LATELY, Visits, Who


@dataclass
class Member:
    served_by: tuple[str, ...] = ("git",)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    return now


def who(token: str = "a", address: str = "10.0.0.1", agent: bytes = b"x/1") -> Who:
    return token, address, agent


def test_a_client_is_there_while_it_waits_and_for_a_minute_after(clock: list[float]) -> None:
    visits = Visits()
    with visits.begin(who(), Member()):
        clock[0] += 10 * LATELY
        assert visits.clients() == {("git", who())}
    clock[0] += LATELY - 1
    assert visits.clients() == {("git", who())}
    clock[0] += 2
    assert visits.clients() == set()


def test_a_client_counts_once_however_often_it_asks_and_each_that_can_be_told_apart_counts(clock: list[float]) -> None:
    visits = Visits()
    for one in (who(), who(), who("b"), who(address="10.0.0.2"), who(agent=b"y/1")):
        with visits.begin(one, Member()):
            pass
    with visits.begin(who(), Member()), visits.begin(who(), Member()):
        assert len(visits.clients()) == 4


def test_a_client_of_several_members_counts_for_each_that_it_used(clock: list[float]) -> None:
    visits, served = Visits(), Member(())
    with visits.begin(who(), served):
        assert visits.clients() == set()
        served.served_by = ("git", "time")
    assert visits.clients() == {("git", who()), ("time", who())}


def test_clients_without_end_are_forgotten_the_ones_silent_for_longest_first(clock: list[float]) -> None:
    visits = Visits()
    for number in range(KEPT + 5):
        with visits.begin(who(agent=b"%d" % number), Member()):
            pass
    assert len(visits.clients()) == KEPT
    assert ("git", who(agent=b"4")) not in visits.clients()
