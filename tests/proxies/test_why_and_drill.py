"""`why` and `drill` in words: pure functions over status documents and facts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.app.reasoning import causes, explain
from mcpwatch.cli import faults
from mcpwatch.cli.drill import STEADY, Timeline, restarted, summary
from mcpwatch.cli.faults import Fault, inject
from mcpwatch.cli.processes import family
from mcpwatch.model.errors import UsageError
from mcpwatch.model.time import WallTime, iso

OK: dict[str, Any] = {"symptom": None, "message": "", "tools": [{}], "timings": [{"stage": "safe_call", "seconds": 0.1}]}
LOST: dict[str, Any] = {"symptom": "upstream_down", "message": "transport error", "tools": None, "timings": []}


def member(name: str = "fetch", **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": "bridge", "runtime": "docker", "want": "up", "phase": "running", "verdict": "healthy",
        "generation": 3, "since": 90.0, "last_exit": "", "pid": None, "usage": {"container": None},
        "probes": [probe(OK)], **changes,
    }  # fmt: skip


def probe(result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"check": "mcp", "at": 99.0, "result": result, "failures": 0 if result is OK else 3, "successes": 4, **changes}


def document(**changes: Any) -> dict[str, Any]:
    route = {"name": "fetch", "member": "fetch", "verdict": "unhealthy", "url": "http://h/fetch/sse", "probes": [probe(LOST)]}
    found = {
        "cause": "stale_session", "subject": "proxy", "text": "the proxy holds a stale session to 'fetch'", "rung": "restart_proxy",
        "evidence": ["the member started after the proxy"], "affects": ["fetch"], "hold": "",
    }  # fmt: skip
    return {
        "at": 100.0,
        "proxy": "proxy",
        "members": [member(), member("proxy")],
        "routes": [route],
        "diagnoses": [found],
        **changes,
    }


def test_why_tells_each_vantage_the_cause_its_evidence_and_what_comes_next() -> None:
    tried = {"fact": "repair_tried", "member": "proxy", "rung": "restart_proxy", "cause": "stale_session", "time": "T1"}
    proved = {
        "fact": "repair_proved",
        "member": "proxy",
        "rung": "restart_proxy",
        "outcome": "proved",
        "seconds": 0.8,
        "time": "T2",
    }
    lines = explain("fetch", document(), [tried, proved, {"fact": "member_started", "member": "fetch"}])
    text = "\n".join(lines)
    assert "direct: mcp: ok, 1 tools, answered by the member itself (4× in a row" in text
    assert "through the proxy: mcp: upstream_down: transport error (3× in a row" in text
    assert "what that means: docs/reference/symptoms.md#upstream_down" in text
    assert "stale_session: the proxy holds a stale session to 'fetch' (to be repaired: proxy)" in text
    assert "because the member started after the proxy" in text
    assert "next: restart the proxy, once for all routes that need it" in text
    assert "T2  proxy: restart_proxy proved by the probes that failed after 0.8s" in text


def test_why_says_what_a_repair_waits_for_and_when_none_can_help() -> None:
    waiting = document()
    waiting["diagnoses"][0]["hold"] = "waiting for time"
    assert "  next: waiting for time" in explain("fetch", waiting, [])
    waiting["diagnoses"][0] |= {"hold": "", "rung": None}
    assert "  next: left to a person: a restart does not help against this" in explain("fetch", waiting, [])


def test_why_says_when_a_parked_member_is_started_again_by_itself() -> None:
    members = [member(), member("proxy", phase="failed", retry_at=350.0)]
    waiting = document(members=members)
    waiting["diagnoses"][0] |= {"rung": None, "next": "left to its restart policy; look at its log"}
    wanted = "  next: left to its restart policy; look at its log; proxy is started again by itself in 4m10s"
    assert wanted in explain("fetch", waiting, [])


@pytest.mark.parametrize(
    ("symptom", "message"),
    [
        ("slow", "the probe took 3.200 s, expected at most 1 s, most of it in tools_list (3.000 s)"),
        ("drift", "the contract changed: tightened tool 'read': argument 'path' is now required"),
        ("certificate_expiring", "the certificate expires in 5.0 days, expected at least 14"),
    ],
)
def test_why_of_something_degraded_says_in_words_what_is_wrong_and_what_to_do(symptom: str, message: str) -> None:
    result = {**OK, "outcome": "degraded", "symptom": symptom, "message": message, "remarks": ["schema: tool 'x' has no type"]}
    routes = [{**document()["routes"][0], "verdict": "degraded", "probes": [probe(result)]}]
    text = "\n".join(explain("fetch", document(routes=routes, diagnoses=[]), []))
    cause = text.partition("Cause:")[2]
    assert f"degraded: {symptom}: {message}" in cause
    assert "degraded: schema: tool 'x' has no type" in cause
    assert "to do: " in cause
    assert "none: nothing is known" not in cause


def test_why_of_a_member_that_floods_its_log_names_it_until_that_is_over() -> None:
    def told(at: float, text: str, **more: Any) -> dict[str, Any]:
        return fact("troubled", at, member="fetch", subject="logs of fetch", cleared=False, **more) | {"text": text}

    well = document(diagnoses=[], daemon={"started_at": 50.0})
    flood = told(60.0, "fetch: writes faster than its output can be kept; 900 lines were not logged so far")
    text = "\n".join(explain("fetch", well, [flood]))
    assert "fetch: writes faster than its output can be kept; 900 lines were not logged so far" in text.partition("Cause:")[2]
    assert "nothing is known" not in text
    assert "writes faster" not in "\n".join(explain("proxy", well, [flood]))
    over = [flood, told(70.0, "fetch: its output is kept again") | {"cleared": True}]
    assert "nothing is known" in "\n".join(explain("fetch", well, over))
    earlier = document(diagnoses=[], daemon={"started_at": 65.0})
    assert "nothing is known" in "\n".join(explain("fetch", earlier, [flood])), "another watchdog told that"


def test_why_of_something_well_says_so_and_of_something_unknown_lists_what_there_is() -> None:
    well = document(diagnoses=[])
    assert "  none: nothing is known to be wrong with it" in explain("fetch", well, [])
    assert causes("proxy", document()) != []
    with pytest.raises(UsageError, match="known: fetch, proxy"):
        explain("nobody", document(), [])


def fact(kind: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"fact": kind, "time": iso(WallTime(at)), "text": kind, **fields}


def test_a_drill_times_detection_every_cause_and_a_recovery_that_lasts() -> None:
    line = Timeline("fetch", "fetch", 1000.0)
    assert not line.hear(fact("member_exited", 990.0, member="fetch"))
    assert line.hear(fact("member_exited", 1000.5, member="fetch"))
    assert line.hear(fact("diagnosed", 1001.0, member="fetch", cause="member_down", cleared=False, affects=["fetch"]))
    assert line.hear(fact("diagnosed", 1003.0, member="proxy", cause="stale_session", cleared=False, affects=["fetch"]))
    assert line.hear(fact("repair_tried", 1003.0, member="proxy", rung="restart_proxy", cause="stale_session"))
    assert not line.hear(fact("member_exited", 1003.5, member="other"))
    status = document(diagnoses=[])
    status["routes"][0] |= {"verdict": "healthy", "probes": [probe(OK, at=1004.0)]}
    status["members"][0]["probes"] = [probe(OK, at=1004.0)]
    looks = [line.see(status, 1005.0 + number) for number in range(STEADY)]
    assert looks == [False] * (STEADY - 1) + [True]
    assert (line.detected, line.recovered) == (0.5, 5.0)
    text = "\n".join(summary(line, "kill", 60, recovered=True))
    assert "diagnosed      1.00 s  member_down: diagnosed" in text
    assert "repaired by            restart_proxy of proxy" in text


def test_a_fault_that_ends_by_itself_harms_whoever_is_another_incarnation_after_it() -> None:
    before = document(members=[member(), member("proxy"), member("gone")])
    after = document(members=[member(generation=4), member("proxy"), member("new", generation=1)])
    line = Timeline("fetch", "fetch", 1000.0, harmed=restarted(before, after))
    assert line.harmed == ["fetch"]
    assert "harmed                 fetch: restarted for a fault that ends by itself" in "\n".join(
        summary(line, "slow", 60, recovered=False)
    )
    quiet = "\n".join(summary(Timeline("fetch", "fetch", 1000.0), "recover", 60, recovered=True))
    assert "repaired by            nothing, as it should be" in quiet
    assert "no check of it failed" in quiet


def test_a_drill_does_not_take_an_old_success_for_recovery() -> None:
    line = Timeline("fetch", "fetch", 1000.0)
    line.hear(fact("probe_finished", 1002.0, member="fetch", outcome="failure"))
    status = document(diagnoses=[])
    status["routes"][0] |= {"verdict": "healthy", "probes": [probe(OK, at=1001.0)]}
    assert not any(line.see(status, 1003.0 + number) for number in range(STEADY * 2))
    assert "never" in "\n".join(summary(line, "hang", 60, recovered=False))


@pytest.mark.parametrize(
    ("fault", "changes", "words"),
    [
        ("kill", {}, "has no process here"),
        ("child", {"pid": 1 << 30}, "runs nothing below it"),
        ("oom", {"pid": 1, "usage": {"container": "no-such"}}, "docker"),
    ],
)
def test_a_fault_that_cannot_be_done_to_a_member_is_refused(fault: Fault, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inject(fault, member(**changes), document())


def test_a_family_is_a_process_and_all_its_descendants() -> None:
    import os
    import subprocess

    child = subprocess.Popen(["sh", "-c", "sleep 60 & echo ready; wait"], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert len(family(child.pid)) == 2
        assert set(family(child.pid)) < set(family(os.getpid()))
    finally:
        os.killpg(child.pid, 9)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


@contextlib.contextmanager
def below() -> Generator[tuple[int, int]]:
    """A process and its child."""
    parent = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait; exec sleep 600"], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert parent.stdout is not None
        yield parent.pid, int(parent.stdout.readline())
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


def state(pid: int) -> str:
    """As the kernel tells it; `X` when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def until(pid: int, states: str) -> None:
    """Wait until a process is in one of these states."""
    deadline = time.monotonic() + 60.0
    while state(pid) not in states:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.01)


