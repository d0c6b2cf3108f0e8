"""The same through the gateway as without it: real servers over each wire, and the official client."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway import real
from tests.gateway.program import Gateway, gateway
from tests.gateway.real import NPM
from tests.parts import ROOT, program

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

FIXTURES: dict[str, Any] = {"command": sys.executable, "args": ["-m", "tests.servers.fixtures"], "cwd": str(ROOT)}


@asynccontextmanager
async def session(wire: str, where: str, spec: dict[str, Any]) -> AsyncGenerator[ClientSession]:
    """The official client: `direct` on stdio, or through a gateway on one of its wires."""
    if wire == "direct":
        parameters = StdioServerParameters(command=spec["command"], args=spec.get("args", []), cwd=spec.get("cwd"))
        opened = stdio_client(parameters)
    elif wire == "sse":
        opened = sse_client(f"{where}/it/sse")
    else:
        opened = streamable_http_client(f"{where}/it/mcp")
    async with opened as streams, ClientSession(streams[0], streams[1]) as client:
        await client.initialize()
        yield client


async def replay(client: ClientSession, calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Everything that a server lists, and its answers to some calls."""
    seen: list[Any] = [(await client.list_tools()).model_dump()]
    for listing in (client.list_prompts, client.list_resources, client.list_resource_templates):
        try:
            seen.append((await listing()).model_dump())
        except Exception as error:  # noqa: BLE001
            seen.append(str(error))
    for name, arguments in calls:
        try:
            seen.append((await client.call_tool(name, arguments)).model_dump())
        except Exception as error:  # noqa: BLE001
            seen.append(str(error))
    return seen


def masked(seen: list[Any]) -> str:
    """Answers without what differs from one second to the next."""
    return re.sub(
        r"\d\d:\d\d:\d\d(\.\d+)?|\d{4}-\d\d-\d\dT[\d:.+Z-]+|[+-]?\d+\.\d+h", "TIME", json.dumps(seen, sort_keys=True, default=str)
    )


def recorded(name: str, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Good calls of a server's tools, and some that it refuses."""
    calls: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "time": [
            ("get_current_time", {"timezone": "Europe/Berlin"}),
            ("get_current_time", {"timezone": "Nowhere/Else"}),
            ("get_current_time", {}),
            ("convert_time", {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}),
            ("no_such_tool", {"a": 1.5}),
        ],
        "git": [
            ("git_status", {"repo_path": where}),
            ("git_log", {"repo_path": where}),
            ("git_add", {"repo_path": where, "files": ["nothing"]}),
        ],
        "filesystem": [
            ("read_text_file", {"path": f"{where}/file.txt"}),
            ("list_directory", {"path": where}),
            ("read_text_file", {"path": "/etc/passwd"}),
            ("get_file_info", {}),
        ],
        "everything": [
            ("echo", {"message": "grüß Gott \u2028 \U0001f600"}),
            ("get-sum", {"a": 1.5, "b": 1e300}),
            ("get-tiny-image", {}),
            ("get-annotated-message", {"messageType": "error", "includeImage": True}),
            ("echo", {}),
            ("get-structured-content", {"location": "Chicago"}),
        ],
    }
    return calls[name]


@pytest.mark.parametrize("wire", ["sse", "mcp"])
@pytest.mark.parametrize("name", real.NAMES)
async def test_a_real_server_gives_the_same_answers_through_the_gateway(name: str, wire: str, tmp_path: Path) -> None:
    real.furnish(tmp_path)
    spec, calls = real.spec(name, tmp_path), recorded(name, str(tmp_path))
    async with session("direct", "", spec) as client:
        direct = masked(await replay(client, calls))
    with gateway({"servers": {"it": spec}}) as running:
        running.wait({"it": "running"})
        async with session(wire, running.url, spec) as client:
            assert masked(await replay(client, calls)) == direct


@pytest.fixture(scope="module")
def fixtures() -> Any:
    with gateway({"servers": {"it": FIXTURES, "alone": FIXTURES | {"sessions": "isolated"}}}) as running:
        running.wait({"it": "running", "alone": "running"})
        yield running


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_official_client_works_in_every_mode(fixtures: Gateway, mode: Any) -> None:
    async with Client(f"{fixtures.url}/it/mcp", mode=mode) as client:
        assert len((await client.list_tools()).tools) > 20
        assert (await client.call_tool("test_simple_text", {})).content[0].type == "text"
        assert (await client.read_resource("test://static-text")).contents
        assert (await client.get_prompt("test_simple_prompt")).messages


@pytest.mark.needs("npm", "node22")
async def test_the_inspector_reads_through_the_gateway(fixtures: Gateway) -> None:
    binary = NPM / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
    head = [str(program("node22")), str(binary), "--cli"]
    for wire, transport in (("mcp", "http"), ("sse", "sse")):
        command = [*head, f"{fixtures.url}/it/{wire}", "--transport", transport, "--method", "tools/list"]
        done = await anyio.run_process(command, check=False)
        assert done.returncode == 0, done.stderr
        assert b"test_simple_text" in done.stdout


@pytest.mark.needs("claude")
async def test_claude_code_connects_through_the_gateway(fixtures: Gateway, tmp_path: Path) -> None:
    claude, home = str(program("claude")), os.environ | {"HOME": str(tmp_path), "DISABLE_AUTOUPDATER": "1"}
    for transport, wire in (("sse", "sse"), ("http", "mcp")):
        words = ["mcp", "add", "--transport", transport, f"by-{transport}", f"{fixtures.url}/it/{wire}"]
        await anyio.run_process([claude, *words], cwd=tmp_path, env=home)
    listed = (await anyio.run_process([claude, "mcp", "list"], cwd=tmp_path, env=home)).stdout.decode()
    assert [line.partition(" - ")[2].strip() for line in listed.splitlines() if line.startswith("by-")] == ["✔ Connected"] * 2
