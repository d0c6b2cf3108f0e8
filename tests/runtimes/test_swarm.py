"""The swarm runtime on a real swarm of one node: one service of one task per member, adopted, ended, named."""

from __future__ import annotations

import asyncio
import fcntl
import json
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.docker.options import Labels
from mcpwatch.runtimes.docker.runtime import DockerRuntime
from mcpwatch.runtimes.swarm.own_task import VARIABLE
from mcpwatch.runtimes.swarm.runtime import SwarmRuntime
from mcpwatch.runtimes.swarm.service import endpoint, task_template
from mcpwatch.runtimes.swarm.spec import SwarmSpec, service_name
from tests.e2e.daemon import free_port
from tests.parts import ROOT
from tests.runtimes.docker_lab import FOREVER, IMAGE, Lab, docker, holds, laboratory
from tests.runtimes.swarm_lab import until


@pytest.fixture(scope="module")
def alone() -> Generator[None]:
    """Nobody else makes a swarm of this engine meanwhile, whichever process runs the test."""
    with (Path(tempfile.gettempdir()) / "mcpwatch-tests-swarm.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def swarm(alone: None) -> Generator[None]:
    """This engine as a swarm of its own, on loopback, for the time of this file."""
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{free_port()}")
    try:
        deadline = time.monotonic() + 60
        while docker("info", "-f", "{{.Swarm.ControlAvailable}}") != "true":
            assert time.monotonic() < deadline, "the swarm never came up"
        yield
    finally:
        docker("swarm", "leave", "--force")
        docker("network", "rm", "-f", "docker_gwbridge")


def spec(lab: Lab, name: str = "one", *, fingerprint: str = "f1", direct: Target | None = None, **swarm: Any) -> MemberSpec:
    written = {"image": IMAGE, "name": f"{name}-{lab.instance}", "command": ["python3", "-c", FOREVER], **swarm}
    return MemberSpec(name, "server", "swarm", SwarmSpec.model_validate(written), fingerprint, direct, stop_grace=2.0)


def services(lab: Lab) -> list[str]:
    return docker("service", "ls", "-q", "--filter", f"label=mcpwatch.instance={lab.instance}").split()


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ({"command": "x"}, "write image; a swarm builds nothing"),
        ({"image": "a", "ports": ["8080"]}, "a swarm publishes on every address; say so"),
        ({"image": "a", "ports": ["127.0.0.1:80:80"]}, "a swarm publishes on every address; say so"),
        ({"image": "a", "networks": "host"}, "joins overlay networks"),
        ({"image": "a", "container": "pg"}, "Extra inputs"),
    ],
)
def test_what_a_swarm_cannot_do_is_refused(written: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SwarmSpec.model_validate(written)
    assert fault in str(refusal.value)


def test_the_fleet_that_is_deployed_to_a_swarm_is_one_and_meets_its_members_on_the_network_of_the_stack() -> None:
    home = ROOT / "deploy" / "swarm"
    member = yaml.safe_load((home / "mcpwatch.yaml").read_text(encoding="utf-8"))["members"]["search"]
    stack = yaml.safe_load((home / "stack.yaml").read_text(encoding="utf-8"))
    written = SwarmSpec.model_validate(member["swarm"])
    assert list(written.networks) == [one["name"] for one in stack["networks"].values()]
    assert written.placement == "any"
    assert f"//tasks.{service_name('search', written)}:" in member["url"]
    watchdog = stack["services"]["mcpwatch"]
    assert watchdog["stop_signal"] == "SIGQUIT"
    assert watchdog["environment"][VARIABLE] == "{{.Task.ID}}"
    assert "{{.Service.Name}}" in watchdog["environment"]["MCPWATCH_STATE_DIR"], "two stacks would end each other's members"


def test_a_service_is_described_as_the_engine_wants_it(tmp_path: Path) -> None:
    written = SwarmSpec.model_validate(
        {
            "image": "a", "command": ["serve"], "ports": ["0.0.0.0:9072:8080"], "memory": "64m", "cpus": 0.5, "networks": ["net"],
            "volumes": [f"{tmp_path}:/data:ro"], "healthcheck": {"test": ["CMD", "true"], "start_period": "5s"},
            "extra_hosts": ["db:10.0.0.7"], "constraints": ["node.labels.disk==ssd"],
        }
    )  # fmt: skip
    made = task_template(written, node="n1", labels=Labels("i", "one", 3, "f"), environment={"A": "b"})
    container = made["ContainerSpec"]
    assert made["RestartPolicy"] == {"Condition": "none"}
    assert made["Placement"] == {"Constraints": ["node.id==n1", "node.labels.disk==ssd"]}
    assert made["Resources"]["Limits"] == {"NanoCPUs": 500_000_000, "MemoryBytes": 64 * 1024**2}
    assert (container["Args"], container["Env"], container["Hosts"]) == (["serve"], ["A=b"], ["10.0.0.7 db"])
    assert container["Healthcheck"]["StartPeriod"] == 5_000_000_000
    assert container["Mounts"][0]["ReadOnly"] is True
    assert endpoint(written)["Ports"] == [{"Protocol": "tcp", "TargetPort": 8080, "PublishedPort": 9072, "PublishMode": "host"}]


@pytest.mark.anyio
@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.xdist_group("swarm")
async def test_an_engine_that_is_no_swarm_is_named(tmp_path: Path, alone: None) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        with pytest.raises(RuntimeFailed, match=r"is no manager of a swarm; make it one with docker swarm init"):
            await lab.runtime.start(spec(lab), 1)


def on_a_swarm(test: Any) -> Any:
    """A test that needs a real swarm."""
    marks = (
        pytest.mark.anyio,
        pytest.mark.needs("docker"),
        pytest.mark.slow,
        pytest.mark.alone,
        pytest.mark.timeout(180),
        pytest.mark.xdist_group("swarm"),
    )
    for mark in (*marks, pytest.mark.usefixtures("swarm")):
        test = mark(test)
    return test


@on_a_swarm
async def test_a_member_is_a_service_of_one_task_whose_output_and_end_are_known(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        port = free_port()
        one = spec(lab, ports=[f"0.0.0.0:{port}:8000"], memory="64m", direct=Target(f"http://one-{lab.instance}:8000/sse"))
        born = await lab.runtime.start(one, 3)
        (raw,) = json.loads(docker("service", "inspect", f"one-{lab.instance}"))
        assert raw["Spec"]["TaskTemplate"]["RestartPolicy"]["Condition"] == "none"
        assert raw["Spec"]["Labels"]["mcpwatch.generation"] == "3"
        (container,) = json.loads(docker("inspect", born.container or ""))
        assert container["HostConfig"]["Memory"] == 64 * 1024**2
        assert born.pid == container["State"]["Pid"]
        await holds(tmp_path / "logs" / "one" / "stdout.log", lambda text: "up" in text)
        docker("kill", born.container or "")
        ended = await lab.exited()
        assert (ended.generation, ended.signal) == (3, 9)
        again = await lab.runtime.start(one, 4)
        assert again.container != born.container
        await lab.runtime.stop(one, 1)
        assert services(lab) == []
        assert docker("ps", "-aq", "--no-trunc", "--filter", f"id={again.container}") == ""


@on_a_swarm
async def test_the_next_watchdog_adopts_by_label_and_the_docker_runtime_leaves_it_alone(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one, two = spec(lab), spec(lab, "two")
        born = await lab.runtime.start(one, 1)
        await lab.runtime.start(two, 1)
        await lab.runtime.close()
        docker_runtime = DockerRuntime(tmp_path, lab.instance)
        assert await docker_runtime.owned((lab.spec("other"),)) == ()
        await docker_runtime.close()
        lab.runtime = SwarmRuntime(tmp_path, lab.instance)
        (adopted,) = await lab.runtime.owned((one,))
        assert (adopted.container, adopted.generation, adopted.fingerprint) == (born.container, 1, "f1")
        assert len(services(lab)) == 1
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(lab.listen(lab.runtime))
            docker("kill", born.container or "")
            assert (await lab.exited()).generation == 1
            listening.cancel()
        await lab.runtime.stop(one, 1)
        assert services(lab) == []


@on_a_swarm
@pytest.mark.parametrize("placement", ["here", "any"])
async def test_what_runs_and_could_not_be_looked_for_is_taken_over_by_the_start_and_not_replaced(
    tmp_path: Path, placement: str
) -> None:
    """Managers that do not answer while a watchdog begins: it knows of nothing that lives, and starts its members later."""
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, placement=placement)
        born = await lab.runtime.start(one, 1)
        await lab.runtime.close()
        lab.runtime = SwarmRuntime(tmp_path, lab.instance)
        again = await lab.runtime.start(one, 2)
        assert (again.container, again.generation) == (born.container, 2)
        changed = await lab.runtime.start(spec(lab, placement=placement, fingerprint="f2"), 3)
        assert changed.container != born.container


@on_a_swarm
async def test_a_watchdog_whose_own_task_the_swarm_has_replaced_acts_on_nothing(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        name = f"watchdog-{lab.instance}"
        docker("service", "create", "--detach", "--name", name, "--no-resolve-image", IMAGE, "sleep", "600")
        try:
            (own,) = docker("service", "ps", "-q", "--no-trunc", name).split()
            lab.runtime = SwarmRuntime(tmp_path, lab.instance, {VARIABLE: own})
            one, two = spec(lab), spec(lab, "two")
            born = await lab.runtime.start(one, 1)
            docker("service", "update", "--detach", "--force", "--no-resolve-image", name)
            state = ("inspect", "-f", "{{.DesiredState}}", "--type", "task", own)
            await asyncio.to_thread(until, "its task is to end", lambda: docker(*state) == "shutdown")
            for act in (lab.runtime.stop(one, 1), lab.runtime.release(one), lab.runtime.start(two, 1), lab.runtime.resume(one)):
                with pytest.raises(RuntimeFailed, match="the swarm has replaced the task of this watchdog"):
                    await act
            assert docker("inspect", "-f", "{{.State.Running}}", born.container or "") == "true"
            assert len(services(lab)) == 1
        finally:
            docker("service", "rm", name)


@on_a_swarm
async def test_running_out_of_memory_is_named(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        eat = "import time; time.sleep(0.3); x = bytearray(10**9); print(len(x))"
        await lab.runtime.start(spec(lab, command=["python3", "-c", eat], memory="48m"), 1)
        assert (await lab.exited()).oom


@on_a_swarm
async def test_a_service_of_somebody_else_is_left_alone_and_a_task_that_cannot_run_says_why(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        name = f"one-{lab.instance}"
        docker("service", "create", "--detach", "--name", name, "--no-resolve-image", IMAGE, "sleep", "600")
        try:
            with pytest.raises(RuntimeFailed, match=r"is not ours; choose another with swarm\.name") as failed:
                await lab.runtime.start(spec(lab), 1)
            assert failed.value.permanent
        finally:
            docker("service", "rm", name)
        with pytest.raises(RuntimeFailed, match=r"the swarm does not run service .*no-such-program"):
            await lab.runtime.start(spec(lab, "two", command=["no-such-program"], init=False), 1)
        assert services(lab) == []
