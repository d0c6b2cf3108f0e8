"""The official conformance suite, newest and last released: each check says through the gateway what it says directly."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from mcpwatch.gateway.upstream.child import descendants
from tests.e2e.patience import Patience
from tests.gateway.program import gateway
from tests.gateway.real import NPM
from tests.parts import ROOT, program

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.needs("npm", "node22", "conformance-next"),
    pytest.mark.timeout(3600),
]

RELEASED, NEWEST = NPM / "@modelcontextprotocol" / "conformance", NPM / "conformance-next"
FIXTURES = [sys.executable, "-m", "tests.servers.fixtures"]
FORKED = ROOT / "tests" / "servers" / "forked.py"
SCENARIO = 60.0
"""Seconds for one scenario that the processes which take part had; the suite as a whole has no bound but theirs."""
AGAIN = 2
"""How often a scenario is tried again."""
LOOK = 0.5
"""Seconds between looks at what it has done."""
MEMBERS = ["http", "legacy", "stdio", "alone", "http-alone"]
"""Streamable HTTP and HTTP+SSE by URL, a process shared by sessions, one of its own for each, a connection of its own for each."""
REVISIONS = {"2025-11-25": 84, "2026-07-28": 150}
"""Requirement sets, and how many checks of each must pass directly for the comparison to say anything."""
PATIENT = ("--timeout", "600000")
"""Milliseconds that the newest suite gives a scenario: how long that may take is our bound to say."""
OTHERWISE = re.compile(r"server-server-sse-polling/.*")
"""Scenario and check that cannot pass on other wires than Streamable HTTP: only there a stream can end early, to be polled."""
OLDER = re.compile(r"server-input-required-result-.*|.*/sep-2575-http-server-no-independent-requests-on-stream")
"""Those of the stateless wire that a member on HTTP+SSE has no words for: its tools that answer by asking fail there."""

Checks = dict[str, Counter[tuple[str, str]]]
"""The checks of each scenario: how often each said what."""


class Run(NamedTuple):
    """The suite of a package: its words for all scenarios, and those beside `--scenario` for one of them in the same way."""

    package: Path
    words: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


def newest(revision: str) -> Run:
    """What a revision of the protocol requires."""
    return Run(NEWEST, (*PATIENT, "--requirements", revision), (*PATIENT, "--spec-version", revision, "--force"))


@dataclass(frozen=True)
class Fleet:
    """The server itself, and the gateway with that server as members of every kind."""

    direct: str
    gateway: str
    pids: tuple[int, ...]
    """The processes that serve, without those that they start."""


def suite(run: Run, url: str, where: Path, serving: tuple[int, ...]) -> Checks:
    """Run it against a URL; `INFO`, which only records what was sent, is left out.

    The suite has waits of its own, in seconds on the wall: what did not pass is tried again alone, and the best try counts.
    """
    found = _checks(run, url, where / "all", serving, *run.words)
    for name in [name for name, checks in found.items() if _succeeded(checks) < checks.total()]:
        for number in range(AGAIN):
            words = ("--scenario", name.removeprefix("server-"), *run.alone)
            tried = _checks(run, url, where / f"{name}-{number}", serving, *words).get(name, Counter())
            found[name] = max(found[name], tried, key=_succeeded)
            if _succeeded(found[name]) == found[name].total():
                break
    return found


def _succeeded(checks: Counter[tuple[str, str]]) -> int:
    return sum(count for (_, status), count in checks.items() if status == "SUCCESS")


def _checks(run: Run, url: str, where: Path, serving: tuple[int, ...], *words: str) -> Checks:
    command = [str(program("node22")), str(run.package / "dist" / "index.js"), "server", "--url", url, *words]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, "--output-dir", str(where)], stdin=quiet, stdout=quiet, stderr=quiet) as running:
        try:
            _wait(running, where, (running.pid, *serving))
        finally:
            running.kill()
    found: Checks = {}
    for file in where.glob("*/checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name)
        checks = [(check["id"], check["status"]) for check in json.loads(file.read_text())]
        found[scenario] = Counter(check for check in checks if check[1] != "INFO")
    return found


def _wait(running: subprocess.Popen[bytes], where: Path, pids: tuple[int, ...]) -> None:
    """Return when it has ended; each scenario has a bound of its own."""
    done, patience = -1, Patience(SCENARIO, lambda: _with_children(pids))
    while True:
        with suppress(subprocess.TimeoutExpired):
            running.wait(LOOK)
            return
        if done != (done := len(list(where.glob("*/checks.json")))):
            patience = Patience(SCENARIO, lambda: _with_children(pids))
        assert not patience.over(), f"the scenario after {done} others takes more than {SCENARIO:g} s"


def _with_children(pids: tuple[int, ...]) -> set[int]:
    return set(pids).union(*map(descendants, pids))


def passed(found: Checks) -> Counter[tuple[str, str]]:
    """How often each check of each scenario passed."""
    return Counter(
        {(name, check): n for name, checks in found.items() for (check, status), n in checks.items() if status == "SUCCESS"}
    )


@contextmanager
def server(*words: str) -> Generator[tuple[int, int]]:
    """The fixture server on a wire of HTTP; its port and its pid."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen([*FIXTURES, "--port", str(port), *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


