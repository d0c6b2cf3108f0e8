"""A stdio server is tried by itself, as the gateway would run it; what the gateway or an engine has a part in is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.edit import trial
from mcpwatch.cli.edit.trial import TrialTimedOut, try_member

SERVER = """
import json, os, sys
def word(text):
    return "".join(letter if letter.isalnum() else "_" for letter in text)
TOOLS = [*(f"has_{name}" for name in os.environ), f"in_{word(os.getcwd())}"]
for line in sys.stdin:
    ask = json.loads(line)
    result = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}},
        "tools/list": {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]},
    }.get(ask["method"])
    if result and "id" in ask:
        print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], "result": result}), flush=True)
"""
"""It answers neither what it does not know nor a modern client's first question."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("mcpwatch.checks.stdio.DISCOVER_MOST", 0.2)
    monkeypatch.setenv("OF_THIS_SHELL", "1")
    (tmp_path / "inside").mkdir()
    return tmp_path


def member(**more: Any) -> dict[str, Any]:
    return {"stdio": {"command": sys.executable, "args": ["-c", SERVER], **more}}


def none_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a watchdog is started for the trial."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a watchdog was started")

    monkeypatch.setattr(trial, "_watchdog", refuse)


def test_a_server_that_answers_by_itself_needs_no_watchdog_and_has_the_environment_that_the_gateway_gives(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_begun(monkeypatch)
    found = try_member("x", member(cwd="inside", env={"KEY": "${VALUE}"}), directory, (), {"VALUE": "v"}, 60.0)
    assert {"has_KEY", "has_PATH", "has_MCPWATCH_HOSTED"} <= set(found.tools)
    assert "has_OF_THIS_SHELL" not in found.tools
    assert f"in_{''.join(letter if letter.isalnum() else '_' for letter in str(directory / 'inside'))}" in found.tools
    assert found.tokens > 0
    assert found.seconds < 30, "a server that never answers what it does not know is soon asked as an older one"


def test_a_server_that_says_nothing_is_given_up_when_its_time_is_over(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none_begun(monkeypatch)
    silent = {"stdio": {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}}
    with pytest.raises(TrialTimedOut, match=r"x: no proof within 1s; no answer within the deadline"):
        try_member("x", silent, directory, (), {}, 1.0)


@pytest.mark.parametrize(
    "written",
    [
        {**member(), "tools": {"allow": ["t"]}},
        {**member(), "bridge": {"listen": "127.0.0.1:1"}},
        {"url": "http://127.0.0.1:1/sse"},
        {"stdio": {"command": "docker", "args": ["run", "-i", "--rm", "image"]}},
        {"stdio": {"command": "no-such-program"}},
        {"stdio": {"command": sys.executable, "args": ["-c", "raise SystemExit(3)"]}},
    ],
    ids=["filtered", "bridge", "url", "container", "absent", "ends"],
)
def test_all_else_has_the_whole_trial(written: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none_begun(monkeypatch)
    with pytest.raises(AssertionError, match="a watchdog was started"):
        try_member("x", written, directory, (), {}, 60.0)
    assert "OF_THIS_SHELL" in os.environ
