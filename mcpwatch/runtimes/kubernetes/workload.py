"""One member's workload on its cluster: read, applied, rolled, scaled and removed. Blocking.

Owns: whose a workload is, and the fence: every write names the resource version that was just read, and is refused to a watchdog
that leads no more. Must not know: what happens to the pods afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Fence
from mcpwatch.runtimes.kubernetes.api import ApiRefused, Cluster
from mcpwatch.runtimes.kubernetes.causes import refusal
from mcpwatch.runtimes.kubernetes.manifests import (
    FINGERPRINT,
    FLEET,
    GENERATION,
    MEMBER,
    TERM,
    Manifest,
    Marks,
    label,
    objects,
    restarted,
)
from mcpwatch.runtimes.kubernetes.raw import Object, collection, label_of, name_of, note_of, number, part, path_of, word
from mcpwatch.runtimes.kubernetes.spec import KubernetesSpec, WorkloadKind, workload_name

T = TypeVar("T")
TRIES = 8
"""Attempts at a write that others' writes came before."""
CONFLICT = 409


@dataclass(frozen=True, slots=True)
class FoundWorkload:
    """A workload as it is on the cluster."""

    raw: Object

    @property
    def version(self) -> str:
        """Its resource version."""
        return word(self.raw, "metadata", "resourceVersion")

    @property
    def replicas(self) -> int:
        """Pods that are wanted."""
        wanted = part(self.raw, "spec").get("replicas")
        return 1 if wanted is None else int(wanted)

    @property
    def selector(self) -> dict[str, str]:
        """The labels of its pods."""
        return dict(part(self.raw, "spec", "selector", "matchLabels"))

    def number(self, annotation: str) -> int:
        """A number among its annotations; 0 where there is none."""
        return number(note_of(self.raw, annotation))

    def word(self, annotation: str) -> str:
        """A text among its annotations."""
        return note_of(self.raw, annotation)

    def belongs(self, fleet: str, member: str) -> bool:
        """Whether it is this fleet's, for this member."""
        return label_of(self.raw, FLEET) == fleet and label_of(self.raw, MEMBER) == label(member)