async def answers(port: int) -> None:
    with anyio.fail_after(60):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.sleep(0.005)
            else:
                return


@contextmanager
def forking(path: Path) -> Generator[int]:
    """What processes of the fixture server are forked off, each on the stdio of one that connects to `path`; its pid."""
    command, pipe = [sys.executable, "-m", "tests.servers.forked", str(path)], subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    socket_ = tmp_path_factory.mktemp("forked") / "socket"
    with ExitStack() as stack:
        (port, one), (legacy, other) = stack.enter_context(server()), stack.enter_context(server("--sse"))
        for each in (port, legacy):
            anyio.run(answers, each)
        direct = f"http://127.0.0.1:{port}/mcp"
        forker = stack.enter_context(forking(socket_))
        command: dict[str, Any] = {"command": sys.executable, "args": ["-S", str(FORKED), str(socket_)]}
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
        yield Fleet(direct, running.url, (one, other, forker, running.process.pid))


@pytest.fixture(scope="module", params=REVISIONS)
def expected(request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Checks]:
    """A requirement set, and what its checks say of the server without a gateway."""
    revision: str = request.param
    where = tmp_path_factory.mktemp("direct")
    found = suite(newest(revision), fleet.direct, where, fleet.pids)
    assert passed(found).total() >= REVISIONS[revision]
    return revision, found


@pytest.mark.parametrize("member", MEMBERS)
async def test_every_check_of_the_newest_suite_says_the_same_as_directly(
    fleet: Fleet, expected: tuple[str, Checks], member: str, tmp_path: Path
) -> None:
    revision, direct = expected
    found = await anyio.to_thread.run_sync(suite, newest(revision), f"{fleet.gateway}/{member}/mcp", tmp_path, fleet.pids)
    if member.startswith("http"):
        assert found == direct
        return
    lost = {f"{name}/{check}" for name, check in passed(direct) if passed(found)[name, check] < passed(direct)[name, check]}
    possible = [OTHERWISE, OLDER] if member == "legacy" else [OTHERWISE]
    assert found.keys() == direct.keys()
    assert {one for one in lost if not any(reason.fullmatch(one) for reason in possible)} == set()


@pytest.mark.parametrize("member", MEMBERS)
async def test_the_released_suite_passes_all_thirty_scenarios(fleet: Fleet, member: str, tmp_path: Path) -> None:
    found = await anyio.to_thread.run_sync(suite, Run(RELEASED), f"{fleet.gateway}/{member}/mcp", tmp_path, fleet.pids)
    assert len(found) == 30
    assert {name: checks for name, checks in found.items() if any(status == "FAILURE" for _, status in checks)} == {}
