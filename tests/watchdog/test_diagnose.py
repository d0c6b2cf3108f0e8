"""One cause per trouble, from all vantages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.scene import Actor, Scene, Seen

OK = Seen(Verdict.HEALTHY, ProbeResult(Outcome.SUCCESS))


def bad(symptom: Symptom, stage: Stage = Stage.TOOLS_LIST) -> Seen:
    return Seen(Verdict.UNHEALTHY, ProbeResult(Outcome.FAILURE, symptom, stage, "said so"), failures=3)


PROXY = Actor("proxy", "proxy", "process", Want.UP, Phase.RUNNING, Instant(50.0), direct=OK)
FETCH = Actor("fetch", "bridge", "process", Want.UP, Phase.RUNNING, Instant(10.0), direct=OK, route="fetch", through=OK)
TIME = replace(FETCH, name="time", route="time")
HOSTED = replace(FETCH, name="git", runtime="hosted", direct=None, route="git")


def causes(*actors: Actor, holds_sessions: bool = False, engine_gone: str = "") -> list[tuple[str, str, str | None]]:
    scene = Scene(Instant(100.0), actors, "proxy", holds_sessions=holds_sessions, engine_gone=engine_gone)
    return [(found.cause, found.subject, found.rung) for found in diagnose(scene)]


def test_a_healthy_fleet_has_no_cause() -> None:
    assert causes(FETCH, TIME, HOSTED, PROXY) == []


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (replace(FETCH, phase=Phase.BACKOFF, last_exit="killed by SIGKILL"), ("member_down", "fetch", None)),
        (replace(FETCH, phase=Phase.STARTING, failures=2), ("member_down", "fetch", None)),
        (replace(FETCH, phase=Phase.FAILED, oom=True), ("member_oom", "fetch", None)),
        (replace(FETCH, phase=Phase.FAILED, foreign_port="pid 7 (nginx)"), ("port_taken", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT)), ("member_hung", "fetch", "restart")),
        (replace(FETCH, direct=bad(Symptom.AUTH)), ("auth", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.SCHEMA)), ("config", "fetch", None)),
        (replace(FETCH, direct=bad(Symptom.EMPTY_TOOLS)), ("empty_tools", "fetch", "restart")),
        (replace(FETCH, direct=bad(Symptom.TOOL_ERROR)), ("dependency", "fetch", None)),
        (replace(FETCH, through=bad(Symptom.SESSION_LOST)), ("stale_session", "proxy", "restart_proxy")),
        (replace(FETCH, through=bad(Symptom.NOT_MOUNTED)), ("not_mounted", "proxy", "restart_proxy")),
        (replace(FETCH, through=bad(Symptom.BAD_ENDPOINT)), ("wrong_base_url", "proxy", None)),
        (replace(FETCH, through=bad(Symptom.AUTH)), ("auth", "proxy", None)),
        (replace(HOSTED, through=bad(Symptom.TIMEOUT)), ("member_hung", "git", "restart")),
        (replace(FETCH, runtime="external", direct=bad(Symptom.REFUSED)), ("member_hung", "fetch", None)),
    ],
)
def test_each_trouble_of_one_member_has_its_name_and_its_rung(actor: Actor, expected: tuple[str, str, str | None]) -> None:
    assert causes(actor, TIME, PROXY) == [expected]


def test_a_proxy_that_is_down_speaks_for_its_routes_but_not_for_a_member_that_is_down_itself() -> None:
    down = replace(PROXY, phase=Phase.BACKOFF, last_exit="killed by SIGKILL")
    lost = replace(HOSTED, phase=Phase.BACKOFF)
    assert causes(FETCH, lost, down) == [("proxy_down", "proxy", None)]
    assert causes(replace(FETCH, phase=Phase.FAILED), down) == [("proxy_down", "proxy", None), ("member_down", "fetch", None)]


def test_when_every_route_is_silent_and_the_members_are_well_the_proxy_is_hung() -> None:
    silent = bad(Symptom.TIMEOUT)
    assert causes(replace(FETCH, through=silent), replace(TIME, through=silent), PROXY) == [("proxy_hung", "proxy", "restart")]


def test_a_member_whose_dependency_is_down_is_not_restarted_for_it() -> None:
    database = replace(TIME, name="db", phase=Phase.FAILED)
    waiting = replace(FETCH, depends_on=("db",), direct=bad(Symptom.TIMEOUT))
    assert causes(waiting, database, PROXY) == [("dependency", "fetch", None), ("member_down", "db", None)]


def test_an_engine_that_is_away_speaks_for_its_containers() -> None:
    carried = replace(FETCH, runtime="docker", direct=bad(Symptom.REFUSED))
    assert causes(carried, PROXY, engine_gone="no answer") == [("engine_gone", "engine", None)]


def test_an_unwanted_member_is_no_trouble() -> None:
    assert causes(replace(FETCH, want=Want.DOWN, phase=Phase.STOPPED, through=bad(Symptom.UPSTREAM_DOWN)), PROXY) == []


def test_the_evidence_tells_what_each_vantage_said() -> None:
    scene = Scene(Instant(1.0), (replace(FETCH, through=bad(Symptom.SESSION_LOST), started_at=Instant(60.0)), PROXY), "proxy")
    (found,) = diagnose(scene)
    assert "direct: ok" in found.evidence
    assert "through the proxy: session_lost (3 in a row): said so" in found.evidence
    assert "the member started after the proxy" in found.evidence
    assert found.affects == ("fetch",)
