"""What lives long is frozen after a full collection and thawed now and then: no garbage stays for good."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Generator

import pytest

from mcpwatch.app.garbage import LongLived

MUCH = 1000


class Node:
    """One that can refer to itself."""

    def __init__(self) -> None:
        self.next: Node | None = self


@pytest.fixture
def watched() -> Generator[LongLived]:
    """Freezes from a thousand objects on, thaws after two freezes; whatever lived before is frozen."""
    gc.disable()  # the tests say when
    gc.collect()
    gc.freeze()
    one = LongLived(MUCH, 2)
    gc.callbacks.append(one)
    yield one
    gc.callbacks.remove(one)
    gc.unfreeze()
    gc.enable()


def test_what_a_full_collection_leaves_is_looked_through_once(watched: LongLived) -> None:
    kept = [[number] for number in range(2 * MUCH)]
    gc.collect()
    assert len(gc.get_objects(2)) == 0
    assert gc.get_freeze_count() > len(kept)


def test_little_that_lives_is_left_to_later_collections_as_ever(watched: LongLived) -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(10)]
    gc.collect()
    assert gc.get_freeze_count() == before
    assert len(gc.get_objects(2)) >= len(kept)


def test_a_younger_collection_freezes_nothing(watched: LongLived) -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(2 * MUCH)]
    gc.collect(1)
    assert gc.get_freeze_count() == before
    assert len(kept) == 2 * MUCH


def test_what_is_frozen_ends_at_once_when_nothing_refers_to_it(watched: LongLived) -> None:
    kept = [Node() for _ in range(2 * MUCH)]
    for number in range(len(kept)):
        kept[number].next = None
    gc.collect()
    ended = weakref.ref(kept[0])
    del kept[0]
    assert ended() is None


def test_a_cycle_that_ended_while_it_was_frozen_is_collected_after_the_next_thaw(watched: LongLived) -> None:
    cycle = Node()
    ended = weakref.ref(cycle)
    kept = [[[number] for number in range(2 * MUCH)]]
    gc.collect()
    del cycle
    for _ in range(2):  # one is frozen, and then all is thawed
        assert ended() is not None
        kept.append([[number] for number in range(2 * MUCH)])
        gc.collect()
    gc.collect()
    assert ended() is None


def test_it_is_put_among_the_callbacks_once() -> None:
    code = "import gc; from mcpwatch.app.garbage import LongLived, settle; settle(); settle(); "
    code += "print(sum(isinstance(one, LongLived) for one in gc.callbacks), gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "True"]