def test_only_the_child_behind_a_bridge_dies_and_a_pause_stops_only_the_process_itself() -> None:
    with below() as (parent, child):
        undo = inject("pause", member(pid=parent), document())
        until(parent, "T")
        assert state(child) not in "TX"
        undo()
        until(parent, "SR")
        inject("child", member(pid=parent), document())
        until(child, "XZ")
        assert state(parent) not in "XZ"


def test_a_rhythm_stops_and_releases_a_member_until_the_drill_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(faults.RHYTHMS, "slow", faults.Rhythm(0.05, 0.05, 600.0))
    with below() as (parent, child):
        undo = inject("slow", member(pid=parent), document())
        for _ in range(2):
            until(child, "T")
            until(child, "SR")
        undo()
        assert {state(parent), state(child)} <= {"S", "R"}


@pytest.mark.parametrize("streak", [0, 4])
@pytest.mark.parametrize("phase", ["running", "starting", "stopping", "stopped", "backoff", "failed"])
@pytest.mark.parametrize("whose", ["fetch", "proxy"])
def test_why_shows_no_probe_of_before_an_end_or_a_start_as_one_of_now(whose: str, phase: str, streak: int) -> None:
    last = {"running": "was ready", "starting": "last started", "backoff": "died", "failed": "died"}.get(phase, "was stopped")
    who = "it" if whose == "fetch" else "the proxy"
    for seen_at, past in ((89.0, True), (91.0, False)):
        old = probe(OK, at=seen_at, successes=streak)
        plain, changed = {"since": 50.0, "probes": [old]}, {"phase": phase, "since": 90.0}
        members = [member(name, **plain | (changed if name == whose else {})) for name in ("fetch", "proxy")]
        route = {"name": "fetch", "member": "fetch", "verdict": "healthy", "url": "http://h/fetch/sse", "probes": [old]}
        lines = explain("fetch", document(members=members, routes=[route], diagnoses=[]), [])
        (direct,) = (line for line in lines if line.startswith("  direct: "))
        (through,) = (line for line in lines if line.startswith("  through the proxy: "))
        proved = (whose, phase) == ("fetch", "running") and streak > 0
        assert through.endswith(f"s ago, before {who} {last})") is (past and not proved)
        assert direct.endswith(f"s ago, before {who} {last})") is (past and not proved and whose == "fetch")
