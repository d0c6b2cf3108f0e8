"""What the tasks of a service that the swarm keeps mean, by tables; the probe of a task against real servers; the known places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.runtimes.swarm.places import Places
from mcpwatch.runtimes.swarm.replicas import Begun, Over, advance, living, shortage, unfinished
from mcpwatch.runtimes.swarm.service import SCRIPT, probe, task_template
from mcpwatch.runtimes.swarm.spec import SwarmSpec
from mcpwatch.runtimes.swarm.task import End, SwarmNode, Task
from tests.gateway.program import TINY, gateway

NODES = {"n1": SwarmNode("n1", "one", "10.0.0.1"), "n2": SwarmNode("n2", "two", "10.0.0.2", down=True)}


def task(name: str, state: str = "running", desired: str = "running", **more: Any) -> Task:
    return Task(name, "s", more.pop("node", "n1"), state, desired, **more)


def test_of_several_replicas_another_takes_over_unnoticed() -> None:
    tasks = (task("a", "failed", "shutdown", code=1), task("b", created=1))
    assert advance("a", tasks, NODES, 2) == ("b", ())


def test_of_one_replica_the_end_and_the_return_are_told() -> None:
    ended, fresh = task("a", "failed", "shutdown", code=3), task("b", created=1)
    assert advance("a", (ended,), NODES, 1) == ("", (Over(End("on node one (10.0.0.1)", 3)),))
    assert advance("", (ended, fresh), NODES, 1) == ("b", (Begun(fresh),))
    assert advance("a", (ended, fresh), NODES, 1) == ("b", (Over(End("on node one (10.0.0.1)", 3)), Begun(fresh)))


def test_nothing_is_told_while_the_present_task_runs() -> None:
    assert advance("a", (task("a"), task("b", created=1)), NODES, 2) == ("a", ())
    assert advance("", (), NODES, 1) == ("", ())


def test_a_task_that_vanished_or_is_replaced_by_somebody_has_ended() -> None:
    assert advance("a", (), NODES, 1) == ("", (Over(End("its task is gone")),))
    assert advance("a", (task("a", desired="shutdown"),), NODES, 1) == ("", (Over(End("the swarm replaces it")),))


def test_what_ran_on_a_node_that_is_down_runs_no_more() -> None:
    lost = task("a", node="n2")
    assert living((lost,), NODES) == ()
    _, (over,) = advance("a", (lost,), NODES, 3)
    assert isinstance(over, Over)
    assert over.end.cause == "node_not_ready"


@pytest.mark.parametrize(
    ("tasks", "cause", "says"),
    [
        ((task("a"), task("b")), "", ""),
        ((task("a"), task("b", "starting")), "", ""),
        ((task("a"), task("b", "new", node="", words="created")), "", ""),
        ((task("a"), task("b", "pending", node="", words="no suitable node (busy)")), "unschedulable", "1 of 2 tasks run: no"),
        ((task("a"), task("b", "rejected", words="No such image: x:1")), "image_pull", "has no image x:1"),
        ((task("a"), task("b", node="n2")), "node_not_ready", "1 of 2 tasks run: node two (10.0.0.2) is down; the swarm moves"),
        ((task("a"), *(task(f"b{n}", "failed", "shutdown", code=7, created=n) for n in range(3))), "crash_loop", "(exit code 7"),
        ((task("a"), *(task(f"b{n}", "failed", "shutdown", code=7, created=n) for n in range(2))), "", ""),
        ((*(task(f"b{n}", "failed", "shutdown", code=137, created=n) for n in range(6)),), "crash_loop", "too much memory"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tasks: tuple[Task, ...], cause: str, says: str) -> None:
    named, words = shortage(tasks, NODES, 2, "x:1")
    assert named == cause
    assert says in words
    assert bool(words) == bool(cause)


def test_a_start_that_takes_too_long_says_what_its_newest_task_does() -> None:
    assert "docker node ls" in unfinished((), NODES, rolling=False)
    words = unfinished((task("a"), task("b", "starting", created=1)), NODES, rolling=True)
    assert "the newest task on node one (10.0.0.1) is starting; it counts as running when its probe succeeded; raise" in words


def test_who_restarts_ended_tasks_is_one_alone() -> None:
    written = {"image": "a", "placement": "any"}
    ours = task_template(SwarmSpec.model_validate(written), node="", labels=None, environment={})
    theirs = task_template(SwarmSpec.model_validate(written | {"replicas": 1}), node="", labels=None, environment={})
    assert ours["RestartPolicy"]["Condition"] == "none"
    assert theirs["RestartPolicy"]["Condition"] == "any"


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({"replicas": 2}, "replicas need placement: any"),
        ({"placement": "any", "replicas": 0}, "greater than or equal to 1"),
        ({"probe": {"kind": "python3"}, "healthcheck": {"test": "true"}}, "write probe or healthcheck"),
        ({"probe": {"kind": "node"}}, "Input should be"),
    ],
)
def test_what_cannot_be_is_refused(written: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SwarmSpec.model_validate({"image": "a"} | written)
    assert fault in str(refusal.value)


def test_the_probe_of_a_task_is_its_health_check_at_its_own_port() -> None:
    asked = {"kind": "mcpwatch", "interval": "5s", "timeout": "4s"}
    one = SwarmSpec.model_validate({"image": "a", "probe": asked, "ports": ["0.0.0.0:9072:8081"]})
    check, mapped = (probe(one, f"http://mcp-one:{port}/mcp", 60.0) for port in (8080, 9072))
    assert check is not None
    assert mapped is not None
    assert "http://127.0.0.1:8081/mcp" in mapped["Test"]
    assert check["Test"] == ["CMD", "mcpwatch", "check", "--url", "http://127.0.0.1:8080/mcp", "--timeout", "3s"]
    assert (check["Interval"], check["Retries"], check["StartPeriod"]) == (5_000_000_000, 3, 33_000_000_000)
    assert probe(SwarmSpec.model_validate({"image": "a"}), "http://mcp-one:8080/mcp", 60.0) is None


def ask(url: str) -> subprocess.CompletedProcess[str]:
    """The probe as a task runs it: text, with nothing but the standard library."""
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, url, "30"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_the_probe_speaks_mcp_on_both_wires_and_says_why_it_failed() -> None:
    with gateway({"servers": {"tiny": TINY}, "limits": {"session_idle": 1}}) as served:
        served.wait({"tiny": "running"})
        for path in ("/tiny/sse", "/tiny/mcp"):
            done = ask(served.url + path)
            assert (done.returncode, done.stdout) == (0, ""), done.stdout
        assert "404" in ask(served.url + "/none/mcp").stdout
        refused = ask(f"{served.url}/healthz")
    assert refused.returncode == 1
    gone = ask(served.url + "/tiny/sse")
    assert gone.returncode == 1
    assert "refused" in gone.stdout.lower()


def test_places_outlive_a_watchdog_and_a_file_that_is_none_knows_none(tmp_path: Path) -> None:
    Places(tmp_path).add((None, None))
    Places(tmp_path).add(("unix:///b.sock", None))
    assert Places(tmp_path).load() == {(None, None), ("unix:///b.sock", None)}
    Places(tmp_path).keep([("unix:///b.sock", None)])
    assert Places(tmp_path).load() == {("unix:///b.sock", None)}
    for text in ("{", '{"a": 1}', '[["a"], 3, [1, 2]]'):
        (tmp_path / "run" / "swarm-places.json").write_text(text)
        assert Places(tmp_path).load() == set()
