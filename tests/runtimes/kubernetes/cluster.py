"""A real control plane on this machine: etcd, kube-apiserver, controller manager, scheduler, and kwok, playing nodes and kubelets.

The part `kubernetes` (`.ci/parts kubernetes`) builds them. All listen on loopback and are ended by pid.
No node has a lease: this etcd lacks what kwok needs to renew them, so a node is as ready as its status says.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parts import program

TOKEN = "admin-of-this-test"
BOUND = 120.0
"""Seconds until the control plane must answer, on a busy machine."""
Raw = dict[str, Any]


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Cluster:
    """A running control plane, spoken to as its administrator."""

    directory: Path
    url: str
    kubeconfig: Path

    def call(self, method: str, path: str, body: Raw | None = None, kind: str = "application/json") -> Raw:
        """One request. Raises `HTTPError`."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        data = None
        if body is not None:
            request.add_header("Content-Type", kind)
            data = json.dumps(body).encode()
        context = ssl.create_default_context(cafile=str(self.directory / "certs" / "apiserver.crt"))
        with urllib.request.urlopen(request, data, timeout=30, context=context) as answer:
            return json.loads(answer.read() or b"{}")

    def apply(self, path: str, body: Raw) -> Raw:
        """Server-side apply by somebody else than mcpwatch."""
        return self.call("PATCH", f"{path}?fieldManager=test&force=true", body, "application/apply-patch+yaml")

    def status(self, path: str, status: Raw) -> Raw:
        """Set the status of an object, as its controller or kubelet does."""
        return self.call("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    def node(self, name: str) -> None:
        """A node that kwok plays."""
        meta = {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "type": "kwok"},
        }
        self.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})

    def namespace(self, name: str, labels: Raw | None = None) -> None:
        """A namespace with its default service account, which pods need."""
        meta = {"name": name, "labels": labels or {}}
        self.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        self.wait(f"/api/v1/namespaces/{name}/serviceaccounts/default")

    def wait(self, path: str) -> Raw:
        """The object, when it is there."""
        deadline = time.monotonic() + BOUND
        while True:
            try:
                return self.call("GET", path)
            except urllib.error.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def cluster(directory: Path) -> Generator[Cluster]:
    """A control plane with one node, that ends with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []

    def start(part: str, *arguments: str) -> None:
        log = (directory / f"{part}.log").open("wb")
        running.append(subprocess.Popen([str(program(part)), *arguments], stdout=log, stderr=log, cwd=directory))

    try:
        made = _control_plane(directory, start)
        made.wait("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
        config = str(made.kubeconfig)
        quiet = ("--leader-elect=false", "--secure-port=0")
        start("kube-controller-manager", f"--kubeconfig={config}", *quiet, "--service-account-private-key-file=sa.key",
              "--node-monitor-grace-period=1h", "--node-monitor-period=1s")  # fmt: skip
        start("kube-scheduler", f"--kubeconfig={config}", *quiet)
        start("kwok", f"--kubeconfig={config}", "--manage-all-nodes=false", "--config=kwok.yaml", "--node-lease-duration-seconds=0",
              "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake")  # fmt: skip
        made.node("node-1")
        yield made
    finally:
        for process in reversed(running):
            process.kill()
        for process in running:
            process.wait()


def _control_plane(directory: Path, start: Any) -> Cluster:
    client, peer, secure = _port(), _port(), _port()
    subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=directory, check=True, capture_output=True)
    (directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n', encoding="utf-8")
    (directory / "kwok.yaml").write_text(_stages(), encoding="utf-8")
    urls = f"http://127.0.0.1:{client}"
    start("etcd", "--data-dir=etcd", f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}",
          f"--listen-peer-urls=http://127.0.0.1:{peer}", "--unsafe-no-fsync")  # fmt: skip
    start("kube-apiserver", f"--etcd-servers={urls}", f"--secure-port={secure}", "--bind-address=127.0.0.1", "--cert-dir=certs",
          "--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key",
          "--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC",
          "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none")  # fmt: skip
    made = Cluster(directory, f"https://127.0.0.1:{secure}", directory / "kubeconfig")
    certificate = directory / "certs" / "apiserver.crt"
    deadline = time.monotonic() + BOUND
    while True:
        with suppress(OSError, ValueError):
            if certificate.exists() and made.call("GET", "/api/v1/namespaces/default").get("kind") == "Namespace":
                break
        if time.monotonic() > deadline:
            raise TimeoutError((directory / "kube-apiserver.log").read_text(encoding="utf-8")[-2000:])
        time.sleep(0.1)
    config: Raw = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": made.url, "certificate-authority": str(certificate)}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "mcp"}}],
    }
    made.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    return made


def _stages() -> str:
    """What kwok does: nodes are ready, and a pod of a node runs and is ready, unless it is marked `test/hold`."""
    node: Raw = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "node-ready"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Node"},
            "selector": {"matchExpressions": [{"key": ".status.conditions", "operator": "DoesNotExist"}]},
            "next": {
                "statusTemplate": """
allocatable: {cpu: 32, memory: 64Gi, pods: 2000}
capacity: {cpu: 32, memory: 64Gi, pods: 2000}
conditions:
- {type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
"""
            },
        },
    }
    pod: Raw = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "pod-runs"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchExpressions": [
                    {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
                    {"key": ".status.podIP", "operator": "DoesNotExist"},
                    {"key": '.metadata.annotations["test/hold"]', "operator": "DoesNotExist"},
                ]
            },
            "next": {
                "statusTemplate": """
{{ $now := Now }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  containerID: {{ printf "fake://%s" .name | Quote }}
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
podIP: {{ PodIPWith .spec.nodeName false ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
"""
            },
        },
    }
    gone: Raw = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "pod-goes"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}]},
            "next": {"delete": True, "finalizers": {"empty": True}},
        },
    }
    return "---\n".join(yaml.safe_dump(one) for one in (node, pod, gone))
