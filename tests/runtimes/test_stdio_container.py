"""`docker run -i --rm` as a member: no container is left behind, whoever ran the client and however it ended.

The docker here is a program of two verbs: `run` keeps a "container" (a process) that outlives a killed client, as the engine does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mcpwatch import stdio_container
from mcpwatch.gateway.upstream import spawn
from mcpwatch.gateway.upstream.child import Child
from mcpwatch.model.spec import MemberSpec
from mcpwatch.runtimes.spawn import ProcessSpec
from tests.runtimes.bench import next_exit, running, sleeper, until

pytestmark = pytest.mark.anyio

DOCKER = """#!{python} -S
import os, signal, subprocess, sys, time
words = sys.argv[1:]
if words[:2] == ["rm", "-f"]:
    try:
        os.kill(int(words[2][1:]), signal.SIGKILL)
    except ProcessLookupError:
        sys.exit("Error: No such container: " + words[2])
    sys.exit(0)
container = subprocess.Popen(["sleep", "600"], start_new_session=True, env={{}}, stdin=subprocess.DEVNULL)
path = words[words.index("--cidfile") + 1]
with open(path, "x") as file:
    file.write("c%d" % container.pid)
with open({ran!r}, "a") as file:
    file.write("%d\\n" % container.pid)
time.sleep(600)
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in for docker, first on PATH; where it writes the containers it ran, by pid."""
    ran = tmp_path / "ran"
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable, ran=str(ran)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return ran


def docker_member() -> MemberSpec:
    carrier = ProcessSpec.model_validate({"command": "docker", "args": ["run", "-i", "--rm", "mcp/time"]})
    return replace(sleeper(), carrier=carrier)


def ran(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat")).read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", ["stopped", "killed", "killed while no watchdog was there"])
async def test_a_process_member_leaves_no_container(tmp_path: Path, docker: Path, how: str) -> None:
    state = tmp_path / "state"
    spec = docker_member()
    async with running(state) as runtime:
        events = runtime.watch()
        incarnation = await runtime.start(spec, 1)
        assert incarnation.pid
        await until(lambda: len(ran(docker)) == 1)
        if how == "stopped":
            await runtime.stop(spec, 5.0)
        elif how == "killed":
            os.kill(incarnation.pid, signal.SIGKILL)
            await next_exit(events)
        else:
            await runtime.close()
            os.kill(incarnation.pid, signal.SIGKILL)
    if how == "killed while no watchdog was there":
        async with running(state) as runtime:
            await runtime.owned([spec])
            await until(lambda: not alive(ran(docker)[0]))
    await until(lambda: not alive(ran(docker)[0]))
    assert stdio_container.left(state / "run" / "containers" / "time" / "1") == []


async def test_a_hosted_member_leaves_no_container_and_the_next_one_starts_after_it_is_gone(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stdio_container.DIRECTORY, str(tmp_path / "cids"))
    ended = asyncio.Event()
    command = spawn.Command("time", ("docker", "run", "-i", "--rm", "mcp/time"))
    child = Child(command, lambda _: None, lambda _: ended.set(), lambda _head, _tail: None, lambda: None)
    await child.start()
    await until(lambda: len(ran(docker)) == 1)
    child.kill()
    await asyncio.wait_for(ended.wait(), 30.0)
    await until(lambda: not alive(ran(docker)[0]))  # killed; the kernel may take a moment
    assert stdio_container.left(tmp_path / "cids") == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("docker", "run", "-i", "x"), True),
        (("podman", "--remote", "run", "x"), True),
        (("docker", "container", "run", "x"), True),
        (("docker", "run", "--cidfile", "mine", "x"), False),
        (("docker", "run", "--cidfile=mine", "x"), False),
        (("docker", "exec", "run"), False),
        (("npx", "docker", "run"), False),
        (("docker",), False),
        ((), False),
    ],
)
def test_only_a_command_that_runs_a_container_is_given_a_file_for_its_id(
    tmp_path: Path, argv: tuple[str, ...], expected: bool
) -> None:
    words = stdio_container.tracked(argv, tmp_path)
    assert (words != argv) is expected
    assert (stdio_container.file_of(words) is not None) is (expected or argv[2:3] == ("--cidfile",))
    assert stdio_container.tracked(argv, None) == argv
