"""What a task of a swarm says of its end: every state, node and answer by a table, as managers tell them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mcpwatch.runtimes.swarm.service import SwarmFile, task_template
from mcpwatch.runtimes.swarm.spec import SwarmSpec
from mcpwatch.runtimes.swarm.task import End, SwarmNode, ended, latest, read_node, read_task, refusal

UP = SwarmNode("n1", "one", "10.0.0.1")
DOWN = SwarmNode("n1", "one", "10.0.0.1", down=True)
DRAINED = SwarmNode("n1", "one", "10.0.0.1", drained=True)


def task(state: str = "running", desired: str = "running", err: str = "", code: int | None = None, node: str = "n1") -> object:
    carried = {"ContainerID": "c1"} if code is None else {"ContainerID": "c1", "ExitCode": code}
    status = {"State": state, "Err": err, "Message": "started", "ContainerStatus": carried, "Timestamp": "2026-11-29T15:21:00.5Z"}
    return {"ID": "t", "ServiceID": "s", "NodeID": node, "DesiredState": desired, "Status": status, "CreatedAt": ""}


@pytest.mark.parametrize(
    ("raw", "node", "end"),
    [
        (task(), UP, None),
        (task("starting"), UP, None),
        (task(), DOWN, End("node one (10.0.0.1) is down; what ran there cannot be seen", cause="node_not_ready")),
        (task(desired="shutdown"), DOWN, End("node one (10.0.0.1) is down; what ran there cannot be seen", cause="node_not_ready")),
        (task("failed", "shutdown", "task: non-zero exit (3)", 3), UP, End("on node one (10.0.0.1)", 3)),
        (task("failed", "shutdown", "task: non-zero exit (137)", 137), UP, End("on node one (10.0.0.1)", None, 9)),
        (task("complete", "shutdown", "", 0), UP, End("on node one (10.0.0.1)", 0)),
        (task("failed", "shutdown", "unhealthy container", 1), UP, End("on node one (10.0.0.1): unhealthy container", 1)),
        (task("shutdown", "shutdown", "", 143), DRAINED, End("node one (10.0.0.1) was drained", cause="node_not_ready")),
        (task("failed", "running", "task: non-zero exit (3)", 3), DRAINED, End("on node one (10.0.0.1)", 3)),
        (task(node="gone"), UP, End("node gone left the swarm", cause="node_not_ready")),
        (task("failed", "shutdown", "task: non-zero exit (3)", 3), DOWN, End("on node one (10.0.0.1)", 3)),
    ],
)
def test_an_end_is_named_by_task_and_node(raw: dict[str, object], node: SwarmNode, end: End | None) -> None:
    assert ended(read_task(raw), {node.id: node}) == end


def test_a_task_that_vanished_was_removed_by_somebody() -> None:
    assert ended(None, {}) == End("its service was removed by somebody else")


@pytest.mark.parametrize(
    ("raw", "cause", "says"),
    [
        (task("rejected", err="No such image: x:1"), "image_pull", "node one (10.0.0.1) has no image x:1 and cannot pull it; load"),
        (task("pending", err="no suitable node (busy on 3 nodes)", node=""), "unschedulable", "; change constraints or limits"),
        (task("pending", err="", node=""), "unschedulable", "no node was chosen: started"),
        (task("failed", err="starting container failed: exec"), "", "on node one (10.0.0.1): starting container failed: exec"),
    ],
)
def test_a_task_that_does_not_run_says_why_and_what_to_do(raw: dict[str, object], cause: str, says: str) -> None:
    named, words = refusal(read_task(raw), {UP.id: UP}, "x:1")
    assert named == cause
    assert says in words


def test_without_a_task_the_managers_are_to_be_looked_at() -> None:
    assert "docker node ls" in refusal(None, {}, "x")[1]


def test_a_node_and_the_newest_task_are_read_from_what_a_manager_tells() -> None:
    raw = {"ID": "n", "Status": {"State": "down", "Addr": "10.0.0.9"}, "Spec": {"Availability": "drain"}}
    assert read_node({**raw, "Description": {"Hostname": "h"}}) == SwarmNode("n", "h", "10.0.0.9", down=True, drained=True)
    assert read_node({"ID": "n"}) == SwarmNode("n", "n")
    old, new = ({"ID": name, "CreatedAt": f"2026-11-29T15:2{minute}:00Z"} for name, minute in (("old", 0), ("new", 1)))
    newest = latest([read_task(new), read_task(old)])
    assert newest is not None
    assert newest.id == "new"


def test_secrets_and_configs_become_files_and_never_variables() -> None:
    spec = SwarmSpec.model_validate({"image": "a", "placement": "any", "preferences": "node.labels.zone"})
    secret, config = SwarmFile("i1", "password", "db_password"), SwarmFile("i2", "rules", "/etc/rules.json")
    made = task_template(spec, node="", labels=None, environment={}, grace=3.5, secrets=(secret,), configs=(config,))
    container = made["ContainerSpec"]
    assert container["Secrets"][0]["SecretID"] == "i1"
    assert container["Secrets"][0]["File"]["Name"] == "db_password"
    assert container["Configs"][0]["File"] == {"Name": "/etc/rules.json", "UID": "0", "GID": "0", "Mode": 0o444}
    assert container["StopGracePeriod"] == 3_500_000_000
    assert "Labels" not in container
    assert made["Placement"] == {"Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]}


@pytest.mark.parametrize("bad", ["", "a b", "../x", "a:", ":b", "a:b:c"])
def test_a_name_that_a_swarm_cannot_keep_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError, match="write NAME or NAME:FILE"):
        SwarmSpec.model_validate({"image": "a", "secrets": [bad]})
