"""Until when something is given time to start: one notion for everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase
from mcpwatch.model.probe import Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.snapshot import MemberSnapshot, Observation
from mcpwatch.watchdog.starts import COLD_START, cold_until, inside, mounting_until, starting_until
from tests.watchdog.scenes import FETCH, OK, PROXY, bad, scene

STARTING = replace(FETCH, phase=Phase.STARTING, started_at=Instant(70.0))
INSIDE = replace(FETCH, runtime="external", direct=None, started_at=None, through=Observation())
YOUNG = replace(PROXY, started_at=Instant(80.0))


@pytest.mark.parametrize(
    ("member", "proxy", "until"),
    [
        (STARTING, YOUNG, 130.0),
        (replace(STARTING, started_at=Instant(40.0)), YOUNG, None),
        (replace(STARTING, started_at=Instant(40.5)), YOUNG, 100.5),
        (replace(STARTING, started_at=None), YOUNG, 160.0),
        (FETCH, YOUNG, None),
        (INSIDE, YOUNG, 140.0),
        (replace(INSIDE, through=None), YOUNG, 140.0),
        (replace(INSIDE, child_runs=True), YOUNG, 80.0 + COLD_START),
        (replace(INSIDE, child_runs=True, through=OK), YOUNG, None),
        (replace(INSIDE, through=OK), YOUNG, None),
        (INSIDE, replace(YOUNG, started_at=Instant(30.0)), None),
        (INSIDE, replace(YOUNG, started_at=None), None),
        (INSIDE, replace(YOUNG, name="another"), None),
    ],
)
def test_a_start_is_waited_for_from_where_it_begins(member: MemberSnapshot, proxy: MemberSnapshot, until: float | None) -> None:
    assert starting_until(scene(member, proxy), member) == until


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({}, 130.0),
        ({"started_at": None}, None),
        ({"started_at": Instant(40.0)}, None),
        ({"direct": None}, None),
        ({"direct": bad(Symptom.TIMEOUT)}, None),
        ({"direct": replace(bad(Symptom.NOT_MOUNTED), succeeded=True)}, None),
        ({"child_runs": True}, 70.0 + COLD_START),
        ({"child_runs": True, "start_grace": 900.0}, 970.0),
    ],
)
def test_a_bridge_that_answers_before_its_child_does_is_given_time(changes: dict[str, object], until: float | None) -> None:
    bridge = replace(FETCH, started_at=Instant(70.0), direct=bad(Symptom.NOT_MOUNTED))
    member = replace(bridge, **changes)  # pyright: ignore[reportArgumentType]
    assert cold_until(scene(member, YOUNG), member) == until
    assert COLD_START == 600.0


def test_a_server_is_inside_the_proxy_when_others_run_it_and_nothing_else_reaches_it() -> None:
    assert inside(INSIDE)
    assert not inside(replace(INSIDE, direct=OK))
    assert not inside(replace(INSIDE, runtime="hosted"))


@pytest.mark.parametrize(
    ("through", "proxy", "late", "until"),
    [
        (None, YOUNG, False, 140.0),
        (bad(Symptom.NOT_MOUNTED), YOUNG, False, 140.0),
        (OK, YOUNG, False, None),
        (None, YOUNG, True, None),
        (None, replace(YOUNG, started_at=None), False, None),
        (None, replace(YOUNG, started_at=Instant(40.0)), False, None),
        (None, replace(YOUNG, name="another"), False, None),
    ],
)
def test_a_proxy_that_connects_at_its_start_alone_is_given_time_for_it(
    through: Observation | None, proxy: MemberSnapshot, until: float | None, *, late: bool
) -> None:
    member = replace(FETCH, through=through)
    assert mounting_until(scene(member, proxy, mounts_late=late), member) == until
