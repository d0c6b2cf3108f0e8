"""What `mcpwatch rbac` prints: no more than the fleet needs, by name where Kubernetes knows names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mcpwatch.app.kinds import all_kinds
from mcpwatch.config.load import load_plan
from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.runtimes.kubernetes.rights import roles
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, LeaderSpec
from tests.parts import ROOT


def _member(name: str, **written: Any) -> MemberSpec:
    return MemberSpec(name, "server", "kubernetes", KubernetesSpec.model_validate(written), "f")


def _verbs(role: dict[str, Any], resource: str, name: str | None = None) -> set[str]:
    """What may be done with a resource: with any of them, or with this one too."""
    fitting = [one for one in role["rules"] if resource in one["resources"]]
    return {verb for one in fitting if "resourceNames" not in one or name in one["resourceNames"] for verb in one["verbs"]}


def test_a_workload_of_others_may_be_watched_and_restarted_by_name_and_nothing_else() -> None:
    role, binding = roles(Plan((_member("web", deployment="tools/web", logs=False),)), "ops/mcpwatch")
    assert role["metadata"]["namespace"] == "tools"
    assert _verbs(role, "deployments", "web") == {"get", "list", "watch", "patch"}
    assert _verbs(role, "deployments", "other") == set()
    assert {resource for one in role["rules"] for resource in one["resources"]} == {"pods", "events", "deployments"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "mcpwatch", "namespace": "ops"}]


def test_a_member_of_ours_may_be_made_and_secrets_are_never_listed() -> None:
    files = {"path": "/run/x", "files": {"token": "t"}}
    role, _ = roles(Plan((_member("time", image="x", namespace="mcp", secrets=files),)), "ops/mcpwatch")
    assert _verbs(role, "secrets") == {"create"}
    assert _verbs(role, "secrets", "mcp-time") == {"create", "get", "patch", "delete"}
    assert "statefulsets" not in {resource for one in role["rules"] for resource in one["resources"]}


def test_the_lease_is_in_its_own_namespace() -> None:
    plan = Plan(sections=(("leader", LeaderSpec(lease="ops/fleet")),))  # pyright: ignore[reportCallIssue]
    role, _ = roles(plan, "ops/mcpwatch")
    assert role["metadata"]["namespace"] == "ops"
    assert _verbs(role, "leases", "fleet") == {"create", "get", "update"}


def test_the_rights_of_deploy_are_those_that_its_configuration_needs(tmp_path: Path) -> None:
    here = ROOT / "deploy" / "kubernetes"
    plan = load_plan(here / "mcpwatch.yaml", all_kinds(), {"MCP_PROXY_TOKEN": "t", "MCPWATCH_READ_TOKEN": "r" * 20}, tmp_path)
    written = list(yaml.safe_load_all((here / "rights.yaml").read_text(encoding="utf-8")))
    assert written == list(roles(plan, "mcpwatch/mcpwatch", "mcpwatch"))
