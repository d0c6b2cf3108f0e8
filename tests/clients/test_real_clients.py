"""The real clients accept what we write: healthy routes connected, a killed member's route gone after its hold and back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import real

HOLD = 2
FLEET = """
version: 1
proxy: {{kind: gateway, listen: "127.0.0.1:{port}", auth: {{tokens: ["${{MCP_PROXY_TOKEN}}"]}}}}
members:
  time: {{stdio: {{command: mcp-server-time}}}}
  git: {{stdio: {{command: sh, args: ["-c", "test -e broken && exit 1; exec mcp-server-git"], cwd: "{root}"}}}}
defaults: {{check: {{interval: 1s, timeout: 10s, failure_threshold: 1}}}}
clients:
  - {{kind: claude-code, hold_up: 1s, hold_down: {hold}s}}
  - {{kind: gemini-cli, hold_up: 1s, hold_down: {hold}s}}
  - {{kind: codex-cli, hold_up: 1s, hold_down: {hold}s}}
  - {{kind: opencode, hold_up: 1s, hold_down: {hold}s}}
  - {{kind: mcpo, path: mcpo.json, hold_up: 1s, hold_down: {hold}s, allow_literal: true}}
  - {{kind: cline, path: inspector.json, hold_up: 1s, hold_down: {hold}s, allow_literal: true}}
"""
FILES = 6


@contextmanager
def fleet(desk: real.Desk) -> Generator[Callable[..., Any]]:
    """A whole mcpwatch with its gateway; gives a function that runs a command of it and reads the JSON."""
    config = desk.root / "fleet.yaml"
    config.write_text(FLEET.format(port=real.free_port(), root=desk.root, hold=HOLD), "utf-8")
    (desk.root / "home").mkdir()

    def mcpwatch(*argv: str) -> Any:
        return json.loads(desk.run("mcpwatch", *argv, "--json", check=False) or "null")

    with real.serving(desk, ["mcpwatch", "up", "-c", str(config), "--plain"]) as daemon:
        while not (desk.root / "state" / "control.sock").exists():
            assert daemon.poll() is None, (desk.root / "out.log").read_text("utf-8")
            os.sched_yield()
        yield mcpwatch


def written(desk: real.Desk, key: str, route: str, after: float) -> float:
    """Wait until every file had `route` added or removed after `after`; the time of the last of them."""
    paths = set[str]()
    events = desk.lines("mcpwatch", "events", "-f", "--json")
    for line in events:
        fact = json.loads(line)
        if fact["fact"] == "client_file_written" and fact["at"] > after and route in fact[key]:
            paths.add(fact["path"])
            if len(paths) == FILES:
                events.close()
                return fact["at"]
    raise AssertionError(f"{route} was {key} in {paths} only: {(desk.root / 'out.log').read_text('utf-8')[-3000:]}")


def everyone(desk: real.Desk) -> dict[str, set[str]]:
    with ThreadPoolExecutor(3) as pool:
        runs = {name: pool.submit(run, desk) for name, run in real.CLIENTS.items()}
        return {name: run.result() for name, run in runs.items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("claude", "gemini", "codex", "opencode", "mcpo", "inspector", "node22")
def test_every_client_follows_a_member_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    desk = real.Desk(tmp_path)
    with fleet(desk) as mcpwatch:
        at = max(written(desk, "added", "time", 0), written(desk, "added", "git", 0))
        assert everyone(desk) == {name: {"time", "git"} for name in real.CLIENTS}

        (tmp_path / "broken").touch()
        pid = next(member["pid"] for member in mcpwatch("status")["members"] if member["name"] == "git")
        os.kill(pid, signal.SIGKILL)
        at = written(desk, "removed", "git", at)
        assert everyone(desk) == {name: {"time"} for name in real.CLIENTS}

        (tmp_path / "broken").unlink()
        mcpwatch("restart", "git")
        written(desk, "added", "git", at)
        assert everyone(desk) == {name: {"time", "git"} for name in real.CLIENTS}

        assert [row["in_sync"] for row in mcpwatch("clients", "list")] == [True] * FILES
