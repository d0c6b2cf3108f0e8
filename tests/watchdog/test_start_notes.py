"""What the store keeps of each start comes back to the runtime that asks for it, and to no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpwatch.app.leader import FencedRuntime
from mcpwatch.model.incarnation import Incarnation, Started
from mcpwatch.model.spec import PlanDiff
from mcpwatch.ports import Alone
from mcpwatch.watchdog.planned_fleet import ROOM
from mcpwatch.watchdog.start_notes import noted_starts, start_note
from tests.watchdog.small_fleet import Carrier, SmallFleet, fleet_story, member, plan
from tests.watchdog.step_runtime import StepRuntime

pytestmark = pytest.mark.hypothesis


class Asking(StepRuntime):
    """A runtime whose records may be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Started] = {}

    def remind(self, started: Mapping[str, Started]) -> None:
        self.told |= started


@given(st.text(), st.integers(0, 10**6), st.integers(1, 4 << 20), st.text(st.characters(categories=["L", "N"])))
def test_a_noted_start_is_read_as_it_was(member: str, generation: int, pid: int, fingerprint: str) -> None:
    key, value = start_note(member, generation, Incarnation(member, generation, fingerprint, pid))
    assert value is not None
    assert noted_starts({key: value, "down:x": "1", f"generation:{member}": "3"}) == {member: Started(generation, pid, fingerprint)}


@pytest.mark.parametrize("value", ["", "8", "8 ", "x 9", "8 -1", "8 none f"])
def test_a_note_that_cannot_be_read_tells_no_start(value: str) -> None:
    assert noted_starts({"started:time": value}) == {}


def test_what_has_no_process_leaves_no_note() -> None:
    assert start_note("time", 3, Incarnation("time", 3, "f", container="c")) == ("started:time", None)


def test_a_fenced_runtime_passes_on_what_the_store_knows() -> None:
    asking, started = Asking(), {"time": Started(3, 7)}
    FencedRuntime(asking, Alone()).remind(started)
    assert asking.told == started
    FencedRuntime(StepRuntime(), Alone()).remind(started)


class RemindedCarrier(Carrier):
    """A carrier that asks what the store knows, and keeps of whom it was told."""

    def __init__(self, name: str, told: list[set[str]]) -> None:
        super().__init__(name)
        self._told = told

    def remind(self, started: Mapping[str, Started]) -> None:
        self._told.append(set(started))


def reminded(small: SmallFleet) -> list[set[str]]:
    """Its carriers ask what the store knows; of whom they were told."""
    told: list[set[str]] = []
    small.runtimes |= {name: RemindedCarrier(name, told) for name in ("process", "docker")}
    return told


def test_a_member_that_is_removed_leaves_no_note_of_its_start() -> None:
    async def play(small: SmallFleet) -> None:
        reminded(small)
        await small.fleet.begin(plan(member("a"), member("b")))
        await asyncio.sleep(1.0)
        assert noted_starts(small.memory.recall(ROOM)).keys() == {"a", "b"}
        await small.fleet.apply(plan(member("a")), PlanDiff(remove=("b",)))
        assert noted_starts(small.memory.recall(ROOM)).keys() == {"a"}

    fleet_story(play)


def test_one_that_was_removed_while_nobody_watched_is_told_once_more_and_then_forgotten() -> None:
    async def play(small: SmallFleet) -> None:
        told = reminded(small)
        await small.fleet.begin(plan(member("a"), member("far", runtime="docker")))
        assert told == [{"a", "gone", "far"}] * 2, "who ends what it left has to know it"
        assert noted_starts(small.memory.recall(ROOM)).keys() >= {"far"}
        assert "gone" not in noted_starts(small.memory.recall(ROOM))

    fleet_story(play, started__a="3 7 f1", started__gone="2 8 f1", started__far="1 9 f1")
