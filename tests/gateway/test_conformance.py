"""The official conformance suite, newest and last released: each check says through the gateway what it says directly."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.gateway.program import gateway
from tests.gateway.real import NPM
from tests.parts import ROOT, program

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.needs("npm", "node22", "conformance-next"), pytest.mark.timeout(400)]

RELEASED, NEWEST = NPM / "@modelcontextprotocol" / "conformance", NPM / "conformance-next"
FIXTURES = [sys.executable, "-m", "tests.servers.fixtures"]
MEMBERS = ["http", "legacy", "stdio", "alone", "http-alone"]
"""Streamable HTTP and HTTP+SSE by URL, a process shared by sessions, one of its own for each, a connection of its own for each."""
REVISIONS = {"2025-11-25": 84, "2026-07-28": 150}
"""Requirement sets, and how many checks of each must pass directly for the comparison to say anything."""
OTHERWISE = re.compile(r"server-server-sse-polling/.*")
"""Scenario and check that cannot pass on other wires than Streamable HTTP: only there a stream can end early, to be polled."""
OLDER = re.compile(r"server-input-required-result-.*|.*/sep-2575-http-server-no-independent-requests-on-stream")
"""Those of the stateless wire that a member on HTTP+SSE has no words for: its tools that answer by asking fail there."""

Checks = dict[str, Counter[tuple[str, str]]]
"""The checks of each scenario: how often each said what."""


@dataclass(frozen=True)
class Fleet:
    """The server itself, and the gateway with that server as members of every kind."""

    direct: str
    gateway: str


def suite(package: Path, url: str, where: Path, *words: str) -> Checks:
    """Run it against a URL; `INFO`, which only records what was sent, is left out."""
    command = [str(program("node22")), str(package / "dist" / "index.js"), "server", "--url", url, *words]
    subprocess.run([*command, "--output-dir", str(where)], capture_output=True, timeout=300, check=False)
    found: Checks = {}
    for file in where.glob("*/checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name)
        checks = [(check["id"], check["status"]) for check in json.loads(file.read_text())]
        found[scenario] = Counter(check for check in checks if check[1] != "INFO")
    return found


def passed(found: Checks) -> Counter[tuple[str, str]]:
    """How often each check of each scenario passed."""
    return Counter(
        {(name, check): n for name, checks in found.items() for (check, status), n in checks.items() if status == "SUCCESS"}
    )


@contextmanager
def server(*words: str) -> Generator[int]:
    """The fixture server on a wire of HTTP; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen([*FIXTURES, "--port", str(port), *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def answers(port: int) -> None:
    with anyio.fail_after(60):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.lowlevel.checkpoint()
            else:
                return


@pytest.fixture(scope="module")
def fleet() -> Generator[Fleet]:
    with ExitStack() as stack:
        port, legacy = stack.enter_context(server()), stack.enter_context(server("--sse"))
        for each in (port, legacy):
            anyio.run(answers, each)
        direct = f"http://127.0.0.1:{port}/mcp"
        command: dict[str, Any] = {"command": FIXTURES[0], "args": FIXTURES[1:], "cwd": str(ROOT)}
        by_url = {"url": direct, "transport": "http"}
        servers = {
            "http": by_url,
            "legacy": {"url": f"http://127.0.0.1:{legacy}/sse", "transport": "sse"},
            "stdio": command,
            "alone": command | {"sessions": "isolated"},
            "http-alone": by_url | {"sessions": "isolated"},
        }
        running = stack.enter_context(gateway({"servers": servers}))
        running.wait(dict.fromkeys(MEMBERS, "running"))
        yield Fleet(direct, running.url)


@pytest.fixture(scope="module", params=REVISIONS)
def expected(request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Checks]:
    """A requirement set, and what its checks say of the server without a gateway."""
    revision: str = request.param
    found = suite(NEWEST, fleet.direct, tmp_path_factory.mktemp("direct"), "--requirements", revision)
    assert passed(found).total() >= REVISIONS[revision]
    return revision, found


@pytest.mark.parametrize("member", MEMBERS)
async def test_every_check_of_the_newest_suite_says_the_same_as_directly(
    fleet: Fleet, expected: tuple[str, Checks], member: str, tmp_path: Path
) -> None:
    revision, direct = expected
    found = await anyio.to_thread.run_sync(suite, NEWEST, f"{fleet.gateway}/{member}/mcp", tmp_path, "--requirements", revision)
    if member.startswith("http"):
        assert found == direct
        return
    lost = {f"{name}/{check}" for name, check in passed(direct) if passed(found)[name, check] < passed(direct)[name, check]}
    possible = [OTHERWISE, OLDER] if member == "legacy" else [OTHERWISE]
    assert found.keys() == direct.keys()
    assert {one for one in lost if not any(reason.fullmatch(one) for reason in possible)} == set()


@pytest.mark.parametrize("member", MEMBERS)
async def test_the_released_suite_passes_all_thirty_scenarios(fleet: Fleet, member: str, tmp_path: Path) -> None:
    found = await anyio.to_thread.run_sync(suite, RELEASED, f"{fleet.gateway}/{member}/mcp", tmp_path)
    assert len(found) == 30
    assert {name: checks for name, checks in found.items() if any(status == "FAILURE" for _, status in checks)} == {}
