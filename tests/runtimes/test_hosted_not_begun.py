"""A gateway that cannot bring a hosted server back says why, and that is what is told of the server until it runs again."""

from __future__ import annotations

import pytest

from mcpwatch.model.incarnation import Appeared, Exited, Hindered, Parked
from mcpwatch.runtimes.hosted_children import Children

GONE = "command '/opt/srv' was not found; install it or write its full path"


def _event(sequence: int, **fields: object) -> dict[str, object]:
    return {"member": "git", "sequence": sequence, **fields}


def _running() -> Children:
    children = Children()
    assert children.hear("started", _event(1, pid=7)) == (Appeared("git", 7),)
    children.number("git", 7, 1)
    assert children.hear("exited", _event(2, pid=7, signal=9, error="killed")) == (Exited("git", 1, None, 9, detail="killed"),)
    return children


def test_a_server_that_cannot_be_brought_back_is_down_for_that_reason_and_not_for_the_end_before_it() -> None:
    children = _running()
    assert children.hear("exited", _event(3, error=GONE)) == (Hindered("git", "member_down", f"the member is down: {GONE}"),)
    assert children.hear("started", _event(4, pid=8)) == (Hindered("git"), Appeared("git", 8))
    assert children.hear("connected", _event(5, pid=8)) == (), "it is taken back once"


@pytest.mark.parametrize(("name", "fields"), [("exited", {}), ("lost", {"error": GONE}), ("started", {"error": GONE})])
def test_what_says_no_reason_or_is_no_end_hinders_nothing(name: str, fields: dict[str, object]) -> None:
    assert _running().hear(name, _event(3, **fields)) == ()


def test_a_snapshot_that_shows_it_running_takes_the_reason_back_too() -> None:
    children = _running()
    children.hear("exited", _event(3, error=GONE))
    shown = {"pid": 1, "sequence": 4, "members": [{"name": "git", "phase": "running", "pid": 9}]}
    assert children.hear("snapshot", shown) == (Hindered("git"), Appeared("git", 9))


def test_a_gateway_that_gives_a_server_up_says_so_whatever_was_heard_of_its_ends() -> None:
    children = _running()
    assert children.hear("parked", _event(3, error="exited with code 1")) == (Parked("git"),)
    shown = {"pid": 1, "sequence": 4, "members": [{"name": "git", "phase": "failed"}]}
    assert children.hear("snapshot", shown) == (Parked("git"),), "also to one who heard nothing of it"