@dataclass(frozen=True, slots=True)
class Workload:
    """A member's workload, by name. `fleet` marks what is ours."""

    cluster: Cluster
    namespace: str
    spec: MemberSpec
    carrier: KubernetesSpec
    fleet: str
    fence: Fence

    @property
    def kind(self) -> WorkloadKind:
        """Deployment or StatefulSet."""
        return self.carrier.kind

    @property
    def name(self) -> str:
        """Its name."""
        return workload_name(self.spec.name, self.carrier)

    @property
    def path(self) -> str:
        """Where it is."""
        return path_of(self.kind, self.namespace, self.name)

    def find(self) -> FoundWorkload | None:
        """As it is now, or `None`. Raises `RuntimeFailed`, also when it is somebody else's."""
        raw = self.cluster.get(self.path)
        if raw is None:
            return None
        found = FoundWorkload(raw)
        if self.carrier.ours and not found.belongs(self.fleet, self.spec.name):
            raise RuntimeFailed(
                f"{self.spec.name}: {self.kind} {self.namespace}/{self.name} is not ours; choose another with kubernetes.name,"
                f" or watch it with kubernetes.{self.kind.lower()}",
                permanent=True,
            )
        return found

    def apply(self, generation: int, *, anew: bool) -> int:
        """Have it as written, and its pods run; returns the generation that its pods carry.

        `anew`: with pods of this generation. Else what runs as written keeps its pods. Raises `RuntimeFailed`.
        """

        def write(found: FoundWorkload | None) -> int:
            fits = found is not None and found.word(FINGERPRINT) == self.spec.fingerprint and found.replicas > 0
            carried = found.number(GENERATION) if found is not None and fits and not anew else 0
            self._send(self._objects(carried or generation), found)
            return carried or generation

        return self._written(write)

    def roll(self, at: str) -> None:
        """Replace the pods of a workload of others, as `kubectl rollout restart` does."""

        def write(found: FoundWorkload | None) -> None:
            if found is None:
                raise RuntimeFailed(f"{self.spec.name}: there is no {self.kind} {self.namespace}/{self.name}", permanent=True)
            self.cluster.patch(self.path, _versioned(_termed(restarted(at), self.fence.term), found))

        self._written(write)

    def scale_down(self) -> None:
        """No pods any more; the rest stays as it is."""

        def write(found: FoundWorkload | None) -> None:
            if found is not None and found.replicas:
                made = self._objects(found.number(GENERATION))
                body = next(one for one in made if one["kind"] == self.kind)
                body["spec"]["replicas"] = 0
                self._send((body,), found)

        self._written(write)

    def stamp(self) -> None:
        """Write the present leader's term on it, so that a former leader's write finds another resource version and is refused."""

        def write(found: FoundWorkload | None) -> None:
            if found is None or found.number(TERM) >= self.fence.term:
                return
            self.cluster.patch(self.path, _versioned(_termed({}, self.fence.term), found))

        self._written(write)

    def remove(self) -> None:
        """Remove it and what was made for it; the claims of its volumes stay."""
        self._guard(self.find())
        for kind in (self.kind, "Service", "ConfigMap", "Secret"):
            path = path_of(kind, self.namespace, self.name)
            found = self.cluster.get(path)
            if found is not None and FoundWorkload(found).belongs(self.fleet, self.spec.name):
                self.cluster.delete(path)

    def _objects(self, generation: int) -> tuple[Manifest, ...]:
        spec = self.spec
        marks = Marks(self.fleet, spec.name, generation, spec.fingerprint, spec.stop_grace)
        return objects(self.carrier, marks)

    def _send(self, made: tuple[Manifest, ...], found: FoundWorkload | None) -> None:
        """Apply objects in order; the workload only if it is still as it was found."""
        for body in made:
            whole = _versioned(body, found) if body["kind"] == self.kind and found is not None else body
            self.cluster.apply(path_of(body["kind"], self.namespace, self.name), whole)

    def _written(self, write: Callable[[FoundWorkload | None], T]) -> T:
        """Read, see that we may, write; once more when somebody wrote in between."""
        last: ApiRefused | None = None
        for _ in range(TRIES):
            found = self.find()
            self._guard(found)
            try:
                return write(found)
            except ApiRefused as refused:
                if refused.status != CONFLICT or "conflict with" in refused.message.lower():
                    raise self._told(refused) from refused
                last = refused
        raise RuntimeFailed(f"{self.spec.name}: others change it all the time: {last}")

    def _guard(self, found: FoundWorkload | None) -> None:
        """Raise `RuntimeFailed` unless we lead, by the clock and by what a later leader wrote."""
        term = found.number(TERM) if found is not None else 0
        if not self.fence.holds() or term > self.fence.term > 0:
            raise RuntimeFailed(
                f"{self.spec.name}: not done, another watchdog leads this fleet (term {max(term, self.fence.term)})"
            )

    def _told(self, refused: ApiRefused) -> RuntimeFailed:
        """What the cluster refuses, with its cause."""
        if refused.status == CONFLICT:
            return RuntimeFailed(
                f"{self.spec.name}: somebody else manages a field that mcpwatch writes: {refused.message}", permanent=True
            )
        cause = refusal(refused.status, refused.message)
        return RuntimeFailed(f"{self.spec.name}: {cause or refused}", permanent=refused.status in {400, 401, 403, 422})


def sweep(beside: Workload, wanted: Collection[str]) -> None:
    """Remove the workloads of this fleet, in the namespace of `beside`, whose members are not wanted.

    What is refused stays, and so do the claims of volumes.
    """
    names = {label(name) for name in wanted}
    for kind in ("Deployment", "StatefulSet"):
        found: list[Object] = []
        with contextlib.suppress(RuntimeFailed):
            query = {"labelSelector": f"{FLEET}={beside.fleet}"}
            found, _ = beside.cluster.list(collection(kind, beside.namespace), query)
        for raw in found:
            if label_of(raw, MEMBER) not in names and beside.fence.holds():
                for other in (kind, "Service", "ConfigMap", "Secret"):
                    with contextlib.suppress(RuntimeFailed):
                        beside.cluster.delete(path_of(other, beside.namespace, name_of(raw)))


def _versioned(body: Manifest, found: FoundWorkload | None) -> Manifest:
    """The same, to be refused unless the object is still as found."""
    if found is None or not found.version:
        return body
    return {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": found.version}}


def _termed(body: Manifest, term: int) -> Manifest:
    if not term:
        return body
    return {**body, "metadata": {**body.get("metadata", {}), "annotations": {TERM: str(term)}}}
