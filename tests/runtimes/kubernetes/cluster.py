"""A real control plane on this machine: etcd, kube-apiserver, controller manager, scheduler, and kwok, playing nodes and kubelets.

The part `kubernetes` (`.ci/parts kubernetes`) builds them. All listen on loopback and are ended by pid.
No node has a lease: this etcd lacks what kwok needs to renew them; its status says every four seconds that it lives.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parts import program
from tests.runtimes.kubernetes.stages import stages

TOKEN = "admin-of-this-test"
BOUND = 120.0
"""Seconds until the control plane must answer, on a busy machine."""
Raw = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(true: Callable[[], object]) -> None:
    """Wait until this is true of the cluster."""
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Cluster:
    """A running control plane, spoken to as its administrator."""

    directory: Path
    url: str
    kubeconfig: Path

    def call(self, method: str, path: str, body: Raw | None = None, kind: str = "application/json", *, token: str = TOKEN) -> Raw:
        """One request. Raises `HTTPError`."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {token}")
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

    def annotate(self, path: str, **notes: str) -> None:
        """Write annotations `test/NAME`: what kwok plays."""
        body = {"metadata": {"annotations": {f"test/{name}": value for name, value in notes.items()}}}
        self.call("PATCH", path, body, "application/merge-patch+json")

    def account(self, namespace: str, name: str, *, rules: str = "") -> None:
        """A service account; with what the manifests in `rules` allow, else with all rights in its namespace."""
        self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", _named("ServiceAccount", name))
        roles = f"/apis/{_RBAC}/v1/namespaces/{namespace}"
        for one in yaml.safe_load_all(rules) if rules else [_administrator(namespace, name)]:
            self.call("POST", f"{roles}/{one['kind'].lower()}s", one)

    def token(self, namespace: str, account: str, *, until_gone: str = "") -> str:
        """A token of a service account, as a pod of it has; good until the secret `until_gone` is removed."""
        spec: Raw = {"expirationSeconds": 3600}
        if until_gone:
            secret = self.call("POST", f"/api/v1/namespaces/{namespace}/secrets", _named("Secret", until_gone))
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Secret", "name": until_gone, "uid": secret["metadata"]["uid"]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)
        return str(made["status"]["token"])

    def revoke(self, namespace: str, until_gone: str, token: str) -> None:
        """Remove what a token was good for; returns when the server takes it no more."""
        self.call("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{until_gone}")
        deadline = time.monotonic() + BOUND
        while time.monotonic() < deadline:
            try:
                self.call("GET", "/api/v1/namespaces/default", token=token)
            except urllib.error.HTTPError as refused:
                if refused.code == 401:
                    return
            time.sleep(0.2)
        raise TimeoutError("the server still takes the token")

    def access(self, file: Path, user: Raw, namespace: str) -> str:
        """Write a kubeconfig for somebody else; returns its path."""
        config = yaml.safe_load(self.kubeconfig.read_text(encoding="utf-8"))
        config["users"] = [{"name": "u", "user": user}]
        config["contexts"][0]["context"]["namespace"] = namespace
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return str(file)

    def node(self, name: str, **labels: str) -> None:
        """A node that kwok plays."""
        meta = {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "type": "kwok", **labels},
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


def _named(kind: str, name: str) -> Raw:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def _administrator(namespace: str, account: str) -> Raw:
    """The binding that gives a service account all rights in its namespace."""
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "admin"}
    who = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    head: Raw = {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": account}}
    return {**head, "roleRef": role, "subjects": [who]}


@contextmanager
def cluster(directory: Path, *more: str) -> Generator[Cluster]:
    """A control plane with one node, that ends with the block; `more` arguments for the API server."""
    directory.mkdir(parents=True, exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []

    def start(part: str, *arguments: str) -> None:
        log = (directory / f"{part}.log").open("wb")
        running.append(subprocess.Popen([str(program(part)), *arguments], stdout=log, stderr=log, cwd=directory))

    try:
        made = _control_plane(directory, start, more)
        made.wait("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
        config = str(made.kubeconfig)
        quiet = ("--leader-elect=false", "--secure-port=0", "--kube-api-qps=300", "--kube-api-burst=600")
        start("kube-controller-manager", f"--kubeconfig={config}", *quiet, "--service-account-private-key-file=sa.key",
              "--node-monitor-grace-period=30s", "--node-monitor-period=1s")  # fmt: skip
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


def _control_plane(directory: Path, start: Any, more: tuple[str, ...]) -> Cluster:
    client, peer, secure = _port(), _port(), _port()
    subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=directory, check=True, capture_output=True)
    (directory / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n', encoding="utf-8")
    (directory / "kwok.yaml").write_text(stages(), encoding="utf-8")
    urls = f"http://127.0.0.1:{client}"
    start("etcd", "--data-dir=etcd", f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}",
          f"--listen-peer-urls=http://127.0.0.1:{peer}", "--unsafe-no-fsync")  # fmt: skip
    start("kube-apiserver", f"--etcd-servers={urls}", f"--secure-port={secure}", "--bind-address=127.0.0.1", "--cert-dir=certs",
          "--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key",
          "--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC",
          "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
          "--default-not-ready-toleration-seconds=12", "--default-unreachable-toleration-seconds=12", *more)  # fmt: skip
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
