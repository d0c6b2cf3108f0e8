"""A stdio server is tried by itself, as the gateway would run it; what the gateway or an engine has a part in is not."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli import control
from mcpwatch.cli.edit import alone, trial
from mcpwatch.cli.edit.trial import TrialFailed, TrialTimedOut, try_member
from mcpwatch.model.probe import ProbeResult
from mcpwatch.model.spec import Plan
from tests.checks.test_stdio import SPEAK

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


def test_a_secret_that_a_server_says_as_it_ends_is_not_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def proved(*_: Any) -> None:
        raise TrialFailed("x: exited with code 3\n    bad key s3cret-of-mine")

    def none(*_: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    monkeypatch.setattr(trial, "_watchdog", none)
    monkeypatch.setattr(trial, "_proved", proved)
    ends = {"stdio": {"command": sys.executable, "args": ["-c", "raise SystemExit(3)"], "env": {"KEY": "${VALUE}"}}}
    with pytest.raises(TrialFailed, match=r"bad key \*\*\*$"):
        try_member("x", ends, directory, (), {"VALUE": "s3cret-of-mine"}, 60.0)


def test_a_trial_that_does_not_begin_in_time_says_so_and_names_no_directory_of_its_own(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]

    @contextlib.contextmanager
    def slow(*_: Any) -> Generator[subprocess.Popen[bytes]]:
        with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as process:
            yield process

    monkeypatch.setattr(trial, "_watchdog", slow)
    monkeypatch.setattr(trial, "_LEAST", 0.2)
    with pytest.raises(TrialTimedOut, match=r"x: no proof within 0\.2s; the trial had not begun") as caught:
        try_member("x", {"url": "http://127.0.0.1:1/sse"}, directory, (), {}, 0.2)
    assert trial.PREFIX not in str(caught.value)


def test_what_a_start_took_is_its_first_proof_alone_though_each_further_check_starts_the_server_anew(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_begun(monkeypatch)
    seen: list[ProbeResult] = []

    def kept(name: str, plan: Plan, base: Path, wait: float) -> list[ProbeResult] | None:
        seen.extend(alone.results_alone(name, plan, base, wait) or ())
        return seen

    monkeypatch.setattr(trial, "results_alone", kept)
    found = try_member("x", {**member(), "checks": {"one": {"kind": "mcp"}, "two": {"kind": "mcp"}}}, directory, (), {}, 60.0)
    assert len(seen) > 1
    assert found.seconds == seen[0].seconds > 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_a_start_took_in_a_whole_trial_is_counted_from_the_spawn_and_not_from_that_of_the_watchdog(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def kept(path: str, **query: str) -> Generator[dict[str, Any]]:
        for fact in control.stream(path, **query):
            told.append(fact)
            yield fact

    monkeypatch.setattr(trial, "stream", kept)
    bridge = {"stdio": {"command": sys.executable, "args": ["-c", SPEAK]}, "bridge": {"listen": "127.0.0.1:1"}}
    found = try_member("x", bridge, directory, (), {}, 120.0)
    begun = next(fact for fact in told if fact["fact"] == "member_started")
    proved = next(fact for fact in told if fact["fact"] == "member_changed" and fact["new"] == "running")
    assert found.seconds == proved["at"] - begun["at"] > 0
