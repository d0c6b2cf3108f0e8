"""A member's `KubernetesSpec` as the objects of the API: workload, Service, ConfigMap, Secret. Pure: data in, data out.

Everything here is sent by server-side apply, so it holds only the fields that are ours; what others set stays theirs. Must not
know: how objects are sent, or what runs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcpwatch.model.text import digest
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, ProbeSpec, workload_name

Manifest = dict[str, Any]

MANAGER = "mcpwatch"
"""Our field manager, and what `app.kubernetes.io/managed-by` says."""
FLEET = "mcpwatch.dev/fleet"
"""Label: which fleet's."""
MEMBER = "mcpwatch.dev/member"
"""Label: which member's."""
GENERATION = "mcpwatch.dev/generation"
"""Annotation of workload and pods: which start of the member."""
FINGERPRINT = "mcpwatch.dev/fingerprint"
"""Annotation of the workload: what it was made of."""
TERM = "mcpwatch.dev/term"
"""Annotation of the workload: of which leader's term the last act was."""
RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""Annotation of the pods of others' workloads: what `kubectl rollout restart` sets."""
CONTAINER = "server"
"""Name of the member's container."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What is written on everything that is ours. `grace`: seconds from SIGTERM to SIGKILL."""

    fleet: str
    member: str
    generation: int
    fingerprint: str
    grace: float = 10.0

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which it is found again."""
        return {"app.kubernetes.io/managed-by": MANAGER, FLEET: self.fleet, MEMBER: label(self.member)}


def label(text: str) -> str:
    """A member's name as a label's value: the same, or as much of it as is allowed with a digest of the whole."""
    if re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text):
        return text
    short = re.sub(r"[^-A-Za-z0-9_.]+", "-", text).strip("-_.")[:50]
    return f"{short or 'm'}-{digest(text)[:8]}"


def objects(spec: KubernetesSpec, marks: Marks) -> tuple[Manifest, ...]:
    """Everything to apply, in order: what the pods read, then the workload, then its Service."""
    name = workload_name(marks.member, spec)
    made: list[Manifest] = []
    if spec.config is not None:
        made.append({**_head("v1", "ConfigMap", name, spec, marks), "data": dict(spec.config.files)})
    if spec.secrets is not None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in spec.secrets.files.items()}
        made.append({**_head("v1", "Secret", name, spec, marks), "type": "Opaque", "data": data})
    return (*made, workload(spec, marks), service(spec, marks))


def workload(spec: KubernetesSpec, marks: Marks) -> Manifest:
    """The Deployment, or the StatefulSet where there is a volume."""
    name = workload_name(marks.member, spec)
    made = _head("apps/v1", spec.kind, name, spec, marks)
    made["metadata"]["annotations"] = {GENERATION: str(marks.generation), FINGERPRINT: marks.fingerprint}
    body: dict[str, Any] = {"replicas": spec.replicas, "selector": {"matchLabels": _selector(marks)}, "template": _pod(spec, marks)}
    if spec.kind == "Deployment":
        body["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        body["progressDeadlineSeconds"] = max(60, round(spec.probe.start) + 60)
    else:
        body["serviceName"] = name
        body["volumeClaimTemplates"] = [_claim(spec)]
    return {**made, "spec": body}


def service(spec: KubernetesSpec, marks: Marks) -> Manifest:
    """The Service by which the proxy and clients in the cluster reach the member. It names no pod that is not ready."""
    made = _head("v1", "Service", workload_name(marks.member, spec), spec, marks)
    ports = [{"name": "mcp", "port": spec.port, "targetPort": "mcp", "protocol": "TCP"}]
    return {**made, "spec": {"selector": _selector(marks), "ports": ports, "sessionAffinity": "ClientIP"}}


def restarted(at: str) -> Manifest:
    """A merge patch that rolls a workload of others, as `kubectl rollout restart` does."""
    return {"spec": {"template": {"metadata": {"annotations": {RESTARTED: at}}}}}


def _head(version: str, kind: str, name: str, spec: KubernetesSpec, marks: Marks) -> Manifest:
    labels = {**spec.labels, "app.kubernetes.io/name": name, **marks.labels}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def _selector(marks: Marks) -> dict[str, str]:
    return {FLEET: marks.fleet, MEMBER: label(marks.member)}


def _pod(spec: KubernetesSpec, marks: Marks) -> Manifest:
    name = workload_name(marks.member, spec)
    body: dict[str, Any] = {
        "terminationGracePeriodSeconds": max(1, round(marks.grace)),
        "automountServiceAccountToken": spec.service_account is not None,
        "containers": [_container(spec)],
        "volumes": _volumes(spec, name),
        "securityContext": _filled({
            "runAsNonRoot": None if spec.user == 0 else True,
            "runAsUser": spec.user,
            "runAsGroup": spec.user,
            "fsGroup": spec.user if spec.volume is not None else None,
            "seccompProfile": {"type": "RuntimeDefault"},
        }),
        "serviceAccountName": spec.service_account,
        "imagePullSecrets": [{"name": secret} for secret in spec.pull_secrets],
        "nodeSelector": dict(spec.node_selector),
    }  # fmt: skip
    if spec.probe.kind == "sidecar":
        body["containers"].append(_sidecar(spec))
    labels = {**spec.labels, "app.kubernetes.io/name": name, **marks.labels}
    annotations = {GENERATION: str(marks.generation)}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": _filled(body)}


def _container(spec: KubernetesSpec) -> Manifest:
    limits = {"memory": str(spec.memory)} if spec.memory else {}
    requests = {**limits, **({"cpu": f"{round(spec.cpus * 1000)}m"} if spec.cpus else {})}
    env: list[Manifest] = [{"name": key, "value": value.replace("$(", "$$(")} for key, value in spec.environment.items()]
    for key, reference in spec.secret_env.items():
        secret, _, field = reference.partition("/")
        env.append({"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": field}}})
    return _filled({
        "name": CONTAINER,
        "image": spec.image,
        "command": list(spec.command),
        "args": list(spec.args),
        "env": env,
        "ports": [{"name": "mcp", "containerPort": spec.port, "protocol": "TCP"}],
        "resources": _filled({"requests": requests, "limits": limits}),
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": spec.read_only, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(spec),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(spec),
    })  # fmt: skip


def probe_command(probe: ProbeSpec, port: int) -> tuple[str, ...]:
    """The command by which a probe speaks MCP to the member, from inside its pod."""
    if probe.kind == "exec":
        return probe.command
    url = f"http://127.0.0.1:{port}/{probe.path.lstrip('/')}"
    return ("mcpwatch", "check", "--url", url, "--timeout", f"{max(1, round(probe.timeout) - 1)}s")


def _probes(spec: KubernetesSpec) -> Manifest:
    """Startup, readiness and liveness of the member's own container."""
    probe = spec.probe
    if probe.kind == "none":
        return {}
    asks: Manifest = {"tcpSocket": {"port": "mcp"}}
    if probe.kind in {"mcpwatch", "exec"}:
        asks = {"exec": {"command": list(probe_command(probe, spec.port))}}
    rule = {**asks, "periodSeconds": max(1, round(probe.interval)), "timeoutSeconds": max(1, round(probe.timeout))}
    startup = {**rule, "periodSeconds": 5, "failureThreshold": max(1, round(probe.start / 5))}
    return {
        "startupProbe": startup,
        "readinessProbe": {**rule, "failureThreshold": probe.failure_threshold},
        "livenessProbe": {**rule, "failureThreshold": probe.failure_threshold},
    }


