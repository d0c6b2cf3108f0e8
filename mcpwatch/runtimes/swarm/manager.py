"""What mcpwatch asks of a swarm's manager beside one engine: services, tasks, nodes, logs. Blocking; called from threads only.

Owns: the calls and whose service is whose. Must not know: members' lives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.engine import Engine
from mcpwatch.runtimes.docker.launch import env_files
from mcpwatch.runtimes.docker.logs import LogStream
from mcpwatch.runtimes.docker.options import LABEL_INSTANCE, Labels, read_labels
from mcpwatch.runtimes.docker.refusal import line
from mcpwatch.runtimes.swarm.service import SwarmFile, endpoint, kept_file, kept_name, probe, rolling_back, task_template, updating
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name
from mcpwatch.runtimes.swarm.task import SwarmNode, Task, ended, latest, read_node, read_task

Raw: TypeAlias = dict[str, Any]
"""An object as a manager tells of it."""
PLACED_LABEL = "mcpwatch.placement"
"""On services whose node the swarm chooses: who starts ended tasks again, `any` (mcpwatch) or `replicas` (the swarm)."""
Placement = Literal["here", "any", "replicas"]


@dataclasses.dataclass(frozen=True, slots=True)
class SwarmService:
    """One service of ours."""

    id: str
    name: str
    labels: Labels
    placement: Placement
    replicas: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class ManagerView:
    """What a manager told in one look: tasks and last update of each service (by the service's id), and every node."""

    every: Mapping[str, tuple[Task, ...]]
    nodes: Mapping[str, SwarmNode]
    updates: Mapping[str, Update] = dataclasses.field(default_factory=dict[str, "Update"])

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The newest task of each service."""
        return {service: newest for service, among in self.every.items() if (newest := latest(among))}


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """How the last update of a service went: `updating`, `completed`, `paused`, `rollback_started` and the like."""

    state: str = ""
    words: str = ""


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


def create_service(engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec, generation: int, node: str) -> SwarmService:
    """Create the member's service in place of its last one. `node` is empty where the swarm chooses.

    Raises `RuntimeFailed` when the name is taken, or a secret or config is missing.
    """
    name = service_name(spec.name, carrier)
    if our_service(engine, instance, spec, carrier) is not None:
        remove_service(engine, name)
    words = _described(engine, instance, spec, carrier, generation, node)
    with engine.calling(f"create service {name}") as api:
        made = api.create_service(**words)
    labels = Labels(instance, spec.name, generation, spec.fingerprint)
    return SwarmService(str(made["ID"]), name, labels, _placement(carrier), carrier.replicas or 1)


def update_service(
    engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec, generation: int, found: Raw
) -> SwarmService:
    """Have a service of ours as it is written now: its tasks are replaced one after the other. Raises `RuntimeFailed`."""
    words = _described(engine, instance, spec, carrier, generation, "")
    with engine.calling(f"update service {words['name']}") as api:
        api.update_service(found["ID"], version=found["Version"]["Index"], **words)
    labels = Labels(instance, spec.name, generation, spec.fingerprint)
    return SwarmService(str(found["ID"]), str(words["name"]), labels, _placement(carrier), carrier.replicas or 1)


def our_service(engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec) -> Raw | None:
    """The member's service as the manager tells of it, or `None`. Raises `RuntimeFailed` when the name is taken."""
    name = service_name(spec.name, carrier)
    found = find_service(engine, name)
    if found is not None:
        labels = read_labels(found["Spec"].get("Labels") or {})
        if labels is None or labels.instance != instance or labels.member != spec.name:
            raise RuntimeFailed(f"{spec.name}: service {name!r} is not ours; choose another with swarm.name", permanent=True)
    return found


def running_service(
    engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec
) -> tuple[SwarmService, Task, ManagerView] | None:
    """The member's service where it is as written and its task runs: it was never looked at, and is taken over as it is."""
    found = our_service(engine, instance, spec, carrier)
    service = as_written(found, spec, carrier) if found else None
    if service is None:
        return None
    sight = look(engine, (service.id,))
    task = sight.tasks.get(service.id)
    if task is None or (task.state, task.desired) != ("running", "running") or ended(task, sight.nodes) is not None:
        return None
    return service, task, sight


def _placement(carrier: SwarmSpec) -> Placement:
    if carrier.placement == "here":
        return "here"
    return "any" if carrier.replicas is None else "replicas"


def _described(engine: Engine, instance: str, spec: MemberSpec, carrier: SwarmSpec, generation: int, node: str) -> Raw:
    """The service as the SDK takes it. Raises `RuntimeFailed` when a network, secret or config cannot be had."""
    for network in carrier.networks:
        engine.ensure_network(network, instance, "overlay")
    labels, placement = Labels(instance, spec.name, generation, spec.fingerprint), _placement(carrier)
    template = task_template(
        carrier,
        node=node,
        labels=labels if placement == "here" else None,
        environment={**env_files(spec.name, carrier.env_file), **carrier.environment},
        grace=spec.stop_grace,
        secrets=_kept(engine, "secret", carrier.secrets, ""),
        configs=_kept(engine, "config", carrier.configs, "/"),
        check=probe(carrier, spec.direct.url if spec.direct else "", spec.start_grace),
    )
    words: Raw = {
        "task_template": template,
        "name": service_name(spec.name, carrier),
        "labels": {**labels.written(), **({PLACED_LABEL: placement} if placement != "here" else {})},
        "mode": {"Replicated": {"Replicas": carrier.replicas or 1}},
        "endpoint_spec": endpoint(carrier),
    }
    if placement == "replicas":
        template["ForceUpdate"] = generation
        words |= {"update_config": updating(), "rollback_config": rolling_back()}
    return words


def empty_service(engine: Engine, name: str) -> str | None:
    """Ask the swarm to end the task of a service and to keep the service; returns its id, `None` when there is none."""
    found = find_service(engine, name)
    if found is None:
        return None
    with engine.calling(f"stop service {name}") as api:
        mode = {"Replicated": {"Replicas": 0}}
        api.update_service(found["ID"], version=found["Version"]["Index"], mode=mode, fetch_current_spec=True)
    return str(found["ID"])


def our_services(engine: Engine, instance: str) -> list[SwarmService]:
    """Every service of this instance of mcpwatch."""
    with engine.calling("list services") as api:
        found = cast("list[dict[str, Any]]", api.services(filters={"label": f"{LABEL_INSTANCE}={instance}"}))
    services: list[SwarmService] = []
    for raw in found:
        written: dict[str, str] = raw["Spec"].get("Labels") or {}
        labels = read_labels(written)
        if labels is not None:
            placement = _read_placement(written.get(PLACED_LABEL, ""))
            services.append(SwarmService(str(raw["ID"]), str(raw["Spec"]["Name"]), labels, placement, wanted_tasks(raw)))
    return services


def _read_placement(word: str) -> Placement:
    return "any" if word == "any" else "replicas" if word == "replicas" else "here"


def as_written(found: Raw, spec: MemberSpec, carrier: SwarmSpec) -> SwarmService | None:
    """A service of ours, where it is what is written now."""
    labels, wanted = read_labels(found["Spec"].get("Labels") or {}), wanted_tasks(found)
    if labels is None or labels.fingerprint != spec.fingerprint or wanted != (carrier.replicas or 1):
        return None
    return SwarmService(str(found["ID"]), str(found["Spec"]["Name"]), labels, _placement(carrier), wanted)


def wanted_tasks(raw: Raw) -> int:
    """How many tasks a service shall have."""
    mode: Raw = raw["Spec"].get("Mode") or {}
    replicated: Raw = mode.get("Replicated") or {}
    return int(replicated.get("Replicas") or 0)


def look(engine: Engine, services: Sequence[str]) -> ManagerView:
    """The tasks of each service (by the service's id) and all nodes, in three calls."""
    with engine.calling("look at its tasks") as api:
        there: dict[str, Raw] = {str(raw["ID"]): raw for raw in api.services()} if services else {}
        known = [service for service in services if service in there]  # for one that is gone an engine refuses all
        tasks = cast("list[Raw]", api.tasks(filters={"service": known})) if known else []
        nodes = {node.id: node for node in map(read_node, cast("list[Raw]", api.nodes()))}
    by_service: dict[str, list[Task]] = {}
    for task in map(read_task, tasks):
        by_service.setdefault(task.service, []).append(task)
    return ManagerView(
        {service: tuple(among) for service, among in by_service.items()}, nodes, {one: _update(there[one]) for one in known}
    )


def _update(raw: Raw) -> Update:
    told: Raw = raw.get("UpdateStatus") or {}
    return Update(str(told.get("State") or ""), line(told.get("Message") or ""))


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceLog:
    """The log of a service, wherever its task runs, as a follower of logs wants it. `runs` is asked after a stream ended.

    `lasting`: the swarm goes on with other tasks after one ended.
    """

    engine: Engine
    lasting: bool = False

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
        if self.lasting:
            return found is not None
        task = look(self.engine, (str(found["ID"]),)).tasks.get(str(found["ID"])) if found else None
        return task is not None and not task.over


def _kept(engine: Engine, kind: str, references: Sequence[str], root: str) -> list[SwarmFile]:
    """The secrets or configs of the swarm that are meant. Raises `RuntimeFailed` for one that it has not."""
    if not references:
        return []
    with engine.calling(f"look for {kind}s") as api:
        known = {str(raw["Spec"]["Name"]): str(raw["ID"]) for raw in (api.secrets() if kind == "secret" else api.configs())}
    missing = sorted({kept_name(reference) for reference in references} - known.keys())
    if missing:
        words = f"the swarm has no {kind} {missing[0]!r}; make it: docker {kind} create {missing[0]} FILE"
        raise RuntimeFailed(words, permanent=True)
    return [SwarmFile(known[kept_name(one)], kept_name(one), kept_file(one, root)) for one in references]
