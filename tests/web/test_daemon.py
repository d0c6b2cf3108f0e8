"""A real daemon asked by others: a command line on another machine, an agent over stdio and over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anyio
import httpx
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ResourceUpdatedNotification, TextContent, TextResourceContents

from mcpwatch.web.api.catalog import CATALOG
from tests.e2e.daemon import Daemon, running
from tests.web.test_browser import TOKEN, address, config

STATUS = "mcpwatch://status"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_watchdog_loads_neither_the_mcp_sdk_nor_templates_before_they_are_needed() -> None:
    code = (
        "import sys, mcpwatch.cli.up; print([name for name in ('mcp', 'jinja2', 'mcpwatch.web.mcp.server') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_every_operation_of_a_daemon_is_in_the_table_of_the_api() -> None:
    """A handler that a room adds and the catalog does not know would be served at no door."""
    room = Path("mcpwatch")
    named = {
        (method, path)
        for file in (*room.glob("app/*.py"), *room.glob("alerts/api.py"), *room.glob("clients/*.py"))
        for method, path in re.findall(r'\("(GET|POST)", "(/[^"]+)"\): ', file.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= {operation.key for operation in CATALOG}


def test_the_command_line_speaks_to_a_watchdog_on_another_machine(tmp_path: Path) -> None:
    made = config("one")
    with running(tmp_path, made) as daemon:
        daemon.healthy()
        elsewhere = {**daemon.env, "MCPWATCH_STATE_DIR": str(tmp_path / "elsewhere"), "MCPWATCH_URL": address(made)}

        def run(*words: str, token: str = "") -> subprocess.CompletedProcess[str]:
            env = {**elsewhere, "MCPWATCH_TOKEN": token} if token else elsewhere
            return subprocess.run(
                [sys.executable, "-m", "mcpwatch", *words], env=env, capture_output=True, text=True, timeout=60, check=False
            )

        assert f"status page: {address(made)}/" in run("status").stdout
        assert json.loads(run("status", "--json").stdout)["healthy"] is True
        for words in (("why", "one"), ("events", "-n", "5"), ("history",), ("tools",), ("alerts", "list"), ("report",)):
            done = run(*words)
            assert done.returncode == 0, (words, done.stderr)
            assert done.stdout
        refused = run("restart", "one")
        assert (refused.returncode, "needs the role operate" in refused.stderr) == (5, True)
        assert "generation 2" in run("restart", "one", token=TOKEN).stdout
        wrong = run("status", token="wrong-wrong-wrong-wrong")
        assert "this token is not known" in wrong.stderr
        assert run("down", token=TOKEN).returncode == 0
        assert daemon.process is not None
        assert daemon.process.wait(30) == 0
        assert run("status").returncode == 4


async def _asks(client: Client, daemon: Daemon, *, may: bool) -> None:
    """What an agent does: look, ask why, check, and try to act."""
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert ("restart" in names) == may
    status = (await client.call_tool("fleet_status", {})).structured_content
    assert status is not None
    assert status["summary"] == "All 1 routes work."
    why = (await client.call_tool("explain", {"name": "one"})).structured_content
    assert why is not None
    assert any("Cause:" in line for line in why["reasoning"])
    assert (await client.call_tool("check_now", {"name": "one"})).is_error is False
    assert (await client.call_tool("explain", {"name": "nobody"})).is_error is True
    assert (await client.list_prompts()).prompts[0].name == "explain_outage"
    prompt = (await client.get_prompt("explain_outage", {"name": "one"})).messages[0].content
    assert isinstance(prompt, TextContent)
    assert "fleet_status" in prompt.text
    before = daemon.member("one")["generation"]
    assert (await client.call_tool("restart", {"name": "one"})).is_error is not may
    if may:
        await anyio.to_thread.run_sync(
            lambda: daemon.wait(lambda _: daemon.member("one")["generation"] > before and daemon.status()["healthy"], "restarted")
        )


def test_an_agent_asks_over_stdio_and_over_http_and_acts_only_with_a_token(tmp_path: Path) -> None:
    made = config("one")
    with running(tmp_path, made) as daemon:
        daemon.healthy()

        started = httpx.post(f"{address(made)}/mcp", json=PING, headers=ACCEPT, timeout=120)  # the SDK waits less for a cold start
        assert started.status_code < 500, started.text

        async def agents() -> None:
            parameters = StdioServerParameters(command=sys.executable, args=["-m", "mcpwatch", "mcp"], env=daemon.env)
            with anyio.fail_after(120):
                async with Client(stdio_client(parameters)) as client:
                    await _asks(client, daemon, may=False)
                async with Client(f"{address(made)}/mcp") as client:
                    await _asks(client, daemon, may=False)
                import httpx2  # the SDK's own client library

                carrying = httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
                async with carrying, Client(streamable_http_client(f"{address(made)}/mcp", http_client=carrying)) as client:
                    await _asks(client, daemon, may=True)

        anyio.run(agents)
        told = [fact for fact in daemon.events() if fact["fact"] == "operator_acted"]
        assert [(fact["by"], fact["action"], fact["member"]) for fact in told] == [("hands (MCP)", "restart", "one")]
        forged = {"mcpwatch-role": "operate", "Accept": "application/json, text/event-stream"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "restart", "arguments": {"name": "one"}}}
        answer = httpx.post(f"{address(made)}/mcp", headers=forged, json=call, timeout=30)
        assert '"isError":false' not in answer.text
        assert daemon.member("one")["generation"] == 2


async def _hears(client: Client, era: str, told: anyio.Event, kill: Callable[[], None]) -> None:
    """Subscribe in the words of an era, let something happen, and wait to be told of it."""
    if era == "legacy":
        await client.subscribe_resource(STATUS)  # pyright: ignore[reportDeprecated]
        kill()
        await told.wait()
        return
    async with client.listen(resource_subscriptions=[STATUS]) as changes:
        kill()
        async for _ in changes:
            return


@pytest.mark.parametrize("era", ["legacy", "auto"])
@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
def test_an_agent_that_subscribed_is_told_when_the_status_changes(tmp_path: Path, era: Literal["legacy", "auto"]) -> None:
    made = config("one")
    with running(tmp_path, made) as daemon:
        daemon.healthy()

        async def agent() -> None:
            told = anyio.Event()

            async def hear(message: object) -> None:
                if isinstance(message, ResourceUpdatedNotification):
                    told.set()

            parameters = StdioServerParameters(command=sys.executable, args=["-m", "mcpwatch", "mcp"], env=daemon.env)
            pid = daemon.member("one")["pid"]
            with anyio.fail_after(90):
                async with Client(stdio_client(parameters), message_handler=hear, mode=era) as client:
                    await _hears(client, era, told, lambda: os.kill(pid, signal.SIGKILL))
                    status = (await client.read_resource(STATUS)).contents[0]
                    assert isinstance(status, TextResourceContents)
                    assert "routes" in json.loads(status.text)

        anyio.run(agent)
