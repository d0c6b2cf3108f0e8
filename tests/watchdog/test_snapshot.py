"""What a snapshot tells of a member, and the words of its evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, StageTiming, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.evidence import evidence, evidence_with_log, said
from mcpwatch.watchdog.snapshot import FleetSnapshot, MemberSnapshot, Observation, ProxyLogHint
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROXY, bad, scene

REFUSING = replace(bad(Symptom.UPSTREAM_DOWN), result=ProbeResult(Outcome.FAILURE, Symptom.UPSTREAM_DOWN, None, "license expired"))
AWAY = replace(REFUSING, result=ProbeResult(Outcome.FAILURE, Symptom.UPSTREAM_DOWN, None, "connection refused"))


def test_an_observation_without_a_result_says_nothing() -> None:
    empty = Observation()
    assert (empty.symptom, empty.stage, empty.message, empty.bad, empty.mute, empty.proved, empty.answered) == (
        None,
        None,
        "",
        False,
        False,
        False,
        False,
    )
    assert (empty.verdict, empty.failures, empty.generation, empty.proxy_generation, empty.rate) == (Verdict.UNKNOWN, 0, 0, 0, 0.0)
    assert not empty.deep
    assert not empty.succeeded


def test_an_observation_tells_its_latest_result() -> None:
    cut = bad(Symptom.CUT, Stage.OPEN)
    assert (cut.symptom, cut.stage, cut.message) == (Symptom.CUT, Stage.OPEN, "said so")
    assert cut.mute
    assert not replace(cut, verdict=Verdict.HEALTHY).mute, "one failure is no verdict"
    assert not bad(Symptom.AUTH).mute
    assert bad(Symptom.AUTH).answered
    assert not cut.answered


def test_what_is_not_known_of_a_member_or_a_fleet_speaks_against_nobody() -> None:
    one = MemberSnapshot("a", "bridge", "process", Want.UP, Phase.RUNNING)
    assert not any(
        (one.oom, one.stopped_processes, one.planned, one.paused, one.child_runs, one.child_gone, one.restarting, one.down)
    )
    assert (one.failures, one.start_grace, one.own, one.budget_at) == (0, 60.0, None, None)
    fleet = FleetSnapshot(Instant(1.0), (one,))
    assert not any((fleet.holds_sessions, fleet.lists_from_cache, fleet.nudges, fleet.engine_gone))
    assert fleet.mounts_late
    assert fleet.reconnects
    assert ProxyLogHint("a", "failed", "x").at == 0.0


def test_what_was_well_once_was_set_up_rightly() -> None:
    for symptom, first, later in (
        (Symptom.TLS, True, True),
        (Symptom.BUFFERED, True, False),
        (Symptom.UNRESOLVED, True, False),
        (Symptom.TIMEOUT, False, False),
    ):
        assert bad(symptom).misconfigured is first
        assert replace(bad(symptom), succeeded=True).misconfigured is later


@pytest.mark.parametrize(("stage", "proved"), [(Stage.SAFE_CALL, True), (Stage.CANARY, True), (Stage.TOOLS_LIST, False)])
def test_only_a_call_proves_that_no_memory_answered(stage: Stage, *, proved: bool) -> None:
    timings = (StageTiming(Stage.OPEN, 0.1), StageTiming(stage, 0.1))
    assert replace(OK, result=ProbeResult(Outcome.SUCCESS, timings=timings)).proved is proved


@pytest.mark.parametrize(
    ("changes", "restarting", "down"),
    [
        ({}, False, False),
        ({"phase": Phase.BACKOFF}, True, True),
        ({"phase": Phase.FAILED}, True, True),
        ({"phase": Phase.FAILED, "direct": bad(Symptom.AUTH)}, True, True),
        ({"phase": Phase.BACKOFF, "planned": True}, False, False),
        ({"phase": Phase.STARTING}, False, False),
        ({"phase": Phase.STARTING, "failures": 1}, True, True),
        ({"phase": Phase.STARTING, "failures": 1, "direct": None}, True, True),
        ({"phase": Phase.STARTING, "failures": 1, "direct": bad(Symptom.AUTH)}, True, False),
        ({"phase": Phase.STARTING, "failures": 1, "direct": bad(Symptom.REFUSED)}, True, True),
        ({"phase": Phase.STARTING, "failures": 1, "listens_on": (9,), "port": 8000}, True, False),
        ({"phase": Phase.STARTING, "failures": 1, "listens_on": (9, 8000), "port": 8000}, True, True),
        ({"phase": Phase.STARTING, "failures": 1, "listens_on": (9,), "port": None}, True, True),
        ({"phase": Phase.STARTING, "failures": 1, "listens_on": (), "port": 8000}, True, True),
        ({"phase": Phase.STOPPED, "failures": 1}, False, False),
        ({"phase": Phase.STARTING, "failures": 1, "runtime": "hosted", "direct": None, "through": REFUSING}, True, False),
        ({"phase": Phase.STARTING, "failures": 1, "runtime": "hosted", "direct": None, "through": AWAY}, True, True),
    ],
)
def test_a_member_is_down_that_ended_and_has_not_proven_itself_unless_it_answers(
    changes: dict[str, object], *, restarting: bool, down: bool
) -> None:
    member = replace(FETCH, **changes)  # pyright: ignore[reportArgumentType]
    assert (member.restarting, member.down) == (restarting, down)


def test_a_member_is_seen_past_the_proxy_where_that_is_possible() -> None:
    cut, lost = bad(Symptom.CUT), bad(Symptom.SESSION_LOST)
    assert replace(FETCH, direct=cut, through=lost).own is cut
    assert replace(FETCH, direct=None, through=lost).own is None, "its route says nothing of it alone"
    assert replace(FETCH, direct=cut, through=lost, alone="bye").own is None
    assert replace(HOSTED, through=lost).own is lost
    assert replace(HOSTED, direct=cut, through=lost, alone="bye").own is lost


def test_a_fleet_finds_its_members_and_what_the_log_said_of_a_route() -> None:
    hint = ProxyLogHint("fetch", "failed", "x")
    fleet = scene(FETCH, PROXY, proxy_log=(ProxyLogHint("", "exhausted", "y"), hint))
    assert fleet.front is PROXY
    assert replace(fleet, proxy=None).front is None
    assert fleet.member("fetch") is FETCH
    assert fleet.member("nobody") is None
    assert fleet.hint("fetch") is hint
    assert fleet.hint("other") is None
    assert fleet.hint("") is None
    assert fleet.hint(None) is None


def test_the_evidence_has_a_line_for_each_vantage_that_saw_something() -> None:
    assert evidence(replace(FETCH, last_exit="code 1")) == (
        "fetch: running",
        "last exit: code 1",
        "direct: ok",
        "through the proxy: ok",
    )
    assert evidence(replace(HOSTED, through=bad(Symptom.CUT, Stage.OPEN))) == (
        "git: running",
        "through the proxy: cut@open (3 in a row): said so",
    )
    assert evidence(replace(FETCH, direct=Observation(), through=None)) == ("fetch: running",)
    hint = ProxyLogHint("web", "failed", "<web> gave up")
    other = ProxyLogHint("fetch", "failed", "<fetch> gave up")
    fleet = scene(FETCH, PROXY, proxy_log=(hint, other))
    assert evidence_with_log(fleet, replace(FETCH, route="web"))[-1] == "proxy log: <web> gave up"
    assert evidence_with_log(fleet, replace(FETCH, route=None))[-1] == "proxy log: <fetch> gave up"


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (None, "direct: not seen"),
        (Observation(), "direct: not seen"),
        (OK, "direct: ok"),
        (replace(OK, rate=0.25), "direct: ok (25% of the latest probes failed)"),
        (replace(bad(Symptom.AUTH), failures=1), "direct: auth: said so"),
        (replace(bad(Symptom.AUTH), failures=2, rate=0.5), "direct: auth (2 in a row) (50% of the latest probes failed): said so"),
        (replace(bad(Symptom.AUTH), failures=1, result=ProbeResult(Outcome.FAILURE, Symptom.AUTH)), "direct: auth"),
    ],
)
def test_a_vantage_is_told_in_a_line(seen: Observation | None, line: str) -> None:
    assert said("direct", seen) == line
