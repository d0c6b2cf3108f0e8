"""Planned restarts of members that use more memory than they may: when, how often, and what is told of a limit too small."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpwatch.model.fact import Fact, Troubled
from mcpwatch.model.member import MemberState, Phase
from mcpwatch.model.restart import RestartPolicy
from mcpwatch.model.spec import MemberSpec
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.model.view import Usage
from mcpwatch.watchdog import decide as d
from mcpwatch.watchdog.recycle import Recycler, Row, after, allowed

MIB = 2**20
POLICY = RestartPolicy(max_memory=100 * MIB, intensity=2, period=60.0)


class Clock:
    """Set by hand."""

    at = 0.0

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(1_000_000.0 + self.at)


class Member:
    """As much of an actor as is looked at: its policy, its phase, and what it uses, in MiB."""

    def __init__(self, name: str = "one", policy: RestartPolicy = POLICY) -> None:
        self.spec = MemberSpec(name, "server", "step", object(), restart=policy)
        self.state = MemberState(phase=Phase.RUNNING)
        self.runtime = SimpleNamespace(usage=self.usage)
        self.mib: float | None = 10.0
        self.orders: list[d.StateEvent] = []

    def usage(self, name: str) -> Usage | None:
        assert name == self.spec.name
        return None if self.mib is None else Usage(rss=int(self.mib * MIB))

    def tell(self, event: d.StateEvent) -> None:
        self.orders.append(event)


class Watch:
    """A recycler over such members, looked at every ten seconds."""

    def __init__(self, *members: Member) -> None:
        self.clock, self.facts = Clock(), list[Fact]()
        self.members: dict[str, Any] = {member.spec.name: member for member in members}
        self.recycler = Recycler(cast("Mapping[str, Any]", self.members), self.clock, self.facts.append)

    def look(self, at: float) -> None:
        self.clock.at = at
        self.recycler.look()

    def told(self) -> list[tuple[str, bool]]:
        return [(fact.level, fact.cleared) for fact in self.facts if isinstance(fact, Troubled)]


@pytest.mark.parametrize(
    ("row", "now", "may"),
    [
        (Row(), 0.0, True),
        (Row(1, Instant(0.0)), 1.0, True),
        (Row(2, Instant(0.0)), 59.9, False),
        (Row(2, Instant(0.0)), 60.0, True),
        (Row(3, Instant(100.0)), 159.0, False),
        (Row(3, Instant(100.0)), 160.0, True),
        (Row(2, None), 0.0, True),
    ],
)
def test_so_many_planned_restarts_follow_one_another_at_once_and_then_one_in_a_period(row: Row, now: float, may: bool) -> None:
    assert allowed(row, POLICY, Instant(now)) is may


@pytest.mark.parametrize(
    ("row", "now", "count"),
    [
        (Row(), 5.0, 1),
        (Row(3, Instant(100.0)), 219.0, 4),
        (Row(3, Instant(100.0)), 220.0, 1),
    ],
)
def test_a_row_of_planned_restarts_ends_when_two_periods_went_by_without_one(row: Row, now: float, count: int) -> None:
    assert after(row, POLICY, Instant(now)) == Row(count, Instant(now))
    assert Row().count == 0


@pytest.mark.parametrize(
    ("mib", "phase", "limit", "restarted"),
    [
        (100.0, Phase.RUNNING, 100, False),
        (100.5, Phase.RUNNING, 100, True),
        (100.5, Phase.STARTING, 100, False),
        (100.5, Phase.STOPPED, 100, False),
        (None, Phase.RUNNING, 100, False),
        (5000.0, Phase.RUNNING, None, False),
    ],
)
def test_a_member_is_restarted_when_it_runs_and_uses_more_than_it_may(
    mib: float | None, phase: Phase, limit: int | None, restarted: bool
) -> None:
    member = Member(policy=RestartPolicy(max_memory=None if limit is None else limit * MIB))
    member.mib, member.state = mib, MemberState(phase=phase)
    watch = Watch(member)
    watch.look(7.0)
    assert len(member.orders) == restarted
    assert watch.facts == []


def test_the_order_says_what_it_used_and_is_no_failure() -> None:
    small, large = Member("small"), Member("large")
    large.mib = 217.4
    Watch(small, large).look(7.0)
    assert small.orders == []
    assert large.orders == [d.WantRestart(Instant(7.0), "planned restart: 217 MiB of memory, more than 100 MiB", counts=False)]


def test_a_limit_that_restarts_do_not_keep_is_told_once_and_then_the_member_is_restarted_once_in_a_period() -> None:
    member = Member()
    member.mib = 300.0
    watch = Watch(member)
    watch.look(0.0)
    watch.look(10.0)
    assert (len(member.orders), watch.facts) == (2, [])
    watch.look(20.0)
    watch.look(30.0)
    assert len(member.orders) == 2
    (told,) = watch.facts
    assert told == Troubled(
        at=WallTime(1_000_020.0),
        text=(
            "one: 300 MiB of memory, more than 100 MiB again, 2 planned restarts in a row did not help: it leaks fast, or"
            " max_memory is less than it needs; it is now restarted for it once in 60s"
        ),
        level="warning",
        subject="memory of one",
        cleared=False,
        member="one",
    )
    watch.look(69.9)
    assert len(member.orders) == 2
    watch.look(70.0)
    watch.look(80.0)
    assert len(member.orders) == 3
    assert watch.told() == [("warning", False)]


def test_a_limit_is_said_to_be_kept_when_two_periods_went_by_below_it_and_a_new_excess_is_told_again() -> None:
    member = Member()
    watch = Watch(member)
    watch.look(500.0)
    assert watch.facts == [], "nothing to take back"
    member.mib = 300.0
    for at in (1000.0, 1010.0, 1020.0):
        watch.look(at)
    member.mib = 50.0
    watch.look(1129.9)
    assert watch.told() == [("warning", False)]
    watch.look(1130.0)
    assert watch.told() == [("warning", False), ("info", True)]
    watch.look(1140.0)
    assert watch.told()[2:] == [], "once"
    assert watch.facts[-1].text == "one: it keeps below the memory that it may use"
    member.mib = 300.0
    for at in (1200.0, 1210.0, 1220.0):
        watch.look(at)
    assert watch.told()[2:] == [("warning", False)]


def test_what_a_member_uses_that_does_not_run_says_nothing_of_its_limit() -> None:
    member = Member()
    member.mib = 300.0
    watch = Watch(member)
    for at in (0.0, 10.0, 20.0):
        watch.look(at)
    member.state, member.mib = MemberState(phase=Phase.BACKOFF), 1.0
    watch.look(500.0)
    assert watch.told() == [("warning", False)]


def test_a_limit_that_was_taken_away_is_no_trouble_any_more() -> None:
    member = Member()
    member.mib = 300.0
    watch = Watch(member)
    for at in (0.0, 10.0, 20.0):
        watch.look(at)
    member.spec = MemberSpec("one", "server", "step", object(), restart=RestartPolicy())
    watch.look(21.0)
    assert watch.told() == [("warning", False), ("info", True)]


def test_a_member_that_comes_back_under_its_name_begins_a_row_of_its_own() -> None:
    member, other = Member(), Member("other")
    member.mib = other.mib = 300.0
    watch = Watch(member, other)
    for at in (0.0, 10.0):
        watch.look(at)
    del watch.members["one"]
    watch.look(15.0)
    watch.members["one"] = member
    watch.look(20.0)
    assert (len(member.orders), len(other.orders)) == (3, 2), "the other's row goes on"
