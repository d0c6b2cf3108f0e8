"""The fleet as Kubernetes manifests, a directory per service. Pure: services in, texts by path out."""

from __future__ import annotations

import json
import re
from typing import Any

from mcpwatch.cli.export.parts import build_files, health_command, overview, readme
from mcpwatch.cli.export.service import ExportedFleet, ExportedService
from mcpwatch.config import yaml

_WHOLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def files(found: ExportedFleet) -> dict[str, str]:
    """Path to text of every file."""
    made: dict[str, str] = {}
    for service in (*found.services, found.proxy):
        where = service.host
        made[f"{where}/{where}.yaml"] = "---\n".join(_text(one) for one in _manifests(service))
        made[f"{where}/README.md"] = readme(service, _secret(service) + f"Apply it with `kubectl apply -f {where}.yaml`.")
        made |= build_files(service)
    steps = [
        "Build each image (`docker build -t mcp-NAME:local mcp-NAME`) and push it where the cluster finds it, then:",
        "",
        "```sh",
        "kubectl apply -R -f .",
        "```",
    ]
    made["README.md"] = overview(found, "Kubernetes", "\n".join(steps))
    return made


def _text(manifest: dict[str, Any]) -> str:
    """A manifest as people write it: no anchors for what stands in it twice, files as blocks."""
    apart: dict[str, Any] = json.loads(json.dumps(manifest))
    if apart["kind"] == "ConfigMap":
        apart["data"] = {name: yaml.block(text) for name, text in apart["data"].items()}
    return yaml.dump(apart)


def _secret(service: ExportedService) -> str:
    if not service.variables:
        return ""
    literals = " ".join(f"--from-literal={name}=…" for name in service.variables)
    return f"Make its secret first: `kubectl create secret generic {service.host} {literals}`. "


def _manifests(service: ExportedService) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": service.host, "app.kubernetes.io/part-of": "mcp-fleet"}
    head = {"name": service.host, "labels": labels}
    made: list[dict[str, Any]] = []
    if service.config:
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"config.json": service.config}})
    pod: dict[str, Any] = {"containers": [_container(service)], "automountServiceAccountToken": False, "volumes": _volumes(service)}
    pod["securityContext"] = {"runAsNonRoot": not service.image, "seccompProfile": {"type": "RuntimeDefault"}}
    made.append({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": head,
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/name": service.host}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })  # fmt: skip
    made.append({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": head,
        "spec": {
            "selector": {"app.kubernetes.io/name": service.host},
            "ports": [{"name": "mcp", "port": service.port, "targetPort": "mcp"}],
        },
    })  # fmt: skip
    return made


def _container(service: ExportedService) -> dict[str, Any]:
    made: dict[str, Any] = {"name": "server", "image": service.image or f"{service.host}:local"}
    if service.command:
        made["command" if not service.image else "args"] = [word.replace("$$", "$") for word in service.command]
    made["ports"] = [{"name": "mcp", "containerPort": service.port}]
    env = [_variable(service, key, value) for key, value in service.environment.items()]
    if service.config:
        token = next((name for name in service.environment if "TOKEN" in name.upper()), None)
        env += [_variable(service, "HEALTHCHECK_TOKEN", f"${{{token}}}")] if token else []
    if env:
        made["env"] = env
    memory = re.sub(r"[mM][bB]?$", "Mi", re.sub(r"[gG][bB]?$", "Gi", service.memory))
    made["resources"] = {"requests": {"memory": memory, "cpu": "50m"}, "limits": {"memory": memory}}
    made["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if not service.image:
        made["securityContext"] |= {"readOnlyRootFilesystem": True, "runAsUser": 10001, "runAsGroup": 10001}
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - inside the container
    made["volumeMounts"] = mounts
    if service.config:
        mounts.append({"name": "config", "mountPath": "/config", "readOnly": True})
    command = health_command(service)
    probe: dict[str, Any] = {"exec": {"command": list(command)}} if command else {"tcpSocket": {"port": "mcp"}}
    made["startupProbe"] = {**probe, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 30}
    made["livenessProbe"] = {**probe, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 3}
    made["readinessProbe"] = {**probe, "periodSeconds": 30, "timeoutSeconds": 10}
    return made


def _variable(service: ExportedService, key: str, value: str) -> dict[str, Any]:
    whole = _WHOLE.fullmatch(value)
    if whole:
        return {"name": key, "valueFrom": {"secretKeyRef": {"name": service.host, "key": whole[1]}}}
    return {"name": key, "value": _WHOLE.sub(lambda match: f"$({match[1]})", value).replace("$$", "$")}


def _volumes(service: ExportedService) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if service.config:
        made.append({"name": "config", "configMap": {"name": service.host}})
    return made
