"""What `deploy` brings up by one command, on the real API server with the real kubectl and helm; kwok plays the nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.parts import ROOT, program
from tests.runtimes.kubernetes.cluster import Cluster, Raw, until
from tests.runtimes.kubernetes.plane import MARKS

pytestmark = [*MARKS]

DEPLOY = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "mcpwatch"
CORE, APPS = "/api/v1/namespaces", "/apis/apps/v1/namespaces"


def run(plane: Cluster, part: str, *words: str) -> str:
    """Run kubectl or helm as the cluster's administrator."""
    env = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "HOME": str(plane.directory)}
    done = subprocess.run([str(program(part)), *words], capture_output=True, text=True, timeout=200, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def items(plane: Cluster, path: str) -> list[Raw]:
    """A list."""
    return plane.call("GET", path)["items"]


def pods(plane: Cluster, namespace: str, app: str) -> list[Raw]:
    """The pods of an app that run and stay."""
    found = items(plane, f"{CORE}/{namespace}/pods?labelSelector=app.kubernetes.io/name={app}")
    return [one for one in found if one["status"]["phase"] == "Running" and "deletionTimestamp" not in one["metadata"]]


def confined(pod: Raw) -> bool:
    """Without root, capabilities and a file system that can be written."""
    spec = pod["spec"]
    each = [one["securityContext"] for one in spec["containers"]]
    return bool(spec["securityContext"]["runAsNonRoot"]) and all(
        one["readOnlyRootFilesystem"] and not one["allowPrivilegeEscalation"] and one["capabilities"]["drop"] == ["ALL"]
        for one in each
    )


def test_kubectl_brings_up_two_watchdogs_without_root_and_with_the_least_rights(plane: Cluster) -> None:
    first = run(plane, "kubectl", "apply", "-k", str(DEPLOY))
    assert "namespace/mcpwatch created" in first
    run(plane, "kubectl", "-n", "mcpwatch", "create", "secret", "generic", "mcpwatch", "--from-literal=MCP_PROXY_TOKEN=t")
    run(plane, "kubectl", "-n", "mcpwatch", "rollout", "status", "deployment/mcpwatch", "--timeout=100s")
    found = pods(plane, "mcpwatch", "mcpwatch")
    assert len(found) == 2
    assert all(confined(pod) for pod in found)
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in items(plane, "/apis/networking.k8s.io/v1/namespaces/mcpwatch/networkpolicies")
    }
    assert policies["members"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mcpwatch"}}}]}]
    again = run(plane, "kubectl", "apply", "-k", str(DEPLOY))
    assert [line for line in again.splitlines() if not line.endswith(" unchanged")] == []
    me = ("--as=system:serviceaccount:mcpwatch:mcpwatch", "-n", "mcpwatch")
    run(plane, "kubectl", "auth", "can-i", "patch", "deployments/mcp-search", *me)
    listed = run(plane, "kubectl", "auth", "can-i", "--list", *me)
    assert "secrets" not in listed
    assert "*" not in {line.split()[0] for line in listed.splitlines()[1:] if line.split()}


def test_kubectl_brings_up_three_gateways_that_keep_their_names(plane: Cluster) -> None:
    run(plane, "kubectl", "apply", "-f", str(DEPLOY / "namespace.yaml"))
    run(plane, "kubectl", "apply", "-k", str(DEPLOY / "gateway"))
    run(plane, "kubectl", "-n", "mcpwatch", "rollout", "status", "statefulset/mcp-gateway", "--timeout=100s")
    found = pods(plane, "mcpwatch", "mcp-gateway")
    assert sorted(pod["metadata"]["name"] for pod in found) == [f"mcp-gateway-{number}" for number in range(3)]
    assert all(confined(pod) and not pod["spec"]["automountServiceAccountToken"] for pod in found)
    lost = next(pod for pod in found if pod["metadata"]["name"] == "mcp-gateway-1")["metadata"]["uid"]
    run(plane, "kubectl", "-n", "mcpwatch", "delete", "pod", "mcp-gateway-1")
    until(lambda: len({pod["metadata"]["uid"] for pod in pods(plane, "mcpwatch", "mcp-gateway")} - {lost}) == 3)
    hosts = (
        "/apis/discovery.k8s.io/v1/namespaces/mcpwatch/endpointslices?labelSelector=kubernetes.io/service-name=mcp-gateway-replicas"
    )
    until(
        lambda: (
            {one["hostname"] for slice_ in items(plane, hosts) for one in slice_["endpoints"] or ()}
            == {f"mcp-gateway-{number}" for number in range(3)}
        )
    )  # each by its name, as gateway.json says
    budget = "/apis/policy/v1/namespaces/mcpwatch/poddisruptionbudgets/mcp-gateway"
    until(lambda: plane.call("GET", budget)["status"]["disruptionsAllowed"] == 1)


@pytest.mark.needs("helm")
def test_helm_installs_upgrades_and_uninstalls_the_same(plane: Cluster, tmp_path: Path) -> None:
    plane.namespace("charted", {"pod-security.kubernetes.io/enforce": "restricted"})
    config, rights = tmp_path / "mcpwatch.yaml", tmp_path / "rights.yaml"
    fleet = (DEPLOY / "mcpwatch.yaml").read_text(encoding="utf-8")
    config.write_text(fleet.replace("namespace: mcpwatch", "namespace: charted").replace("lease: mcpwatch/", "lease: charted/"))
    env = {**os.environ, "MCP_PROXY_TOKEN": "long-enough-to-be-a-token", "MCPWATCH_READ_TOKEN": "long-enough-to-be-read"}
    words = [
        sys.executable,
        "-m",
        "mcpwatch",
        "rbac",
        "-c",
        str(config),
        "--namespace",
        "charted",
        "--service-account",
        "charted/mcpwatch",
    ]
    rights.write_bytes(subprocess.run(words, capture_output=True, check=True, env=env).stdout)

    def helm(verb: str, *more: str) -> None:
        files = ("--set-file", f"config={config}", "--set-file", f"rights={rights}")
        run(plane, "helm", verb, "mcpwatch", str(CHART), "-n", "charted", *files, "--wait", "--timeout", "150s", *more)

    helm("install")
    first = {pod["metadata"]["uid"] for pod in pods(plane, "charted", "mcpwatch")}
    assert len(first) == 2
    assert all(confined(pod) for pod in pods(plane, "charted", "mcpwatch"))
    config.write_text(config.read_text(encoding="utf-8") + "# another\n")
    helm("upgrade", "--set", "replicas=3")
    second = {pod["metadata"]["uid"] for pod in pods(plane, "charted", "mcpwatch")}
    assert len(second) == 3
    assert not first & second
    run(plane, "helm", "uninstall", "mcpwatch", "-n", "charted", "--wait")
    ours = [
        *items(plane, f"{APPS}/charted/deployments"),
        *items(plane, f"{CORE}/charted/services"),
        *items(plane, "/apis/networking.k8s.io/v1/namespaces/charted/networkpolicies"),
        *items(plane, "/apis/rbac.authorization.k8s.io/v1/namespaces/charted/roles"),
    ]
    assert ours == []
    until(lambda: not items(plane, f"{CORE}/charted/pods"))


def test_every_manifest_is_one_that_the_server_knows_in_each_field(plane: Cluster) -> None:
    plane.namespace("strictly")
    made = run(plane, "kubectl", "kustomize", str(DEPLOY)) + "---\n" + run(plane, "kubectl", "kustomize", str(DEPLOY / "gateway"))
    kinds: list[str] = []
    for one in yaml.safe_load_all(made):
        if one["kind"] != "Namespace":
            one["metadata"]["namespace"] = "strictly"
            file = plane.directory / "one.yaml"
            file.write_text(yaml.safe_dump(one), encoding="utf-8")
            run(plane, "kubectl", "create", "--dry-run=server", "--validate=strict", "-f", str(file))
            kinds.append(one["kind"])
    assert {"Role", "RoleBinding", "ServiceAccount", "Deployment", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget"} <= set(
        kinds
    )
