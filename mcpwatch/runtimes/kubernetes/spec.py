"""What a user writes under `kubernetes:`: a workload of ours, or one that others made and mcpwatch watches; and under `leader:`,
that several watchdogs stand ready for one fleet. Pure.

Owns: the shape of a workload and what of it is refused. Must not know: how manifests are made (`manifests`) or sent (`api`).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.registry import KindSpec
from mcpwatch.runtimes.docker.spec import Argv, Pairs, Texts
from mcpwatch.units import Size, Span, matching

WorkloadKind = Literal["Deployment", "StatefulSet"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def _name(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is no name in Kubernetes; use at most 63 of a-z, 0-9 and '-', a letter or digit at each end")
    return value


def _place(value: str) -> str:
    namespace, _, name = value.rpartition("/")
    for part in (namespace, name) if namespace else (name,):
        _name(part)
    return value


def _keys(value: dict[str, str]) -> dict[str, str]:
    bad = next((key for key in value if not _KEY.fullmatch(key)), None)
    if bad is not None:
        raise ValueError(f"{bad!r} is no key of a ConfigMap or Secret; use letters, digits, '.', '_' and '-'")
    return value


ObjectName = Annotated[str, AfterValidator(_name)]
Place = Annotated[str, AfterValidator(_place)]
Keys = Annotated[Pairs, AfterValidator(_keys)]
Directory = Annotated[str, matching(r"(?s)/.+", "is no directory in a container; write an absolute path")]


class VolumeSpec(KindSpec):
    """A volume that outlives the pod. A member that has one is a StatefulSet of one pod."""

    path: Directory = Field(description="Where it is mounted.")
    size: Size = Field(1024**3, description="Size that is claimed.")
    storage_class: str | None = Field(None, description="Storage class. Default: the cluster's.")
    access: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] = Field("ReadWriteOnce", description="Access mode.")


class FilesSpec(KindSpec):
    """Files of a ConfigMap or Secret, by name, in one directory."""

    path: Directory = Field(description="The directory in which they are mounted, read-only.")
    files: Keys = Field(repr=False, description="Name to text of each file.")


class ProbeSpec(KindSpec):
    """How the kubelet asks whether the member is ready and alive.

    `tcp`: its port accepts connections. `mcpwatch`: the program `mcpwatch check` in the member's own image speaks MCP to it.
    `sidecar`: the same from a container of `image` beside it, for images without mcpwatch. `exec`: a command of yours.
    `none`: not at all.
    """

    kind: Literal["tcp", "mcpwatch", "sidecar", "exec", "none"] = Field("tcp", description="How it asks.")
    path: str = Field("/sse", description="Path at which the member serves MCP, for `mcpwatch` and `sidecar`.")
    image: str | None = Field(None, description="Image that has mcpwatch, for `sidecar`.")
    command: Argv = Field((), description="The command, for `exec`.")
    interval: Span = Field(30.0, description="Pause between two probes.")
    timeout: Span = Field(10.0, description="Longest probe.")
    failure_threshold: int = Field(
        3, ge=1, description="Failures in a row before the pod is not ready, or its container restarted."
    )
    start: Span = Field(300.0, description="Longest time that the member may take to start.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "sidecar" and not self.image:
            raise ValueError("write image: an image that has mcpwatch")
        if self.kind == "exec" and not self.command:
            raise ValueError("write command: what the kubelet runs in the container")
        return self


class KubernetesSpec(KindSpec):
    """A workload that mcpwatch applies and owns or, with `deployment` or `statefulset`, one of others that it only restarts."""

    image: str | None = Field(None, description="The image, e.g. `crystaldba/postgres-mcp:0.3.0`.")
    deployment: Place | None = Field(None, description="`namespace/name` of a Deployment that is not ours.")
    statefulset: Place | None = Field(None, description="`namespace/name` of a StatefulSet that is not ours.")
    name: ObjectName | None = Field(
        None, description="Name of the workload and its Service. Default: `mcp-` and the member's name."
    )
    namespace: ObjectName | None = Field(
        None, description="Namespace. Default: that of the pod mcpwatch runs in, or of the context."
    )
    context: str | None = Field(
        None, description="Context of the kubeconfig. Default: in a pod its own cluster, else the current one."
    )
    kubeconfig: str | None = Field(None, description="The kubeconfig file. Default: `KUBECONFIG`, else `~/.kube/config`.")
    fleet: ObjectName | None = Field(
        None, description="Name by which each watchdog of this fleet knows its workloads. Default: the state directory's mark."
    )
    port: int = Field(8080, ge=1, le=65535, description="Port on which the member listens, and its Service too.")
    replicas: int = Field(1, ge=1, le=1000, description="Pods at once.")
    command: Argv = Field((), description="Program, instead of that of the image.")
    args: Argv = Field((), description="Arguments, instead of those of the image.")
    environment: Pairs = Field({}, repr=False, description="Environment variables. Secrets belong into `secrets`.")
    config: FilesSpec | None = Field(None, description="Files in a ConfigMap.")
    secrets: FilesSpec | None = Field(None, repr=False, description="Files in a Secret. They never become environment variables.")
    secret_env: dict[str, str] = Field({}, description="Variables from Secrets that exist: `NAME: secret/key`.")
    volume: VolumeSpec | None = Field(None, description="A volume that outlives the pod.")
    memory: Size | None = Field(None, description="Memory request and limit.")
    cpus: float | None = Field(None, gt=0, description="CPU request, in cores. No limit is set.")
    user: int | None = Field(10001, ge=0, description="User id in the container; `null` for that of the image.")
    read_only: bool = Field(True, description="Read-only root file system, with a writable /tmp.")
    probe: ProbeSpec = Field(ProbeSpec.unwritten(), description="How the kubelet asks the member.")
    service_account: ObjectName | None = Field(None, description="Service account. Its token is mounted only when one is named.")
    pull_secrets: Texts = Field((), description="Secrets for pulling the image.")
    node_selector: Pairs = Field({}, description="Labels that the node must have.")
    labels: Pairs = Field({}, description="Labels of your own on the workload and its pods.")
    logs: bool = Field(True, description="Copy the output of the pods into the member's log.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = [name for name in ("image", "deployment", "statefulset") if getattr(self, name) is not None]
        if len(origins) != 1:
            found = f"; found {' and '.join(origins)}" if origins else ""
            raise ValueError(f"write exactly one of image, deployment, statefulset{found}")
        if not self.image:
            extra = sorted(self.model_fields_set - {"deployment", "statefulset", "namespace", "context", "kubeconfig", "logs"})
            if extra:
                raise ValueError(f"{origins[0]} is not ours, so {', '.join(extra)} cannot be set here; change it where it is made")
        if self.volume is not None and self.replicas > 1:
            raise ValueError("a member with a volume is one pod; remove replicas")
        bad = next((name for name, ref in self.secret_env.items() if ref.count("/") != 1 or not all(ref.split("/"))), None)
        if bad is not None:
            raise ValueError(f"secret_env.{bad}: write the Secret and its key, e.g. postgres/password")
        return self

    @property
    def ours(self) -> bool:
        """Whether mcpwatch makes it."""
        return self.image is not None

    @property
    def kind(self) -> WorkloadKind:
        """What carries the member."""
        return "StatefulSet" if self.volume is not None or self.statefulset is not None else "Deployment"


def workload_name(member: str, spec: KubernetesSpec) -> str:
    """The name of the member's workload."""
    other = spec.deployment or spec.statefulset
    if other is not None:
        return other.rpartition("/")[2]
    return spec.name or f"mcp-{re.sub(r'[^a-z0-9]+', '-', member.lower()).strip('-')}"


