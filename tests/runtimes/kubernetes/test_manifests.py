"""What is written under `kubernetes:` as objects of the API, and what of it is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.runtimes.kubernetes.manifests import Manifest, Marks, label, objects
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, workload_name

MARKS = Marks("0123456789ab", "time", 3, "f1", 7.0)


def _made(**written: Any) -> dict[str, Manifest]:
    """The objects of a member, by kind."""
    spec = KubernetesSpec.model_validate({"image": "x:1", **written})
    return {one["kind"]: one for one in objects(spec, MARKS)}


def _container(**written: Any) -> Manifest:
    return _made(**written)["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_a_member_is_a_deployment_that_replaces_its_pod_only_when_the_next_one_is_ready() -> None:
    made = _made()
    assert list(made) == ["Deployment", "Service"]
    body = made["Deployment"]["spec"]
    assert body["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert body["template"]["metadata"]["annotations"] == {"mcpwatch.dev/generation": "3"}
    assert body["template"]["spec"]["terminationGracePeriodSeconds"] == 7
    assert body["selector"]["matchLabels"] == made["Service"]["spec"]["selector"]


def test_a_pod_has_no_root_no_capability_and_no_token_of_the_cluster() -> None:
    pod = _made()["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    guard = pod["containers"][0]["securityContext"]
    assert guard == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def test_a_volume_makes_it_a_stateful_set_with_a_claim() -> None:
    made = _made(volume={"path": "/data", "size": "2g", "storage_class": "fast"})
    assert list(made) == ["StatefulSet", "Service"]
    (claim,) = made["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == str(2 * 1024**3)
    assert "strategy" not in made["StatefulSet"]["spec"]


def test_secrets_are_files_and_references_and_never_values_of_variables() -> None:
    made = _made(secrets={"path": "/run/x", "files": {"token": "hush"}}, secret_env={"PASSWORD": "pg/password"})
    assert base64.b64decode(made["Secret"]["data"]["token"]) == b"hush"
    assert "hush" not in str(made["Deployment"])
    container = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "password"}}}]
    spec = KubernetesSpec.model_validate({"image": "x", "secrets": {"path": "/run/x", "files": {"token": "hush"}}})
    assert "hush" not in repr(spec)


def test_what_looks_like_a_reference_of_kubernetes_stays_text() -> None:
    assert _container(environment={"A": "$(B)"})["env"] == [{"name": "A", "value": "$$(B)"}]


@pytest.mark.parametrize(
    ("probe", "asks"),
    [
        ({}, {"tcpSocket": {"port": "mcp"}}),
        (
            {"kind": "mcpwatch", "path": "/mcp"},
            {"exec": {"command": ["mcpwatch", "check", "--url", "http://127.0.0.1:8080/mcp", "--timeout", "9s"]}},
        ),
        ({"kind": "exec", "command": ["true"]}, {"exec": {"command": ["true"]}}),
        ({"kind": "none"}, None),
    ],
)
def test_the_kubelet_asks_as_written(probe: dict[str, Any], asks: dict[str, Any] | None) -> None:
    found = _container(probe=probe).get("readinessProbe")
    assert (found and {key: found[key] for key in asks or {}}) == asks


def test_a_sidecar_speaks_mcp_and_only_keeps_the_pod_from_being_ready() -> None:
    pod = _made(probe={"kind": "sidecar", "image": "mcpwatch:1"})["Deployment"]["spec"]["template"]["spec"]
    sidecar = pod["containers"][1]
    assert sidecar["readinessProbe"]["exec"]["command"][:2] == ["mcpwatch", "check"]
    assert "livenessProbe" not in sidecar


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "exactly one of image, deployment, statefulset"),
        ({"image": "x", "deployment": "a/b"}, "found image and deployment"),
        ({"deployment": "a/b", "port": 1}, "is not ours, so port cannot be set"),
        ({"deployment": "a/B"}, "is no name in Kubernetes"),
        ({"image": "x", "volume": {"path": "data"}}, "write an absolute path"),
        ({"image": "x", "volume": {"path": "/d"}, "replicas": 2}, "one pod"),
        ({"image": "x", "secret_env": {"A": "pg"}}, "the Secret and its key"),
        ({"image": "x", "probe": {"kind": "sidecar"}}, "write image"),
        ({"image": "x", "config": {"path": "/c", "files": {"a/b": "x"}}}, "no key of a ConfigMap"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as failed:
        KubernetesSpec.model_validate(written)
    assert words in str(failed.value)


def test_a_name_that_is_no_label_is_shortened_in_one_way_only() -> None:
    assert label("time") == "time"
    long = [label("x" * 80), label("x" * 81)]
    assert len(set(long)) == 2
    assert all(len(one) <= 63 for one in long)
    assert workload_name("My Server_1", KubernetesSpec.model_validate({"image": "x"})) == "mcp-my-server-1"
