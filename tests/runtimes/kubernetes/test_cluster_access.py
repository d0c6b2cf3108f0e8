"""Each way to the real API server: from inside a pod, by a plugin of the kubeconfig, by several contexts, with tokens that end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from mcpwatch.model.errors import RuntimeFailed
from tests.e2e.daemon import Daemon
from tests.runtimes.kubernetes.cluster import Cluster, Raw
from tests.runtimes.kubernetes.plane import BOUND, MARKS, Bench, bench

pytestmark = [*MARKS]

PLACE = "/run/secrets/kubernetes.io/serviceaccount"
INSIDE = f'mount -t tmpfs tmpfs /run && mkdir -p {PLACE} && mount --bind "$0" {PLACE} && exec "$@"'
"""What a kubelet does for a pod: the service account's directory, where every client looks for it."""


async def _rolled(one: Bench, before: str, generation: int) -> str:
    """Restart the member; returns the name of its pod."""
    await one.runtime.release(one.spec())
    after = await one.start(one.spec(), generation)
    assert after != before
    return after


@pytest.mark.needs("mount")
def test_in_a_pod_its_service_account_is_used_and_its_token_is_read_again_when_it_was_replaced(
    plane: Cluster, tmp_path: Path
) -> None:
    plane.namespace("inside")
    kubernetes = {"image": "x", "logs": False}
    member = {"kubernetes": kubernetes, "url": "http://127.0.0.1:9/sse", "start_grace": "20m"}
    daemon = Daemon(tmp_path, {"version": 1, "proxy": {"kind": "none"}, "members": {"time": member}})
    rights = daemon.run("rbac", "-c", str(daemon.config), "--service-account", "inside/mcpwatch", "--namespace", "inside")
    plane.account("inside", "mcpwatch", rules=rights.stdout)
    home = tmp_path / "account"
    home.mkdir()
    first = plane.token("inside", "mcpwatch", until_gone="first")
    for name, text in (
        ("token", first),
        ("namespace", "inside"),
        ("ca.crt", (plane.directory / "certs" / "apiserver.crt").read_text()),
    ):
        (home / name).write_text(text)
    where = urlsplit(plane.url)
    daemon.env |= {
        "KUBERNETES_SERVICE_HOST": str(where.hostname),
        "KUBERNETES_SERVICE_PORT": str(where.port),
        "HOME": str(tmp_path),
    }
    daemon.env.pop("KUBECONFIG", None)
    daemon.wrap = ["unshare", "--mount", "sh", "-c", INSIDE, str(home)]
    try:
        daemon.start()
        daemon.wait(lambda status: status["members"][0]["generation"] == 1, "its member is started", BOUND)
        made = plane.wait("/apis/apps/v1/namespaces/inside/deployments/mcp-time")
        (home / "token").write_text(plane.token("inside", "mcpwatch"))
        plane.revoke("inside", "first", first)
        done = daemon.run("restart", "time", "--no-wait")
        assert done.returncode == 0, done.stderr
        daemon.wait(lambda status: status["members"][0]["generation"] == 2, "it is restarted with the new token", BOUND)
        assert (
            plane.call("GET", "/apis/apps/v1/namespaces/inside/deployments/mcp-time")["metadata"]["uid"] == made["metadata"]["uid"]
        )
        assert "Unauthorized" not in daemon.said()
    finally:
        daemon.close()


@pytest.mark.anyio
async def test_a_plugin_of_the_kubeconfig_gives_the_token_and_the_next_one_when_it_is_refused(
    plane: Cluster, tmp_path: Path
) -> None:
    plane.namespace("plugin")
    plane.account("plugin", "mcpwatch")
    first = plane.token("plugin", "mcpwatch", until_gone="first")
    kubeconfig = plane.access(tmp_path / "kubeconfig", _plugin(tmp_path, first), "plugin")
    async with bench(plane, tmp_path / "state", "plugin", kubeconfig=kubeconfig) as one:
        pod = await one.start(one.spec())
        _plugin(tmp_path, plane.token("plugin", "mcpwatch"))
        plane.revoke("plugin", "first", first)
        await _rolled(one, pod, 2)
        assert (tmp_path / "runs").read_text().count("\n") == 2


def _plugin(directory: Path, token: str) -> Raw:
    """A user whose credential a small program gives, that counts how often it was asked."""
    version = "client.authentication.k8s.io/v1"
    said = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}}
    (directory / "said").write_text(json.dumps(said))
    code = "open('runs', 'a').write('run\\n'); print(open('said').read())"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": ["-c", code], "interactiveMode": "Never"}}


@pytest.mark.anyio
async def test_members_of_several_contexts_are_each_carried_by_its_own_and_a_refusal_of_one_is_not_the_others(
    plane: Cluster, tmp_path: Path
) -> None:
    config = yaml.safe_load(plane.kubeconfig.read_text(encoding="utf-8"))
    config["users"], config["contexts"] = [], []
    for name in ("north", "south"):
        plane.namespace(name)
        plane.account(name, "mcpwatch")
        config["users"].append({"name": name, "user": {"token": plane.token(name, "mcpwatch")}})
        config["contexts"].append({"name": name, "context": {"cluster": "c", "user": name, "namespace": name}})
    config["current-context"] = "north"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    async with bench(plane, tmp_path / "state", "north", kubeconfig=str(kubeconfig)) as one:
        for name in ("north", "south"):
            pod = await one.start(one.spec(name, context=name, namespace=None))
            assert plane.call("GET", f"/api/v1/namespaces/{name}/pods/{pod}")["status"]["phase"] == "Running"
        with pytest.raises(RuntimeFailed, match=r'forbidden: User "system:serviceaccount:north:mcpwatch" cannot'):
            await one.start(one.spec("third", context="north", namespace="south"))
        with pytest.raises(RuntimeFailed, match="no access to context 'west'"):
            await one.start(one.spec("fourth", context="west"))
        assert os.environ.get("KUBECONFIG", "") != str(kubeconfig)
        assert await one.start(one.spec("south", context="south", namespace=None), 2)