def namespace_of(spec: KubernetesSpec) -> str | None:
    """The namespace that is written; `None`: that of the pod or the context."""
    other = spec.deployment or spec.statefulset
    if other is not None and "/" in other:
        return other.partition("/")[0]
    return spec.namespace


def carrier_of(spec: MemberSpec) -> KubernetesSpec:
    """What carries a member of this runtime. Raises `RuntimeFailed` for a member of another."""
    if not isinstance(spec.carrier, KubernetesSpec):
        raise RuntimeFailed(f"{spec.name}: not a workload of Kubernetes ({type(spec.carrier).__name__})", permanent=True)
    return spec.carrier


SHORTEST = 3.0
"""Seconds: a shorter lease would be lost to a slow answer."""


class LeaderSpec(KindSpec):
    """A Lease of Kubernetes decides which of several watchdogs acts. The others stand by, and take over without a restart."""

    lease: Place = Field(description="`namespace/name` of the Lease. Without a namespace: that of the pod, or of the context.")
    duration: Span = Field(15.0, description="How long a leader that says nothing more is waited for. At least 3s.")
    identity: str | None = Field(None, description="Our name in the Lease. Default: the host's name and a random part.")
    context: str | None = Field(
        None, description="Context of the kubeconfig. Default: in a pod its own cluster, else the current one."
    )
    kubeconfig: str | None = Field(None, description="The kubeconfig file. Default: `KUBECONFIG`, else `~/.kube/config`.")

    @field_validator("duration")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if value < SHORTEST:
            raise ValueError(f"is shorter than {SHORTEST:g}s: a slow answer of the cluster would cost the lead")
        return value


LEADER = ("leader", LeaderSpec)
