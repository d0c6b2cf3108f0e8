"""Two servers at one address: from which turn on it is told, for how long, and with which tools."""

from __future__ import annotations

import pytest

from mcpwatch.model.contract import snapshot
from mcpwatch.model.time import WallTime
from mcpwatch.watchdog.contracts import CALM, TURNS, KeptContract, ServerTurns


def kept(*names: str) -> KeptContract:
    tools = [{"name": name, "description": "does", "inputSchema": {"type": "object"}} for name in names]
    return KeptContract(snapshot(tools=tools), "1", WallTime(0.0))


PIN, OTHER = kept("a", "b"), kept("c", "d")


class Address:
    """Who answers there, look for look."""

    def __init__(self) -> None:
        self.turns = ServerTurns()

    def look(self, one: KeptContract, generation: int = 1) -> bool:
        return bool(self.turns.look("direct:time", PIN, one, generation))

    def looks(self, *order: KeptContract) -> list[bool]:
        return [self.look(one) for one in order]


def test_two_servers_are_told_from_the_third_change_on_and_not_for_one_that_came_to_stay() -> None:
    assert TURNS == 3
    assert Address().looks(OTHER, PIN, OTHER, PIN) == [False, False, True, True]
    assert Address().looks(PIN, PIN, OTHER, OTHER, OTHER, PIN, PIN) == [False] * 7


def test_they_are_told_until_one_alone_answered_twenty_times_after_the_last_change() -> None:
    address = Address()
    address.looks(OTHER, PIN, OTHER)
    assert address.looks(*[OTHER] * (CALM - 1)) == [True] * (CALM - 1)
    assert address.looks(OTHER, PIN, OTHER) == [False] * 3, "it begins again"
    assert address.look(PIN)


def test_a_calm_that_was_not_long_enough_is_forgotten_at_the_next_change() -> None:
    address = Address()
    address.looks(OTHER, PIN, OTHER, *[OTHER] * (CALM - 1))
    assert address.look(PIN)
    assert address.looks(*[PIN] * (CALM - 1)) == [True] * (CALM - 1)
    assert not address.look(PIN)


def test_a_new_incarnation_begins_with_the_pinned_server_and_without_a_change() -> None:
    address = Address()
    address.looks(OTHER, PIN)
    assert not address.look(OTHER, generation=2)
    assert not address.look(PIN, generation=2)
    assert address.look(OTHER, generation=2)


@pytest.mark.parametrize(
    ("names", "told"),
    [(("c",), "c"), (("c", "d", "e"), "c, d, e"), (("c", "d", "e", "f"), "c, d, e, …"), (("f", "e", "d", "c"), "c, d, e, …")],
)
def test_the_other_one_is_told_by_its_first_three_tools(names: tuple[str, ...], told: str) -> None:
    turns = ServerTurns()
    for one in (kept(*names), PIN):
        turns.look("direct:time", PIN, one, 1)
    assert turns.look("direct:time", PIN, kept(*names), 1) == (
        f"two servers answer in turn at its address: the pinned one, and one that lists {told}"
    )
