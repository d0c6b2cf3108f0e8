"""The least rights that a fleet needs on its clusters: Roles for each namespace, for what the configuration names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mcpwatch.model.spec import MemberSpec, Plan
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, LeaderSpec, namespace_of, workload_name

Manifest = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"
_PLURAL = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


def roles(plan: Plan, account: str, default: str = "default") -> tuple[Manifest, ...]:
    """A Role and its RoleBinding for each namespace. `account` is `namespace/name`; `default`: where members without one are."""
    home, _, name = account.rpartition("/")
    found: dict[str, list[Manifest]] = {}
    members = [spec for spec in plan.members if isinstance(spec.carrier, KubernetesSpec)]
    for namespace in sorted({_namespace(spec, default) for spec in members}):
        found[namespace] = _rules([spec for spec in members if _namespace(spec, default) == namespace])
    leader = plan.section("leader")
    if isinstance(leader, LeaderSpec):
        where, _, lease = leader.lease.rpartition("/")
        rules = [
            _rule("coordination.k8s.io", ["leases"], ["create"]),
            _rule("coordination.k8s.io", ["leases"], ["get", "update"], [lease]),
        ]
        found.setdefault(where or home or default, []).extend(rules)
    return tuple(one for namespace in found for one in _role(namespace, found[namespace], home or default, name))


def _role(namespace: str, rules: list[Manifest], home: str, account: str) -> tuple[Manifest, Manifest]:
    head = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": "mcpwatch", "namespace": namespace}}
    bound = {
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": "mcpwatch"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": home}],
    }
    return {**head, "kind": "Role", "rules": rules}, {**head, "kind": "RoleBinding", **bound}


def _rules(specs: Sequence[MemberSpec]) -> list[Manifest]:
    """The rules of one namespace: wide only where Kubernetes knows no narrower ones (create, and lists by label)."""
    carriers = [(spec.name, spec.carrier) for spec in specs if isinstance(spec.carrier, KubernetesSpec)]
    ours = [(workload_name(member, carrier), carrier) for member, carrier in carriers if carrier.ours]
    others = [(workload_name(member, carrier), carrier) for member, carrier in carriers if not carrier.ours]
    made = [_rule("", ["pods", "events"], ["list", "watch"])]
    if any(carrier.logs for _, carrier in carriers):
        made.append(_rule("", ["pods/log"], ["get"]))
    for kind, plural in _PLURAL.items():
        mine, watched = _named(ours, kind), _named(others, kind)
        if mine:
            made.append(_rule("apps", [plural], ["create", "list", "watch"]))
            made.append(_rule("apps", [plural], ["get", "patch", "delete"], mine))
        if watched:
            made.append(_rule("apps", [plural], ["get", "list", "watch", "patch"], watched))
    held = {
        "services": sorted(name for name, _ in ours),
        "configmaps": sorted(name for name, carrier in ours if carrier.config is not None),
        "secrets": sorted(name for name, carrier in ours if carrier.secrets is not None),
    }
    for plural, names in held.items():
        if names:
            made.append(_rule("", [plural], ["create"]))
            made.append(_rule("", [plural], ["get", "patch", "delete"], names))
    return made


def _named(found: Iterable[tuple[str, KubernetesSpec]], kind: str) -> list[str]:
    return sorted(name for name, carrier in found if carrier.kind == kind)


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs, **({"resourceNames": names} if names else {})}


def _namespace(spec: MemberSpec, default: str) -> str:
    assert isinstance(spec.carrier, KubernetesSpec)
    return namespace_of(spec.carrier) or default
