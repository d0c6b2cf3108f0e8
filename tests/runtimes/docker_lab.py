"""A corner of a real Docker engine for one test: names of its own, everything gone afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from watchfiles import watch

from mcpwatch.model.incarnation import Exited, RuntimeEvent
from mcpwatch.model.probe import Target
from mcpwatch.model.spec import MemberSpec
from mcpwatch.ports import Runtime
from mcpwatch.runtimes.docker.runtime import DockerRuntime
from mcpwatch.runtimes.docker.spec import DockerSpec
from mcpwatch.runtimes.swarm.runtime import SwarmRuntime

IMAGE = "mcpwatch-base:bookworm"
BOUND = 30.0
FOREVER = "import time; print('up', flush=True); time.sleep(600)"


def docker(*words: str, check: bool = True) -> str:
    """Ask the engine by its own socket, whatever the test set in the environment."""
    env = {key: value for key, value in os.environ.items() if key not in {"DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}}
    done = subprocess.run(["docker", *words], capture_output=True, encoding="utf-8", timeout=60, env=env)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


class Lab:
    """One instance of mcpwatch on the engine, with names of its own; everything of it is gone afterwards."""

    def __init__(self, directory: Path, make: Callable[[Path, str], Runtime] = DockerRuntime) -> None:
        self.directory = directory
        self.instance = secrets.token_hex(6)
        self.foreign: list[str] = []
        self.images: list[str] = []
        self.runtime: Runtime = make(directory, self.instance)
        self.heard: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    def spec(self, name: str = "one", *, fingerprint: str = "f1", direct: Target | None = None, **docker: Any) -> MemberSpec:
        if "container" not in docker:
            docker = {"image": IMAGE, "name": f"{name}-{self.instance}", "command": ["python3", "-c", FOREVER], **docker}
            docker = {key: value for key, value in docker.items() if value is not None}
        carrier = DockerSpec.model_validate(docker)
        return MemberSpec(name, "server", "docker", carrier, fingerprint, direct, stop_grace=2.0)

    async def event(self) -> RuntimeEvent:
        async with asyncio.timeout(BOUND):
            return await self.heard.get()

    async def exited(self) -> Exited:
        while True:
            event = await self.event()
            if isinstance(event, Exited):
                return event

    async def listen(self, runtime: Runtime) -> None:
        async for event in runtime.watch():
            self.heard.put_nowait(event)

    def clean(self) -> None:
        if isinstance(self.runtime, SwarmRuntime) and docker("info", "-f", "{{.Swarm.LocalNodeState}}") == "active":
            services = docker("service", "ls", "-q", "--filter", f"label=mcpwatch.instance={self.instance}").split()
            if services:
                docker("service", "rm", *services)
        deadline = time.monotonic() + BOUND
        while ids := docker("ps", "-aq", "--filter", f"label=mcpwatch.instance={self.instance}").split():
            assert time.monotonic() < deadline, f"containers that cannot be removed: {ids}"
            docker("rm", "-f", "-v", *ids, check=False)  # a swarm may be at it too
        if self.foreign:
            docker("rm", "-f", "-v", *self.foreign)
        if self.images:
            docker("rmi", "-f", *self.images)
        networks = docker("network", "ls", "-q", "--filter", f"label=mcpwatch.instance={self.instance}").split()
        if networks:
            docker("network", "rm", *networks)


@asynccontextmanager
async def laboratory(directory: Path, make: Callable[[Path, str], Runtime] = DockerRuntime) -> AsyncGenerator[Lab]:
    lab = Lab(directory, make)
    try:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(lab.listen(lab.runtime))
            yield lab
            listening.cancel()
    finally:
        await lab.runtime.close()
        lab.clean()


async def holds(file: Path, predicate: Callable[[str], bool]) -> None:
    """Wait until the text of `file` satisfies `predicate`, woken by its changes."""
    await asyncio.to_thread(_watch, file, predicate)


def _watch(file: Path, predicate: Callable[[str], bool]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + BOUND
    for _ in watch(file.parent, step=20, rust_timeout=200, yield_on_timeout=True):
        if file.exists() and predicate(file.read_text("utf-8")):
            return
        assert time.monotonic() < deadline, f"{file} never held what was waited for"
