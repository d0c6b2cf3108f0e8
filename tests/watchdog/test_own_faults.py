"""Faults of our own code, wherever they are on the way of a check: nothing is ended, restarted or called ill for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from mcpwatch.model.fact import RepairTried, Troubled
from mcpwatch.model.member import Phase, Verdict
from mcpwatch.model.probe import Outcome, ProbeResult
from mcpwatch.watchdog import probing as probing_module
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.own_faults import OwnFaults, broken
from mcpwatch.watchdog.probing import Probing
from mcpwatch.watchdog.senses import Context
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.watchdog.scenes import Still
from tests.watchdog.world import GATEWAY, Server
from tests.watchdog.world_prober import watched

GRACE = 8.0
GOOD, UNKNOWN = ProbeResult(Outcome.SUCCESS), ProbeResult(Outcome.UNKNOWN, message="the machine was away")
BAD = broken(KeyError("x"))


def test_own_faults_are_counted_by_check_and_told_once_until_none_is_left() -> None:
    told: list[Troubled] = []
    faults = OwnFaults(Context(Still(), told.append, lambda _work, _name: None))  # pyright: ignore[reportArgumentType]
    assert [faults.took("a", None), faults.took("a", GOOD), faults.took("a", UNKNOWN)] == [0, 0, 0]
    assert (faults.unmade("a"), faults.unmade("b"), told) == ("the machine was away", "", [])
    assert [faults.took("a", BAD), faults.took("a", BAD), faults.took("b", BAD)] == [1, 2, 1]
    assert faults.unmade("a") == BAD.message
    assert [(one.level, one.cleared, one.text) for one in told] == [("error", False, f"mcpwatch's own check failed{BAD.own_fault}")]
    assert (faults.took("a", GOOD), faults.unmade("a"), len(told)) == (0, "", 1)
    faults.drop("b")
    assert [(one.level, one.cleared, one.text) for one in told[1:]] == [("info", True, "mcpwatch's own checks work again")]
    assert faults.took("a", BAD) == 1
    faults.keep({"a"})
    assert (faults.unmade("a"), len(told)) == (BAD.message, 3)
    faults.keep(())
    assert (faults.unmade("a"), told[-1].cleared) == ("", True)
    assert faults.took("a", BAD) == 1, "counted from the beginning"
    faults.drop("a")
    assert (faults.unmade("a"), told[-1].cleared) == ("", True)


def raising(*_: object, **__: object) -> NoReturn:
    """As code in the middle of a mend."""
    raise NameError("name 'told' is not defined")


def _listener(what: str) -> Callable[[Probing], Callable[[], None]]:
    def breaks(probing: Probing) -> Callable[[], None]:
        inside = vars(probing)
        before = inside["_listener"]
        inside["_listener"] = replace(before, **{what: raising})
        return lambda: inside.update(_listener=before)

    return breaks


def _function(of: Callable[[Probing], Any], what: str) -> Callable[[Probing], Callable[[], None]]:
    def breaks(probing: Probing) -> Callable[[], None]:
        owner = of(probing)
        before = getattr(owner, what)
        setattr(owner, what, raising)
        return lambda: setattr(owner, what, before)

    return breaks


PLACES: dict[str, Callable[[Probing], Callable[[], None]]] = {
    "the prober": _function(lambda probing: vars(probing)["_prober"], "probe"),
    "the aim": _listener("aim"),
    "refine": _listener("refine"),
    "the fold": _function(lambda _: probing_module, "fold"),
    "what results mean": _listener("on_result"),
    "the sight": _function(lambda probing: probing, "_sight"),
}
"""Where it may break, each with what breaks it, which gives what mends it."""


def faulty(place: str, *, at_start: bool, seconds: float) -> None:
    """A fleet of all kinds that is well, under a watchdog that is broken for so long, from the beginning or from later on."""
    servers = [Server("own", "process", cold=0.3), Server("held", "hosted", cold=0.3), Server("far", "url")]

    async def story(loop: VirtualLoop, clock: VirtualClock) -> None:
        patched = PLACES[place]
        mends: list[Callable[[], None]] = []
        begin = Fleet.begin

        async def broken_from_the_start(self: Fleet, *given: Any, **more: Any) -> Any:
            mends.append(patched(self.monitor.probing))
            return await begin(self, *given, **more)

        with pytest.MonkeyPatch.context() as patch:
            if at_start:
                patch.setattr(Fleet, "begin", broken_from_the_start)
            async with watched(loop, clock, GATEWAY, servers, start_grace=GRACE) as (world, fleet):
                if not at_start:
                    await asyncio.sleep(30.0)
                    assert fleet.view().healthy
                    mends.append(patched(fleet.monitor.probing))
                try:
                    await asyncio.sleep(seconds)
                    if seconds > 2 * GRACE:
                        assert {one.verdict for one in fleet.view().members} <= {Verdict.UNKNOWN, Verdict.HEALTHY}
                        assert {one.phase for one in fleet.view().members} == {Phase.RUNNING}
                        assert not fleet.view().healthy
                finally:
                    mends[0]()
                told = [one for one in world.facts if isinstance(one, Troubled) and one.subject == "checks"]
                assert [one.cleared for one in told] == [False], told
                assert "own check failed: NameError: name 'told'" in told[0].text
                await asyncio.sleep(30.0)
                assert [one.cleared for one in world.facts if isinstance(one, Troubled)] == [False, True]
                assert {one.generation for one in fleet.view().members} == {1}
                assert not [one for one in world.facts if isinstance(one, RepairTried)]
                assert not world.harm
                assert fleet.view().healthy

    run(story)


@pytest.mark.sample(6)
@pytest.mark.parametrize("seconds", [GRACE - 3.0, 90.0])
@pytest.mark.parametrize("at_start", [True, False], ids=["from its start", "later"])
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_of_ours_ends_no_start_restarts_nothing_and_is_told_until_it_is_over(
    place: str, at_start: bool, seconds: float
) -> None:
    faulty(place, at_start=at_start, seconds=seconds)
