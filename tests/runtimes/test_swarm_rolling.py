"""Services whose tasks the swarm keeps, on a real swarm of one node: updates proved by MCP, returns, causes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import RuntimeFailed
from mcpwatch.model.incarnation import Appeared, Exited, Hindered, RuntimeEvent
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Replacing, Sharing
from mcpwatch.runtimes.docker.container import nanoseconds
from mcpwatch.runtimes.swarm.runtime import SwarmRuntime
from mcpwatch.runtimes.swarm.spec import SwarmSpec
from tests.runtimes.docker_lab import IMAGE, Lab, docker, holds, laboratory
from tests.runtimes.swarm_lab import until
from tests.runtimes.test_swarm import alone, on_a_swarm, services, swarm

__all__ = ["alone", "swarm"]
"""Fixtures of this file too."""

BOUND = 120.0
SERVE = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': {'protocolVersion': '2025-06-18'}}).encode()
        self.send_response(STATUS)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
print('up', flush=True)
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""
GOOD, BAD = SERVE.replace("STATUS", "200"), SERVE.replace("STATUS", "500")
PROBE = {"kind": "python3", "interval": "1s", "timeout": "10s", "failure_threshold": 2}


def spec(lab: Lab, code: str = GOOD, *, fingerprint: str = "f1", start_grace: float = 90.0, **swarm: Any) -> MemberSpec:
    written = {"image": IMAGE, "name": f"one-{lab.instance}", "command": ["python3", "-c", code], "placement": "any", **swarm}
    direct = Target(f"http://one-{lab.instance}:8000/mcp")
    carrier = SwarmSpec.model_validate(written)
    return MemberSpec("one", "server", "swarm", carrier, fingerprint, direct, stop_grace=2.0, start_grace=start_grace)


async def release(lab: Lab, one: MemberSpec) -> None:
    assert isinstance(lab.runtime, Replacing)
    await lab.runtime.release(one)


async def heard(lab: Lab, *kinds: type[RuntimeEvent]) -> Any:
    """The next event of these kinds."""
    async with asyncio.timeout(BOUND):
        while True:
            event = await lab.heard.get()
            if isinstance(event, kinds):
                return event


def inspected(container: str | None) -> dict[str, Any]:
    (raw,) = json.loads(docker("inspect", container or ""))
    return raw


def version(lab: Lab) -> int:
    """How often the service was written."""
    return json.loads(docker("service", "inspect", f"one-{lab.instance}"))[0]["Version"]["Index"]


@on_a_swarm
async def test_a_restart_is_an_update_in_which_the_old_task_goes_when_the_new_one_was_proved_by_mcp(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, replicas=1, probe=PROBE)
        assert isinstance(lab.runtime, Sharing)
        assert lab.runtime.supervises(one) == "theirs"
        first = await lab.runtime.start(one, 1)
        await release(lab, one)
        assert inspected(first.container)["State"]["Running"]
        second = await lab.runtime.start(one, 2)
        assert second.container != first.container
        proofs = [nanoseconds(run["End"].replace("+00:00", "Z")) for run in healthy(second.container)]
        await asyncio.to_thread(docker, "wait", first.container or "")
        assert proofs
        assert nanoseconds(inspected(first.container)["State"]["FinishedAt"]) > min(proofs)
        await holds(tmp_path / "logs" / "one" / "stdout.log", lambda text: text.count("up") == 2)
        await lab.runtime.stop(one, 2)
        assert services(lab) == []


def healthy(container: str | None) -> list[dict[str, Any]]:
    return [run for run in inspected(container)["State"]["Health"]["Log"] if run["ExitCode"] == 0]


@on_a_swarm
async def test_a_new_version_that_is_not_proved_is_rolled_back_named_and_the_old_one_serves_on(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, replicas=1, probe=PROBE)
        first = await lab.runtime.start(one, 1)
        await release(lab, one)
        bad = spec(lab, BAD, fingerprint="f2", start_grace=40.0, replicas=1, probe=PROBE)
        with pytest.raises(RuntimeFailed) as failed:  # by the swarm's word, or because its word came late
            await lab.runtime.start(bad, 2)
        assert failed.value.permanent
        back, named = None, None
        while back is None or named is None:
            event = await heard(lab, Appeared, Hindered)
            if isinstance(event, Appeared):
                back = event
            elif event.cause == "rolled_back":
                named = event
        assert back.container == first.container
        assert named.text.startswith("the swarm went back to the version before: its task on node ")
        assert inspected(first.container)["State"]["Running"]
        await lab.runtime.stop(bad, 2)


@on_a_swarm
async def test_the_swarm_brings_a_task_back_and_its_end_and_return_are_told(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, replicas=1)
        first = await lab.runtime.start(one, 4)
        written = version(lab)
        docker("kill", "-s", "USR1", first.container or "")
        ended: Exited = await heard(lab, Exited)
        assert (ended.generation, ended.signal) == (4, 10)
        back: Appeared = await heard(lab, Appeared)
        assert back.container not in (None, first.container)
        assert version(lab) == written
        await lab.runtime.stop(one, 2)


@on_a_swarm
async def test_one_of_two_replicas_may_end_and_the_next_watchdog_adopts_both_untouched(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, replicas=2)
        born = await lab.runtime.start(one, 3)
        await until_running(lab, 2)
        other = next(name for name in running(lab) if name != born.container)
        docker("kill", other)
        await until_running(lab, 2, without=other)
        written = version(lab)
        assert not any(isinstance(event, Exited | Appeared) for event in drained(lab))
        await lab.runtime.close()
        lab.runtime = SwarmRuntime(tmp_path, lab.instance)
        (adopted,) = await lab.runtime.owned((one,))
        assert (adopted.container, adopted.generation, adopted.fingerprint) == (born.container, 3, "f1")
        assert version(lab) == written
        await lab.runtime.stop(one, 2)
        assert services(lab) == []


def running(lab: Lab) -> list[str]:
    return docker("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name=one-{lab.instance}").split()


async def until_running(lab: Lab, count: int, without: str = "-") -> None:
    def settled() -> bool:
        found = running(lab)
        return len(found) == count and without not in found

    await asyncio.to_thread(until, f"{count} tasks run", settled)


def drained(lab: Lab) -> list[RuntimeEvent]:
    return [lab.heard.get_nowait() for _ in range(lab.heard.qsize())]


@on_a_swarm
async def test_a_crash_loop_is_named_and_left_to_the_swarm(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, "import sys; sys.exit(3)", replicas=1)
        with contextlib.suppress(RuntimeFailed):  # by chance it is seen running, or not
            await lab.runtime.start(one, 1)
        hindered: Hindered = await heard(lab, Hindered)
        assert hindered.cause == "crash_loop"
        assert hindered.text.startswith("0 of 1 tasks run: its tasks end again and again (exit code 3")
        assert len(services(lab)) == 1
        await lab.runtime.stop(one, 2)
        assert services(lab) == []


@on_a_swarm
async def test_an_end_for_too_much_memory_is_named_where_its_engine_can_be_asked(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        eat = "import time; time.sleep(3); x = bytearray(10**9); print(len(x))"
        await lab.runtime.start(spec(lab, eat, memory="48m"), 1)
        ended: Exited = await heard(lab, Exited)
        assert (ended.oom, ended.signal) == (True, 9)


@on_a_swarm
async def test_what_was_placed_and_is_in_no_plan_any_more_is_swept(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        await lab.runtime.start(spec(lab), 1)
        kept = spec(lab, replicas=1, name=f"two-{lab.instance}")
        two = MemberSpec("two", "server", "swarm", kept.carrier, "f1", kept.direct, stop_grace=2.0)
        await lab.runtime.start(two, 1)
        assert len(services(lab)) == 2
        await lab.runtime.close()
        lab.runtime = SwarmRuntime(tmp_path, lab.instance)
        assert await lab.runtime.owned(()) == ()
        assert services(lab) == []


@on_a_swarm
async def test_secrets_and_configs_are_files_of_every_replica_and_no_variable(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        (tmp_path / "word").write_text("sesame")
        name = f"word-{lab.instance}"
        for kind in ("secret", "config"):
            docker(kind, "create", name, str(tmp_path / "word"))
        try:
            code = "import time; print(open('/run/secrets/a').read(), open('/b').read(), flush=True); time.sleep(600)"
            one = spec(lab, code, replicas=2, secrets=[f"{name}:a"], configs=[f"{name}:/b"])
            await lab.runtime.start(one, 1)
            await holds(tmp_path / "logs" / "one" / "stdout.log", lambda text: text.count("sesame sesame") == 2)
            assert "sesame" not in docker("service", "inspect", f"one-{lab.instance}")
            await lab.runtime.stop(one, 2)
        finally:
            for kind in ("secret", "config"):
                docker(kind, "rm", name, check=False)


@on_a_swarm
async def test_a_task_that_ended_before_its_restart_is_brought_back_and_not_replaced(tmp_path: Path) -> None:
    async with laboratory(tmp_path, SwarmRuntime) as lab:
        one = spec(lab, replicas=1)
        first = await lab.runtime.start(one, 1)
        written = version(lab)
        docker("kill", first.container or "")
        await release(lab, one)
        second = await lab.runtime.start(one, 2)
        assert second.container != first.container
        assert version(lab) == written
        await lab.runtime.stop(one, 2)
