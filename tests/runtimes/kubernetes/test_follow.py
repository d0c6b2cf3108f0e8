"""What changes of pods mean for a member: ends and returns, told once, with how it ended."""

from __future__ import annotations

from mcpwatch.runtimes.kubernetes.follow import Life, RunBegan, RunOver, Step, advance
from mcpwatch.runtimes.kubernetes.pod import Pod, read_pod
from tests.runtimes.kubernetes.shapes import Raw, pod, running, terminated, waiting


def _told(steps: tuple[Step, ...]) -> list[str]:
    return ["over" if isinstance(step, RunOver) else "begun" for step in steps]


def _up(*pods: Pod) -> Life:
    life, steps = advance(Life(template=1), pods)
    assert _told(steps) == ["begun"]
    return life


def _a(status: Raw, name: str = "a", generation: int = 1) -> Pod:
    return read_pod(pod(name, generation=generation, **status))


def test_a_container_that_the_kubelet_starts_again_ended_and_began() -> None:
    life = _up(_a(running("c1")))
    again = running("c2", restarts=1, lastState=terminated("OOMKilled", 137))
    life, steps = advance(life, [_a(again)])
    assert _told(steps) == ["over", "begun"]
    over = steps[0]
    assert isinstance(over, RunOver)
    assert (over.ended.code, over.ended.signal, over.ended.oom) == (137, 9, True)
    assert advance(life, [_a(again)]) == (life, ())


def test_a_crash_loop_is_one_end_until_the_next_run() -> None:
    life = _up(_a(running("c1")))
    back_off = waiting("CrashLoopBackOff", lastState=terminated(code=3, message="bad token"))
    life, steps = advance(life, [_a(back_off)])
    (over,) = steps
    assert isinstance(over, RunOver)
    assert (over.ended.code, over.detail) == (3, "bad token")
    assert advance(life, [_a(back_off)]) == (life, ())
    life, steps = advance(life, [_a(running("c2", restarts=1))])
    assert _told(steps) == ["begun"]


def test_a_pod_that_vanishes_ends_its_run_and_its_successor_begins_another() -> None:
    life = _up(_a(running("c1")))
    life, steps = advance(life, [])
    assert _told(steps) == ["over"]
    life, steps = advance(life, [_a(running("c9"), "b")])
    assert isinstance(steps[0], RunBegan)
    assert steps[0].pod.name == "b"


def test_a_replica_that_goes_on_keeps_the_member_alive() -> None:
    life, _ = advance(Life(template=1, replicas=2), [_a(running("c1"), "a"), _a(running("c2"), "b")])
    ended = {"containerStatuses": [{"name": "server", "state": terminated()}]}
    life, steps = advance(life, [_a(ended, "a"), _a(running("c2"), "b")])
    assert steps == ()
    assert life.pod == "b"


def test_a_pod_that_is_moved_ended_on_one_node_and_began_on_another() -> None:
    life = _up(_a(running("c1")))
    raw = pod("a", **running("c1"))
    raw["metadata"]["deletionTimestamp"] = "2026-11-29T15:03:00Z"
    life, steps = advance(life, [read_pod(raw), _a(running("c2"), "b")])
    assert _told(steps) == ["over", "begun"]
    assert life.pod == "b"


def test_pods_of_another_rollout_are_not_followed() -> None:
    life, steps = advance(Life(template=2), [_a(running("c1"), "a", 1)])
    assert (life.up, steps) == (False, ())
    life, steps = advance(Life(old=frozenset({"uid-a"})), [_a(running("c1"), "a", 0), _a(running("c2"), "b", 0)])
    assert life.pod == "b"


def test_an_evicted_pod_tells_why() -> None:
    life = _up(_a(running("c1")))
    gone = _a({"phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": []})
    _, steps = advance(life, [gone])
    assert isinstance(steps[0], RunOver)
    assert steps[0].detail == "Evicted: low on memory"


def test_a_pod_that_vanishes_takes_the_words_with_it_that_the_cluster_said_before() -> None:
    life = _up(_a(running("c1")))
    raw = pod("a", **running("c1"))
    raw["metadata"]["deletionTimestamp"] = "2026-11-29T15:03:00Z"
    reason = {"reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint"}
    raw["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True", **reason})
    life, steps = advance(life, [read_pod(raw)])
    assert steps == ()
    life, steps = advance(life, [])
    assert isinstance(steps[0], RunOver)
    assert steps[0].detail == "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint"


def test_how_an_earlier_run_ended_is_not_how_a_pod_ends_that_is_removed() -> None:
    again = running("c2", restarts=1, lastState=terminated("Error", 3, "no token"))
    life = _up(_a(again))
    raw = pod("a", **again)
    raw["metadata"]["deletionTimestamp"] = "2026-11-29T15:03:00Z"
    _, (over, _) = advance(life, [read_pod(raw), _a(running("c9"), "b")])
    assert isinstance(over, RunOver)
    assert (over.ended.code, over.detail) == (None, "pod a is being removed")
    _, (gone,) = advance(life, [])
    assert isinstance(gone, RunOver)
    assert (gone.ended.code, gone.detail) == (None, "pod a is gone: somebody or the cluster removed it")
