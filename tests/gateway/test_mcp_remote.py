"""mcp-remote itself, by which Claude Desktop and others reach a server by URL, in front of the gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.program import LIMIT, TINY, Gateway, call, gateway, request
from tests.parts import program

pytestmark = [pytest.mark.slow, pytest.mark.needs("mcp-remote", "node22")]


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    with gateway({"servers": {"tiny": TINY}}) as running:
        running.wait({"tiny": "running"})
        yield running


@pytest.mark.parametrize(
    ("strategy", "path"),
    [("http-only", "/tiny/mcp"), ("http-first", "/tiny/mcp"), ("sse-only", "/tiny/sse"), ("sse-first", "/tiny/sse")],
)
def test_a_client_on_stdio_gets_through(served: Gateway, tmp_path: Path, strategy: str, path: str) -> None:
    argv = [
        str(program("node22")),
        str(program("mcp-remote").resolve()),
        served.url + path,
        "--allow-http",
        "--transport",
        strategy,
    ]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        text=True,
    )
    try:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "claude-ai", "version": "0.1.0"}}
        assert ask(process, request(0, "initialize", hello))["result"]["serverInfo"]["name"] == "tiny"
        tell(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert ask(process, request(1, "tools/list"))["result"]["tools"]
        assert json.loads(ask(process, call(2, "echo", word="on"))["result"]["content"][0]["text"]) == {"word": "on"}
    finally:
        process.kill()
        process.communicate(timeout=LIMIT)


def tell(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def ask(process: subprocess.Popen[str], message: dict[str, Any]) -> dict[str, Any]:
    """The answer; what the suite bounds is the whole test."""
    tell(process, message)
    assert process.stdout is not None
    for line in process.stdout:
        answer: dict[str, Any] = json.loads(line)
        if answer.get("id") == message["id"]:
            return answer
    raise AssertionError("mcp-remote ended")
