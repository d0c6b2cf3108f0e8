"""What a proxy shows for a member, against what that and the others list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.contract import snapshot
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Tool
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.snapshot import Observation
from tests.watchdog.scenes import FETCH, OK, PROVED, REBORN, TBXARK, TIME, bad, named, one, scene


def lists(*names: str, seen: Observation = OK) -> Observation:
    result = seen.result or ProbeResult(Outcome.SUCCESS)
    return replace(seen, result=replace(result, tools=tuple(Tool(name, name) for name in names)))


LOST = bad(Symptom.MISSING_TOOLS)


def test_a_route_at_which_another_member_is_shown_is_told_so_and_no_restart_tried() -> None:
    """Two entries of the proxy's file were mixed up: as many tools as before, and not these."""
    fetch = replace(FETCH, direct=lists("get", "put"), through=lists("now", "zone", seen=LOST))
    time = replace(TIME, direct=lists("now", "zone"), through=lists("now", "zone"))
    finding = one(fetch, time, TBXARK)
    assert (finding.cause, finding.subject, finding.rung) == ("config", "proxy", None)
    assert finding.text == "at the route 'fetch' it shows what 'time' lists"
    fewer = replace(fetch, through=lists("get", seen=LOST))
    assert one(fewer, time, TBXARK).cause == "empty_tools"
    alike = replace(time, direct=lists("get"))
    assert one(replace(fewer, direct=None, runtime="external"), alike, TBXARK).cause != "config"


@pytest.mark.parametrize(
    ("own", "shown", "told"),
    [
        (("get", "put"), ("get", "put"), ""),
        (("get", "put", "new"), ("get", "put"), ""),
        (("get",), ("get", "put"), "with what it lists no more: put"),
        (("get", "new"), ("get", "put"), "with what it lists no more: put and without new"),
        (("get",), ("get", *"abcdefg"), "with what it lists no more: a, b, c, d, e and 2 more"),
    ],
)
def test_tools_that_only_the_proxys_memory_still_has_are_told_and_left_to_a_person(
    own: tuple[str, ...], shown: tuple[str, ...], told: str
) -> None:
    """What is listed and not shown may be hidden by a filter; what is shown and not listed cannot be called any more."""
    member = replace(FETCH, direct=lists(*own), through=lists(*shown))
    left = "left to a person: restart 'proxy' when its other routes can bear it"
    assert named(member, TBXARK) == ([("drift", None, left)] if told else [])
    if told:
        assert diagnose(scene(member, TBXARK)).found[0].text == f"it shows an old list of 'fetch', {told}"
    assert named(member, TBXARK, lists_from_cache=False) == []
    earlier = replace(member, direct=replace(lists(*own), began_at=Instant(49.0)))
    assert named(earlier, replace(TBXARK, started_at=Instant(50.0))) == []
    failing = replace(member, direct=replace(bad(Symptom.TIMEOUT, Stage.OPEN), verdict=OK.verdict, failures=1))
    assert [cause for cause, _, _ in named(failing, TBXARK)] == []


def contract(**tools: str) -> str:
    return snapshot(tools=[{"name": name, "description": text, "inputSchema": {"type": "object"}} for name, text in tools.items()])


@pytest.mark.parametrize(
    ("before", "now", "shown", "told"),
    [
        ({"a": "1"}, {"a": "1", "b": "1"}, {"a": "1"}, "without b"),
        ({"a": "1"}, {"a": "2"}, {"a": "1"}, "with the former definition of a"),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}, ""),
        ({"a": "1"}, {"a": "2"}, {"a": "as the proxy words it"}, ""),
        ({"a": "1"}, {"a": "2", "b": "1"}, {"a": "1"}, "without b and with the former definition of a"),
        ({"a": "1", "hidden": "1"}, {"a": "1", "hidden": "1", "b": "1"}, {"a": "1"}, ""),
        ({}, {"a": "1", "b": "1"}, {"a": "1"}, ""),
    ],
)
def test_what_a_member_lists_anew_and_the_proxys_memory_does_not_show_is_told(
    before: dict[str, str], now: dict[str, str], shown: dict[str, str], told: str
) -> None:
    """What the proxy hid before it may hide now."""

    def seen(tools: dict[str, str]) -> Observation:
        names = tuple(Tool(name, name) for name in tools)
        return replace(OK, result=ProbeResult(Outcome.SUCCESS, tools=names, contract=contract(**tools)))

    known = contract(**before) if before else ""
    member = replace(FETCH, direct=seen(now), through=seen(shown), listed_before=known, relisted_at=Instant(98.0))
    text = [found.text for found in diagnose(scene(member, TBXARK)).found]
    assert text == ([f"it shows an old list of 'fetch', {told}"] if told else [])
    assert named(replace(member, relisted_at=Instant(99.1)), TBXARK) == [], "the route was not looked at since"
    assert not told.startswith("without") or "without" not in "".join(
        found.text for found in diagnose(scene(replace(member, picked=True), TBXARK)).found
    ), "only tools that somebody named are shown"


def test_one_that_was_started_anew_with_other_tools_has_its_stale_session_ended_all_the_same() -> None:
    """The old list was named first, and left to a person: nobody got through to a member that is well, for ever."""
    reborn = replace(REBORN, direct=lists("get"), through=lists("get", "put"))
    assert [(cause, rung) for cause, rung, _ in named(reborn, TBXARK)] == [("stale_session", "restart_proxy")]
    proved = replace(reborn, through=lists("get", "put", seen=PROVED))
    assert [(cause, rung) for cause, rung, _ in named(proved, TBXARK)] == [("drift", None)]
