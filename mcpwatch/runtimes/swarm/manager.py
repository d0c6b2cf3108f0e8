"""What mcpwatch asks of a swarm's manager beside one engine: services, tasks, nodes, logs. Blocking; called from threads only.

Owns: the calls and whose service is whose. Must not know: members' lives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.engine import Engine
from mcpwatch.runtimes.docker.launch import env_files
from mcpwatch.runtimes.docker.logs import LogStream
from mcpwatch.runtimes.docker.options import LABEL_INSTANCE, Labels, read_labels
from mcpwatch.runtimes.swarm.service import Kept, endpoint, kept_file, kept_name, task_template
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name
from mcpwatch.runtimes.swarm.task import Node, Task, latest, read_node, read_task

PLACED_LABEL = "mcpwatch.placement"
"""On services whose node the swarm chooses: `any`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """One service of ours."""

    id: str
    name: str
    labels: Labels
    anywhere: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """What a manager told in one look: the newest task of each service (by the service's id), and every node."""

    tasks: Mapping[str, Task]
    nodes: Mapping[str, Node]


def manager_node(engine: Engine) -> str:
    """The node that this engine is. Raises `RuntimeFailed` when it is no manager of a swarm."""
    with engine.calling("ask for its swarm") as api:
        swarm: dict[str, Any] = api.info().get("Swarm") or {}
    if swarm.get("LocalNodeState") != "active" or not swarm.get("ControlAvailable"):
        raise RuntimeFailed(f"{engine.where} is no manager of a swarm; make it one with docker swarm init, or use docker: instead")
    return str(swarm["NodeID"])


def find_service(engine: Engine, name: str) -> dict[str, Any] | None:
    """The service of exactly that name, or `None`."""
    with engine.calling(f"look for service {name}") as api:
        found = cast("list[dict[str, Any]]", api.services(filters={"name": name}))
    return next((one for one in found if one["Spec"]["Name"] == name), None)


def remove_service(engine: Engine, name: str) -> None:
    """Remove a service; the swarm ends its task. A missing one is no error."""
    found = find_service(engine, name)
    if found is None:
        return
    try:
        with engine.calling(f"remove service {name}") as api:
            api.remove_service(found["ID"])
    except RuntimeFailed:
        if find_service(engine, name) is not None:
            raise


def create_service(engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec, generation: int, node: str) -> Service:
    """Create the member's service in place of its last one. `node` is empty where the swarm chooses.

    Raises `RuntimeFailed` when the name is taken, or a secret or config is missing.
    """
    name, anywhere = service_name(spec.name, carrier), not node
    found = find_service(engine, name)
    if found is not None:
        labels = read_labels(found["Spec"].get("Labels") or {})
        if labels is None or labels.instance != instance or labels.member != spec.name:
            raise RuntimeFailed(f"{spec.name}: service {name!r} is not ours; choose another with swarm.name", permanent=True)
        remove_service(engine, name)
    for network in carrier.networks:
        engine.ensure_network(network, instance, "overlay")
    labels = Labels(instance, spec.name, generation, spec.fingerprint)
    template = task_template(
        carrier,
        node=node,
        labels=None if anywhere else labels,
        environment={**env_files(spec.name, carrier.env_file), **carrier.environment},
        grace=spec.stop_grace,
        secrets=_kept(engine, "secret", carrier.secrets, ""),
        configs=_kept(engine, "config", carrier.configs, "/"),
    )
    with engine.calling(f"create service {name}") as api:
        made = api.create_service(
            template,
            name=name,
            labels={**labels.written(), **({PLACED_LABEL: "any"} if anywhere else {})},
            mode={"Replicated": {"Replicas": 1}},
            endpoint_spec=endpoint(carrier),
        )
    return Service(str(made["ID"]), name, labels, anywhere)


def empty_service(engine: Engine, name: str) -> str | None:
    """Ask the swarm to end the task of a service and to keep the service; returns its id, `None` when there is none."""
    found = find_service(engine, name)
    if found is None:
        return None
    with engine.calling(f"stop service {name}") as api:
        mode = {"Replicated": {"Replicas": 0}}
        api.update_service(found["ID"], version=found["Version"]["Index"], mode=mode, fetch_current_spec=True)
    return str(found["ID"])


def our_services(engine: Engine, instance: str) -> list[Service]:
    """Every service of this instance of mcpwatch."""
    with engine.calling("list services") as api:
        found = cast("list[dict[str, Any]]", api.services(filters={"label": f"{LABEL_INSTANCE}={instance}"}))
    services: list[Service] = []
    for raw in found:
        written: dict[str, str] = raw["Spec"].get("Labels") or {}
        labels = read_labels(written)
        if labels is not None:
            services.append(Service(str(raw["ID"]), str(raw["Spec"]["Name"]), labels, written.get(PLACED_LABEL) == "any"))
    return services


def look(engine: Engine, services: Sequence[str]) -> Sight:
    """The newest task of each service (by the service's id) and all nodes, in three calls."""
    with engine.calling("look at its tasks") as api:
        there = {str(raw["ID"]) for raw in api.services()} if services else set[str]()
        known = [service for service in services if service in there]  # for one that is gone an engine refuses all
        tasks = cast("list[dict[str, Any]]", api.tasks(filters={"service": known})) if known else []
        nodes = {node.id: node for node in map(read_node, cast("list[dict[str, Any]]", api.nodes()))}
    by_service: dict[str, list[Task]] = {}
    for task in map(read_task, tasks):
        by_service.setdefault(task.service, []).append(task)
    return Sight({service: newest for service, among in by_service.items() if (newest := latest(among))}, nodes)


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceLog:
    """The log of a service, wherever its task runs, as a follower of logs wants it. `running` is asked after a stream ended."""

    engine: Engine

    def logs(self, container: str, stream: str, since: float | None) -> LogStream:
        """Stamped output of one stream of service `container` from `since` on, until the service is removed."""
        with self.engine.calling(f"read the log of service {container}") as api:
            return cast(
                "LogStream",
                api.service_logs(
                    container,
                    stdout=stream == "stdout",
                    stderr=stream == "stderr",
                    follow=True,
                    timestamps=True,
                    since=int(since or 0),
                ),
            )

    def runs(self, container: str) -> bool:
        """Whether the service still has a task that may write."""
        found = find_service(self.engine, container)
        task = look(self.engine, (str(found["ID"]),)).tasks.get(str(found["ID"])) if found else None
        return task is not None and not task.over


def _kept(engine: Engine, kind: str, references: Sequence[str], root: str) -> list[Kept]:
    """The secrets or configs of the swarm that are meant. Raises `RuntimeFailed` for one that it has not."""
    if not references:
        return []
    with engine.calling(f"look for {kind}s") as api:
        known = {str(raw["Spec"]["Name"]): str(raw["ID"]) for raw in (api.secrets() if kind == "secret" else api.configs())}
    missing = sorted({kept_name(reference) for reference in references} - known.keys())
    if missing:
        words = f"the swarm has no {kind} {missing[0]!r}; make it: docker {kind} create {missing[0]} FILE"
        raise RuntimeFailed(words, permanent=True)
    return [Kept(known[kept_name(one)], kept_name(one), kept_file(one, root)) for one in references]
