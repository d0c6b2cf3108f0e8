"""How a cluster is reached: what is replaced while mcpwatch runs is read anew, and what gives no access is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.api import ApiRefused, Cluster
from tests.fakes.kubernetes import KubernetesServer, kubernetes_server

POD = "/api/v1/namespaces/mcp/pods/a"


@pytest.fixture
def server() -> Generator[KubernetesServer]:
    with kubernetes_server() as made:
        made.put(POD, {"metadata": {}})
        yield made


def plugin(directory: Path, **status: Any) -> dict[str, Any]:
    """A user whose credential a program gives: what `said` holds, and a line in `runs` each time."""
    said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (directory / "said").write_text(json.dumps(said))
    code = "open('runs', 'a').write('run\\n'); print(open('said').read())"
    return {"exec": {"apiVersion": said["apiVersion"], "command": sys.executable, "args": ["-c", code], "interactiveMode": "Never"}}


def test_a_token_that_was_replaced_in_the_kubeconfig_is_read_when_the_server_refuses_the_old_one(
    server: KubernetesServer, tmp_path: Path
) -> None:
    server.takes = "old"
    kubeconfig = server.kubeconfig(tmp_path / "k", user={"token": "old"})
    cluster = Cluster(kubeconfig)
    assert cluster.get(POD)
    server.takes = "new"
    with pytest.raises(ApiRefused, match="Unauthorized") as refused:
        cluster.get(POD)
    assert not refused.value.permanent
    server.kubeconfig(tmp_path / "k", user={"token": "new"})
    asked = len(server.tokens)
    assert cluster.get(POD)
    assert cluster.get(POD)
    assert server.tokens[asked:] == ["Bearer old", "Bearer new", "Bearer new"]


def test_a_token_file_that_was_replaced_is_read_again(server: KubernetesServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    server.takes = "old"
    cluster = Cluster(server.kubeconfig(tmp_path / "k", user={"tokenFile": str(tmp_path / "token")}))
    assert cluster.get(POD)
    (tmp_path / "token").write_text("new")
    server.takes = "new"
    assert cluster.get(POD)


def test_a_plugin_is_run_once_and_again_when_its_token_is_refused(server: KubernetesServer, tmp_path: Path) -> None:
    server.takes = "old"
    cluster = Cluster(server.kubeconfig(tmp_path / "k", user=plugin(tmp_path, token="old")))
    assert cluster.get(POD)
    assert cluster.get(POD)
    assert (tmp_path / "runs").read_text() == "run\n"
    plugin(tmp_path, token="new")
    server.takes = "new"
    assert cluster.get(POD)
    assert (tmp_path / "runs").read_text() == "run\n" * 2


def test_a_plugin_is_run_again_before_its_token_is_over(server: KubernetesServer, tmp_path: Path) -> None:
    cluster = Cluster(
        server.kubeconfig(tmp_path / "k", user=plugin(tmp_path, token="old", expirationTimestamp="2026-01-01T00:00:00Z"))
    )
    plugin(tmp_path, token="new", expirationTimestamp="2999-01-01T00:00:00Z")
    server.takes = "new"
    assert cluster.get(POD)
    assert "Bearer old" not in server.tokens


@pytest.mark.parametrize(
    ("code", "told"),
    [("import sys; sys.exit('log in first')", "log in first"), ("print('{}')", "missing key"), ("print('no json')", "decode")],
    ids=["fails", "says another thing", "says no JSON"],
)
def test_a_plugin_that_gives_nothing_is_named_and_may_give_something_later(
    server: KubernetesServer, tmp_path: Path, code: str, told: str
) -> None:
    user = plugin(tmp_path, token="x")
    user["exec"]["args"] = ["-c", code]
    with pytest.raises(RuntimeFailed, match=rf"its plugin gives no credential: .*{told}") as failed:
        Cluster(server.kubeconfig(tmp_path / "k", user=user))
    assert not failed.value.permanent
    assert server.requests == []


def test_each_context_has_its_own_namespace_and_one_that_is_not_there_is_named(server: KubernetesServer, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "k")
    assert [Cluster(kubeconfig, name).namespace for name in (None, "one", "two")] == ["mcp", "mcp", "other"]
    with pytest.raises(RuntimeFailed, match="no access to context 'three'") as failed:
        Cluster(kubeconfig, "three")
    assert failed.value.permanent