def _sidecar(spec: KubernetesSpec) -> Manifest:
    """A container that only asks: its readiness is the pod's. It never restarts the member; that is the watchdog's to decide."""
    probe = spec.probe
    asks = {"exec": {"command": list(probe_command(probe, spec.port))}}
    rule = {**asks, "periodSeconds": max(1, round(probe.interval)), "timeoutSeconds": max(1, round(probe.timeout))}
    return {
        "name": "probe",
        "image": probe.image,
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": {**rule, "failureThreshold": probe.failure_threshold},
    }


def _mounts(spec: KubernetesSpec) -> list[Manifest]:
    made: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - inside the container
    if spec.config is not None:
        made.append({"name": "config", "mountPath": spec.config.path, "readOnly": True})
    if spec.secrets is not None:
        made.append({"name": "secrets", "mountPath": spec.secrets.path, "readOnly": True})
    if spec.volume is not None:
        made.append({"name": "data", "mountPath": spec.volume.path})
    return made


def _volumes(spec: KubernetesSpec, name: str) -> list[Manifest]:
    made: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if spec.config is not None:
        made.append({"name": "config", "configMap": {"name": name}})
    if spec.secrets is not None:
        made.append({"name": "secrets", "secret": {"secretName": name, "defaultMode": 0o440}})
    return made


def _claim(spec: KubernetesSpec) -> Manifest:
    assert spec.volume is not None
    body = {
        "accessModes": [spec.volume.access],
        "resources": {"requests": {"storage": str(spec.volume.size)}},
        "storageClassName": spec.volume.storage_class,
    }
    return {"metadata": {"name": "data"}, "spec": _filled(body)}


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
