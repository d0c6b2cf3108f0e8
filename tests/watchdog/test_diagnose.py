"""One cause per trouble, from all vantages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.model.member import Phase, Verdict, Want
from mcpwatch.model.probe import Stage, Symptom
from mcpwatch.model.time import Instant
from mcpwatch.watchdog.diagnose import diagnose
from mcpwatch.watchdog.finding import LookAgain
from mcpwatch.watchdog.repair import decide_repairs
from mcpwatch.watchdog.snapshot import FleetSnapshot
from tests.watchdog.scenes import FETCH, HOSTED, OK, PROVED, PROXY, REBORN, TIME, bad, causes, found, one, scene


def test_a_healthy_fleet_has_no_cause() -> None:
    assert causes(FETCH, TIME, HOSTED, PROXY) == []


def test_routes_and_members_that_a_cause_affects_are_named_apart() -> None:
    inside, elsewhere = replace(HOSTED, route="code"), replace(FETCH, runtime="docker", route="web")
    (down,) = diagnose(FleetSnapshot(Instant(1.0), (inside, elsewhere, replace(PROXY, phase=Phase.FAILED)), "proxy")).found
    assert (down.subject, down.affects, down.members) == ("proxy", ("code", "web"), ("git",))
    away = diagnose(FleetSnapshot(Instant(1.0), (inside, elsewhere, PROXY), "proxy", engine_gone="no answer"))
    (gone,) = decide_repairs(away, (), Instant(1.0)).shown
    assert (gone.subject, gone.affects, gone.members) == ("engine", ("web",), ("fetch",))
    assert gone.explains(member="fetch")
    assert gone.explains(route="web")
    assert not gone.explains(member="web")
    assert not gone.explains(route="fetch")


def test_an_engine_that_is_away_speaks_for_its_containers() -> None:
    carried = replace(FETCH, runtime="docker", direct=bad(Symptom.REFUSED))
    assert causes(carried, PROXY, engine_gone="no answer") == [("engine_gone", "engine", None)]


def test_the_engine_of_one_runtime_speaks_for_no_other() -> None:
    inside, other = replace(FETCH, runtime="kubernetes"), replace(TIME, runtime="docker", phase=Phase.FAILED, last_exit="x")
    scene = FleetSnapshot(Instant(100.0), (inside, other, PROXY), "proxy", engine_gone="no answer", engines_gone=("kubernetes",))
    assert [(found.cause, found.members) for found in diagnose(scene).found] == [("engine_gone", ("fetch",)), ("member_down", ())]


def test_an_unwanted_member_is_no_trouble() -> None:
    assert causes(replace(FETCH, want=Want.DOWN, phase=Phase.STOPPED, through=bad(Symptom.UPSTREAM_DOWN)), PROXY) == []


def test_the_evidence_tells_what_each_vantage_said() -> None:
    scene = FleetSnapshot(
        Instant(1.0), (replace(FETCH, through=bad(Symptom.SESSION_LOST), started_at=Instant(60.0)), PROXY), "proxy"
    )
    (found,) = diagnose(scene).found
    assert "direct: ok" in found.evidence
    assert "through the proxy: session_lost (3 in a row): said so" in found.evidence
    assert "the member started after the proxy" in found.evidence
    assert found.affects == ("fetch",)


def test_everybody_silent_at_once_is_the_machines_trouble_and_nobody_is_restarted() -> None:
    hung = bad(Symptom.TIMEOUT)
    silent = [replace(FETCH, name=name, route=name, direct=hung, through=hung) for name in ("a", "b", "c")]
    assert causes(*silent, PROXY)[0] == ("host_trouble", "host", None)
    assert all(rung is None for _, subject, rung in causes(*silent, PROXY) if subject != "proxy")
    assert causes(*silent[:2], FETCH, PROXY) == [("member_hung", "a", "restart"), ("member_hung", "b", "restart")]


def test_an_engine_that_is_away_is_named_by_what_it_is() -> None:
    inside = replace(FETCH, runtime="kubernetes")
    assert one(inside, PROXY, engine_gone="x", engines_gone=("kubernetes",)).text == "the cluster does not answer"
    away = one(inside, PROXY, engine_gone="no answer", engines_gone=("docker",))
    assert (away.text, away.about, away.evidence) == ("the container engine does not answer", "engine", ("no answer",))
    assert (away.affects, away.members) == ((), ())


def test_what_an_engine_carries_that_is_away_is_not_repaired_before_it_is_back() -> None:
    lost = replace(FETCH, through=bad(Symptom.SESSION_LOST))
    carried = replace(PROXY, runtime="docker")
    (_, stale) = found(lost, carried, engine_gone="no answer").found
    assert (stale.cause, stale.rung, stale.hold) == ("stale_session", None, "waiting for the engine that carries it")
    (_, stale) = found(lost, carried, engine_gone="no answer", engines_gone=("swarm",)).found
    assert stale.rung == "restart_proxy"
    (_, auth) = found(replace(FETCH, through=bad(Symptom.AUTH)), carried, engine_gone="no answer").found
    assert auth.hold == ""


def test_a_dependency_counts_as_down_only_where_it_should_be_up() -> None:
    database = replace(TIME, name="db", phase=Phase.FAILED, want=Want.DOWN)
    waiting = replace(FETCH, depends_on=("db",), direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT))
    assert causes(waiting, database, PROXY) == [("member_hung", "fetch", "restart")]
    assert causes(waiting, replace(database, want=Want.UP, phase=Phase.RUNNING), PROXY) == [("member_hung", "fetch", "restart")]
    (named, _) = found(replace(waiting, depends_on=("db", "x")), replace(database, want=Want.UP), PROXY).found
    assert named.text == "what it depends on is down: db"


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({}, True),
        ({"direct": bad(Symptom.REFUSED)}, False),
        ({"direct": replace(bad(Symptom.TIMEOUT), verdict=Verdict.HEALTHY)}, False),
        ({"stopped_processes": True}, False),
        ({"paused": True}, False),
        ({"want": Want.DOWN}, False),
        ({"phase": Phase.STARTING}, False),
        ({"runtime": "external"}, False),
        ({"direct": None}, False),
    ],
)
def test_the_machine_is_named_when_three_or_more_are_silent_and_nobody_else_is_left(
    changes: dict[str, object], trouble: bool
) -> None:
    silent = [replace(FETCH, name=name, route=f"r-{name}", direct=bad(Symptom.TIMEOUT)) for name in "abc"]
    told = found(*silent[:2], replace(silent[2], **changes), PROXY)  # pyright: ignore[reportArgumentType]
    first = told.found[0]
    assert (first.cause == "host_trouble") is trouble
    if trouble:
        assert (first.about, first.affects, first.members) == ("host", ("r-a", "r-b", "r-c"), ("a", "b", "c"))
        assert first.evidence[0] == "a: timeout@tools_list (3 in a row): said so"
        assert first.text.startswith("all 3 members stopped answering at once")


def test_who_is_to_be_looked_at_again_is_told_once_by_calls_where_one_of_the_reasons_needs_them() -> None:
    shallow = replace(bad(Symptom.TIMEOUT, Stage.OPEN), since=Instant(99.2))
    told = found(replace(FETCH, through=shallow), replace(TIME, through=replace(OK, at=Instant(80.0))), PROXY)
    assert told.look_again == (LookAgain("fetch"),)
    deep = replace(FETCH, through=replace(shallow, result=bad(Symptom.TIMEOUT, Stage.SAFE_CALL).result))
    quiet = found(deep, replace(deep, name="time", route="time"), replace(PROXY, direct=None))
    assert quiet.look_again == (LookAgain("fetch", deep=True), LookAgain("time", deep=True))


def test_a_hosted_server_is_not_judged_while_its_proxy_does_not_run_and_others_are() -> None:
    silent = replace(HOSTED, through=bad(Symptom.UPSTREAM_DOWN))
    hung = replace(FETCH, direct=bad(Symptom.TIMEOUT), through=bad(Symptom.TIMEOUT))
    own = bad(Symptom.HTTP_STATUS)
    for phase, want in ((Phase.STARTING, Want.UP), (Phase.STOPPED, Want.DOWN), (Phase.RUNNING, Want.DOWN)):
        proxy = replace(PROXY, phase=phase, want=want, direct=own)
        assert causes(silent, hung, proxy) == [("member_hung", "fetch", "restart")]
    assert causes(silent, hung, replace(PROXY, phase=Phase.FAILED))[1:] == [("member_hung", "fetch", "restart")]
    assert [subject for _, subject, _ in causes(silent, hung, PROXY)] == ["git", "fetch"]
    alone = found(silent, hung, proxy=None)
    assert [one.subject for one in alone.found] == ["git", "fetch"]


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_route_that_stays_down_is_told_beside_a_member_that_goes_to_and_fro_and_waits_for_that(rate: float) -> None:
    lost = replace(bad(Symptom.SESSION_LOST, Stage.SAFE_CALL), since=Instant(80.0))
    steady = replace(PROVED, rate=rate, verdict=Verdict.DEGRADED if rate else Verdict.HEALTHY, since=Instant(60.0))
    member = replace(REBORN, started_at=Instant(10.0), direct=steady, direct_call=steady, through=lost)
    told = diagnose(scene(member, PROXY)).found
    assert [(one.cause, one.rung) for one in told] == [("stale_session", "restart_proxy"), *([("flapping", None)] if rate else [])]
    assert ("waiting until 'fetch' is steady" in told[0].hold) is bool(rate)
    served = diagnose(scene(replace(member, through=PROVED), PROXY)).found
    assert [one.cause for one in served] == (["flapping"] if rate else [])
