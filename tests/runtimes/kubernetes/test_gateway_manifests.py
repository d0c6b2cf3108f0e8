"""What `kubectl apply -k deploy/kubernetes/gateway` applies: pods, names, addresses and the gateway's own file fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

from mcpwatch.gateway.dialects import load
from tests.parts import ROOT

HERE = ROOT / "deploy" / "kubernetes" / "gateway"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(cast("Any", yaml.safe_load_all(path.read_text(encoding="utf-8"))))


def test_every_pod_is_a_replica_of_the_file_at_the_address_that_its_service_gives_it() -> None:
    kustomization = documents(HERE / "kustomization.yaml")[0]
    namespace = kustomization["namespace"]
    assert [path for one in kustomization["secretGenerator"] for path in one["files"]] == ["gateway.json"]
    made = {(one["kind"], one["metadata"]["name"]): one for name in kustomization["resources"] for one in documents(HERE / name)}
    pods = made["StatefulSet", "mcp-gateway"]["spec"]
    inner = made["Service", pods["serviceName"]]["spec"]
    (container,) = pods["template"]["spec"]["containers"]
    (port,) = container["ports"]
    settings = load(HERE / "gateway.json", {})
    assert settings.listen == f"0.0.0.0:{port['containerPort']}"
    names = [f"mcp-gateway-{number}" for number in range(pods["replicas"])]
    assert dict(settings.replicas) == {
        name: f"http://{name}.{pods['serviceName']}.{namespace}.svc:{inner['ports'][0]['port']}" for name in names
    }
    assert inner["clusterIP"] == "None"
    assert container["env"] == [{"name": "MCPWATCH_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    labels = pods["template"]["metadata"]["labels"]
    for one in ("mcp-gateway", pods["serviceName"]):
        assert made["Service", one]["spec"]["selector"].items() <= labels.items()
    assert made["NetworkPolicy", "mcp-gateway"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_gateway_runs_without_root_without_rights_and_opens_to_no_token_as_it_is_given_away() -> None:
    pods = documents(HERE / "statefulset.yaml")[0]["spec"]["template"]["spec"]
    assert pods["automountServiceAccountToken"] is False
    assert pods["securityContext"]["runAsNonRoot"] is True
    assert pods["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert load(HERE / "gateway.json", {}).digests == ("0" * 64,)
