"""Killed at any point, and with the receiver away at any time: no notification is lost, none is doubled.

The daemon here is the real ledger, policy and worker; the kill is an exception that nothing may catch, after which only what was
on disk is left. The receiver, like a real one, can tell a second delivery of the same notification by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.alerts.book import AlertSnapshot, AlertState, Notification
from mcpwatch.alerts.dispatch import Worker
from mcpwatch.alerts.ledger import AlertLedger
from mcpwatch.alerts.outbox import BACKOFF_MAX, PER_RECEIVER_MAX, Outbox, backoff
from mcpwatch.alerts.policy import advance
from mcpwatch.alerts.receiver import Plain
from mcpwatch.alerts.routing import AlertPolicy
from mcpwatch.model.errors import NotifyFailed
from mcpwatch.model.fact import Fact, NotificationFailed
from mcpwatch.model.time import Instant, WallTime
from tests.alerts.receivers import notification
from tests.alerts.stores import MemoryStore
from tests.alerts.world import START, World, route


class Killed(BaseException):
    """SIGKILL: nothing in the program may catch it."""


@dataclass
class Hand:
    """A clock moved by hand."""

    at: float = START

    def now(self) -> Instant:
        return Instant(self.at)

    def wall(self) -> WallTime:
        return WallTime(self.at)


@dataclass
class Inbox(Plain):
    """A receiver that keeps what it got. `mood` is how the next delivery goes."""

    got: list[Notification] = field(default_factory=list[Notification])
    mood: str = "well"

    async def notify(self, notification: Notification) -> None:
        mood, self.mood = self.mood, self.mood if self.mood == "away" else "well"
        if mood == "away":
            raise NotifyFailed("away", retryable=True)
        if mood == "killed before":
            raise Killed
        self.got.append(notification)
        if mood == "killed after":
            raise Killed


@dataclass
class Machine:
    """Disk, receiver and clock outlive the daemon; `boot` is a new one."""

    disk: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    inbox: Inbox = field(default_factory=Inbox)
    clock: Hand = field(default_factory=Hand)
    healthy: bool = True
    facts: list[Fact] = field(default_factory=list[Fact])

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.store = MemoryStore(self.disk)
        self.ledger = AlertLedger(self.store, self.clock)
        self.worker = Worker(
            "ops",
            self.inbox,
            5.0,
            ledger=self.ledger,
            firing=_none,
            clock=self.clock,
            publish=self.facts.append,
        )
        self.look()

    def look(self) -> None:
        """Tell the policy what is so now, as the view of a fleet does."""
        w = World(now=self.clock.at)
        verdict = w.up("fetch") if self.healthy else w.down("fetch")
        facts = (verdict, w.member("fetch", "running", "phase"))
        book, new = advance(self.ledger.book, facts, self.clock.wall(), AlertPolicy(route()))
        self.ledger.put(book, new)

    async def deliver(self) -> None:
        await self.worker._once()  # pyright: ignore[reportPrivateUsage]


def _none(receiver: str) -> Sequence[AlertSnapshot]:
    return ()


actions = st.lists(
    st.sampled_from(("fall", "heal", "deliver", "wait", "kill", "write", "away", "back", "killed before", "killed after")),
    max_size=40,
)


async def play(story: list[str]) -> Machine:
    machine = Machine()
    for action in story:
        machine.clock.at += 1
        if action in ("fall", "heal"):
            machine.healthy = action == "heal"
            machine.look()
        elif action == "deliver":
            try:
                await machine.deliver()
            except Killed:
                machine.boot()
        elif action == "wait":
            machine.clock.at += BACKOFF_MAX
        elif action == "kill":
            machine.boot()
        elif action == "write":
            machine.store.write()
        else:
            machine.inbox.mood = "well" if action == "back" else action
    machine.inbox.mood = "well"
    machine.healthy = True
    machine.look()
    for _ in range(60):
        machine.clock.at += BACKOFF_MAX
        machine.look()
        await machine.deliver()
    return machine


@given(actions)
def test_killed_anywhere_nothing_is_lost_nothing_is_doubled(story: list[str]):
    machine = asyncio.run(play(story))
    assert machine.ledger.outbox.entries == ()
    seen: dict[str, Notification] = {}
    for one in machine.inbox.got:
        if one.id in seen:
            assert one.perhaps_again, "the same notification twice, and it does not say so"
        seen[one.id] = one
    states = [str(one.state) for one in seen.values()]
    assert states == ["firing", "resolved"] * (len(states) // 2), states


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (["fall", "deliver", "heal", "deliver"], ["firing", "resolved"]),
        (["fall", "kill", "deliver"], ["firing", "resolved"]),
        (["fall", "write", "kill", "deliver"], ["firing", "resolved"]),
        (["fall", "killed before", "deliver", "deliver"], ["firing", "resolved"]),
        (["away", "fall", "deliver", "heal", "deliver", "kill", "fall", "back", "wait", "deliver"], ["firing", "resolved"] * 2),
    ],
)
def test_each_stage_of_a_kill_by_itself(story: list[str], expected: list[str]):
    machine = asyncio.run(play(story))
    assert [str(one.state) for one in machine.inbox.got] == expected
    assert len({one.id for one in machine.inbox.got}) == len(expected)


def test_a_delivery_cut_off_by_a_kill_is_made_again_under_its_id_and_says_so():
    machine = asyncio.run(play(["fall", "killed after", "deliver", "deliver", "heal"]))
    first, second, end = machine.inbox.got
    assert first.id == second.id
    assert (first.perhaps_again, second.perhaps_again) == (False, True)
    assert end.state is AlertState.RESOLVED


def test_a_delivery_cut_off_by_a_kill_still_says_so_when_the_next_attempt_fails():
    machine = asyncio.run(play(["fall", "killed after", "deliver", "away", "deliver", "back", "wait", "deliver"]))
    assert [one.perhaps_again for one in machine.inbox.got if one.state is AlertState.FIRING] == [False, True]


def test_an_hour_away_delivers_everything_in_order_when_the_receiver_is_back():
    story = ["away"] + ["fall", "deliver", "heal", "deliver", "wait"] * 12 + ["back"]
    machine = asyncio.run(play(story))
    assert [str(one.state) for one in machine.inbox.got] == ["firing", "resolved"] * 12
    failures = [fact for fact in machine.facts if isinstance(fact, NotificationFailed)]
    assert failures
    assert not any(fact.permanent for fact in failures)


def test_what_was_kept_and_cannot_be_read_is_told_and_begun_anew():
    ledger = AlertLedger(MemoryStore({"alerts": {"state": '{"book": 7}'}}), Hand())
    assert ledger.unreadable
    assert ledger.book.alerts == {}


def test_what_fires_is_said_again_to_a_receiver_that_would_forget_it():
    async def play() -> list[tuple[float, list[str]]]:
        said: list[tuple[float, list[str]]] = []

        class Forgetful(Inbox):
            restate: float | None = 60.0

            async def state(self, items: Sequence[AlertSnapshot], now: WallTime) -> None:
                said.append((now - START, [item.id for item in items]))

        clock, items = Hand(), notification().items
        worker = Worker(
            "am",
            Forgetful(),
            5.0,
            ledger=AlertLedger(MemoryStore(), clock),
            firing=lambda _: items if clock.at < START + 135 else (),
            clock=clock,
            publish=lambda _: None,
        )
        for _ in range(20):
            clock.at += 10
            await worker._once()  # pyright: ignore[reportPrivateUsage]
        return said

    assert asyncio.run(play()) == [(70, ["down:fetch"]), (130, ["down:fetch"])]  # first seen firing at 10


def test_pauses_grow_to_a_bound_and_are_spread():
    pauses = [backoff(attempts, 1.0) for attempts in range(1, 12)]
    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) == BACKOFF_MAX
    assert backoff(3, 0.0) == 4


def test_a_full_outbox_drops_the_oldest_of_that_receiver_only_and_says_which():
    def numbered(receiver: str, number: int) -> Notification:
        return replace(notification(), id=f"{receiver}{number}", receiver=receiver)

    outbox, dropped = Outbox().add([numbered("quiet", 0), *(numbered("ops", number) for number in range(PER_RECEIVER_MAX + 3))])
    assert [one.id for one in dropped] == ["ops0", "ops1", "ops2"]
    assert len(outbox.entries) == PER_RECEIVER_MAX + 1
