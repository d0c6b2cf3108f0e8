"""Removing what is ours on a cluster and no member's any more. Blocking.

Owns: what counts as left over. Must not know: why a member left the configuration. The claims of volumes stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.runtimes.kubernetes.manifests import FLEET, MEMBER, label
from mcpwatch.runtimes.kubernetes.paths import collection, path_of
from mcpwatch.runtimes.kubernetes.raw import Object, label_of, name_of
from mcpwatch.runtimes.kubernetes.workload import Workload


def sweep(beside: Workload, wanted: Collection[str]) -> None:
    """Remove the workloads of this fleet, in the namespace of `beside`, whose members are not wanted. What is refused stays."""
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
