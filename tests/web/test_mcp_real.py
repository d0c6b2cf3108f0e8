"""The MCP server of mcpwatch asked by others: the official conformance suite, Inspector, Claude Code, an agent of the gateway."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.client.client import Client

from mcpwatch.web.mcp.tools import Offer
from tests.e2e.daemon import Daemon, running
from tests.parts import PARTS, program
from tests.web.test_browser import address, config
from tests.web.test_daemon import ACCEPT, PING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NPM = PARTS / "npm" / "node_modules"
SUITE, NEXT = NPM / "@modelcontextprotocol" / "conformance", NPM / "conformance-next"
INSPECTOR = NPM / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
APPLY = (
    "server-initialize", "ping", "tools-list", "tools-call-error", "resources-list", "prompts-list", "server-sse-multiple-streams",
    "dns-rebinding-protection",
)  # fmt: skip
"""Scenarios of 2025-11-25 that need no tool, resource or prompt of the suite's own, and nothing that mcpwatch does not declare."""
APPLY_NEXT = (
    "tools-list", "tools-call-error", "resources-list", "prompts-list", "server-sse-multiple-streams", "dns-rebinding-protection",
    "sep-2164-resource-not-found", "caching", "http-header-validation",
)  # fmt: skip
"""The same of 2026-07-28."""
FIXTURE_CHECKS = {"ServerRejectsUndeclaredCapability", "MissingCapabilityHttp400"}
"""Checks of `server-stateless` that are made with the suite's own tool `test_missing_capability`: no tool of mcpwatch asks the
client for anything, so there is no capability that a client could lack."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, dict[str, Any]]]:
    made = config("one")
    made["proxy"]["expose_mcpwatch"] = True
    with running(tmp_path_factory.mktemp("fleet"), made) as daemon:
        daemon.healthy(90)
        asked = httpx.post(f"{address(made)}/mcp", json=PING, headers=ACCEPT, timeout=120)  # started, so that nobody waits for it
        assert asked.status_code < 500, asked.text
        yield daemon, made


def suite(package: Path, url: str, *words: str) -> dict[str, tuple[int, int]]:
    """Passed and failed checks of each scenario."""
    command = [str(program("node22")), str(package / "dist" / "index.js"), "server", "--url", url, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    found = re.findall(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {name: (int(passed), int(failed)) for name, passed, failed in found}


@pytest.mark.needs("npm", "node22")
def test_the_conformance_scenarios_of_2025_that_apply_pass(fleet: tuple[Daemon, dict[str, Any]]) -> None:
    found = suite(SUITE, f"{address(fleet[1])}/mcp")
    assert {name: found[name][1] for name in APPLY} == dict.fromkeys(APPLY, 0)


@pytest.mark.needs("npm", "node22", "conformance-next")
def test_the_conformance_scenarios_of_2026_that_apply_pass(fleet: tuple[Daemon, dict[str, Any]]) -> None:
    found = suite(NEXT, f"{address(fleet[1])}/mcp", "--requirements", "2026-07-28")
    assert {name: found[name][1] for name in APPLY_NEXT} == dict.fromkeys(APPLY_NEXT, 0)
    assert found["server-stateless"][0] >= 26
    command = [str(program("node22")), str(NEXT / "dist" / "index.js"), "server", "--url", f"{address(fleet[1])}/mcp"]
    command += ["--spec-version", "2026-07-28", "--scenario", "server-stateless"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    failed = dict(re.findall(r"^  - (\w+): .*\n    Error: (.*)$", done.stdout, re.MULTILINE))
    assert failed.keys() == FIXTURE_CHECKS, done.stdout
    assert all("test_missing_capability" in why for why in failed.values()), failed


@pytest.mark.needs("npm", "node22", "inspector")
def test_the_inspector_reads_over_stdio_http_and_through_the_gateway(fleet: tuple[Daemon, dict[str, Any]]) -> None:
    daemon, made = fleet
    head = [str(program("node22")), str(INSPECTOR), "--cli"]
    gateway = f"http://{made['proxy']['listen']}"
    for where in (
        ["env", f"MCPWATCH_STATE_DIR={daemon.state}", f"PYTHONPATH={Path.cwd()}", sys.executable, "-m", "mcpwatch", "mcp"],
        [f"{address(made)}/mcp", "--transport", "http"],
        [f"{gateway}/mcpwatch/mcp", "--transport", "http"],
        [f"{gateway}/mcpwatch/sse", "--transport", "sse"],
    ):
        command = [*head, *where, "--method", "tools/call", "--tool-name", "fleet_status"]
        done = subprocess.run(command, env=daemon.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["structuredContent"]["summary"] == "All 2 routes work."


@pytest.mark.needs("claude")
def test_claude_code_connects_over_stdio_http_and_through_the_gateway(fleet: tuple[Daemon, dict[str, Any]], tmp_path: Path) -> None:
    daemon, made = fleet
    claude = str(program("claude"))
    env = daemon.env | {"HOME": str(tmp_path), "DISABLE_AUTOUPDATER": "1", "PYTHONPATH": str(Path.cwd())}

    def run(*words: str) -> str:
        done = subprocess.run(
            [claude, "mcp", *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("add", "by-stdio", "-e", f"MCPWATCH_STATE_DIR={daemon.state}", "--", sys.executable, "-m", "mcpwatch", "mcp")
    run("add", "--transport", "http", "by-http", f"{address(made)}/mcp")
    run("add", "--transport", "sse", "by-gateway", f"http://{made['proxy']['listen']}/mcpwatch/sse")
    listed = dict(re.findall(r"^(by-\w+): .* - (.*)$", run("list"), re.MULTILINE))
    assert listed == dict.fromkeys(("by-stdio", "by-http", "by-gateway"), "✔ Connected")
    assert "✔ Connected" in run("get", "by-http")


def test_an_agent_on_the_proxy_asks_the_route_of_mcpwatch_what_is_down(fleet: tuple[Daemon, dict[str, Any]]) -> None:
    _, made = fleet

    async def agent() -> None:
        with anyio.fail_after(120):
            async with Client(f"http://{made['proxy']['listen']}/mcpwatch/mcp") as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
                assert names == {tool.name for tool in Offer.of(operate=False).tools}
                why = (await client.call_tool("explain", {"name": "one"})).structured_content
                assert why is not None
                assert any("Cause:" in line for line in why["reasoning"])

    anyio.run(agent)
