"""A member whose url changed while it ran on is told as wrongly set up, and never restarted for it: what runs was well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.fact import RepairTried
from mcpwatch.model.member import Verdict
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Target, Transport
from mcpwatch.model.spec import CheckSpec, PlanDiff
from mcpwatch.model.time import Instant, WallTime
from mcpwatch.watchdog.history import CheckHistory, Sight, fold, glance, renew
from tests.watchdog.scenes import FETCH, HOSTED, PROXY, bad, one
from tests.watchdog.small_fleet import CHECK, SmallFleet, fleet_story, member, plan, route
from tests.watchdog.small_fleet import PROXY as FRONT_MEMBER

FORMER = "auto http://h/a/sse"
SOON = replace(CHECK, interval=5.0, failure_threshold=2)
LOST = ProbeResult(Outcome.FAILURE, Symptom.NOT_MOUNTED, Stage.OPEN, "GET /a/mcp is not served (HTTP 404)", http_status=404)


@pytest.mark.parametrize(
    ("symptom", "text"),
    [
        (Symptom.NOT_MOUNTED, "not at the path of its url"),
        (Symptom.ERA_MISMATCH, "its configuration or contract is wrong"),
        (Symptom.REJECTED, "its configuration or contract is wrong"),
    ],
)
def test_one_that_was_well_at_another_url_is_told_so_and_not_restarted(symptom: Symptom, text: str) -> None:
    seen = replace(bad(symptom, Stage.OPEN), failures=9)
    found = one(replace(FETCH, through=None, direct=replace(seen, formerly=FORMER)), PROXY)
    assert (found.cause, found.rung) == ("config", None)
    assert "'mcpwatch restart fetch'" in found.hold
    assert "it was well at http://h/a/sse, and is not where it is asked now" in found.text
    assert text in found.text
    assert one(replace(FETCH, through=None, direct=seen), PROXY).hold == "", "it was never well elsewhere"
    others = one(replace(FETCH, through=None, runtime="external", direct=replace(seen, formerly=FORMER)), PROXY)
    assert (others.rung, others.hold) == (None, ""), "nobody here can start it"
    assert "it was well at http://h/a/sse" in others.text


def test_a_former_wire_is_named_and_so_is_a_former_port() -> None:
    port = replace(bad(Symptom.REFUSED, Stage.CONNECT), formerly="sse http://h:8000/sse", failures=9)
    elsewhere = replace(FETCH, through=None, direct=port, listens_on=(8000,), port=9000)
    found = one(elsewhere, PROXY)
    assert (found.cause, found.rung) == ("wrong_port", None)
    assert "it was well at http://h:8000/sse (sse)" in found.text


def test_one_refused_probe_at_a_new_url_is_below_the_threshold_and_restarts_nothing() -> None:
    once = replace(bad(Symptom.REFUSED, Stage.CONNECT), formerly="sse http://h:8000/sse", verdict=Verdict.HEALTHY, failures=1)
    found = one(replace(FETCH, through=None, direct=once, listens_on=(8000,), port=9000), PROXY)
    assert (found.cause, found.rung, found.hold) == ("wrong_port", None, "")


def test_a_hosted_member_is_not_restarted_for_the_url_of_its_route() -> None:
    """Its process has no url: what changed is where the gateway is asked for it."""
    seen = replace(bad(Symptom.REJECTED, Stage.OPEN), formerly="auto http://gateway/git/mcp", failures=9)
    found = one(replace(HOSTED, through=seen), PROXY)
    assert (found.cause, found.rung) == ("config", None)


def test_what_no_restart_answers_is_not_restarted_for_a_changed_url() -> None:
    for symptom in (Symptom.AUTH, Symptom.OVERLOADED, Symptom.DRIFT, Symptom.TOOL_ERROR, Symptom.WRONG_SERVER):
        assert one(replace(FETCH, through=None, direct=replace(bad(symptom), formerly=FORMER)), PROXY).rung is None, symptom


def test_a_success_counts_where_it_was_made_and_in_its_generation() -> None:
    at = Sight(Instant(1.0), Instant(2.0), WallTime(3.0), target="auto http://h/old")
    good, ill = ProbeResult(Outcome.SUCCESS), LOST
    check = CheckSpec("mcp")
    well = fold(CheckHistory(), good, check, at)
    assert (well.succeeded, well.success_target) == (True, "auto http://h/old")
    same = fold(well, ill, check, at)
    assert (same.succeeded, same.target, same.success_target) == (True, "auto http://h/old", "auto http://h/old")
    moved = fold(well, ill, check, replace(at, target="auto http://h/new"))
    assert (moved.succeeded, moved.target, moved.success_target) == (False, "auto http://h/new", "auto http://h/old")
    assert glance(well, ill, replace(at, target="auto http://h/new")).target == "auto http://h/new"
    again = fold(moved, good, check, replace(at, target="auto http://h/new"))
    assert (again.succeeded, again.success_target) == (True, "auto http://h/new")
    assert (renew(moved, 2).success_target, renew(moved, 2).last_success) == ("", 3.0)


@pytest.mark.parametrize("transport", ["auto", "stateless"])
def test_a_reload_that_changes_the_url_or_the_wire_of_what_runs_on_restarts_nothing_until_a_person_says_so(
    transport: Transport,
) -> None:
    """Its route fails too, by the same mistake; once a person starts what was upgraded it is well there."""
    old, new = (
        member("a", checks=(SOON,), route="a"),
        member("a", checks=(SOON,), direct=Target("http://h/a/mcp", transport), route="a"),
    )
    wrong = replace(LOST, symptom=Symptom.ERA_MISMATCH) if transport == "stateless" else LOST

    async def play(small: SmallFleet) -> None:
        await small.fleet.begin(plan(old, FRONT_MEMBER, routes=(route("a"),)))
        await asyncio.sleep(30.0)
        small.answers |= {"http://h/a/mcp": wrong, "http://p/a": wrong}
        await small.fleet.apply(plan(new, FRONT_MEMBER, routes=(route("a"),)), PlanDiff(retune=("a",)))
        await asyncio.sleep(400.0)
        assert [fact.rung for fact in small.facts if isinstance(fact, RepairTried)] == []
        assert small.generations() == {"a": 1, "proxy": 1}
        assert [(found.cause, found.rung) for found in small.fleet.view().diagnoses] == [("config", None)]
        small.runtimes["process"].on_stop = lambda: small.answers.clear()  # noqa: PLW0108 - it is made later
        await small.fleet.command("restart", "a")
        await asyncio.sleep(60.0)
        assert small.fleet.view().diagnoses == ()
        shown = small.fleet.view().member("a")
        assert shown is not None
        assert shown.verdict is Verdict.HEALTHY

    fleet_story(play)
