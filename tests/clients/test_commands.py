"""What the commands print, from the daemon's own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli import clientview, exits
from mcpwatch.model.member import Verdict
from tests.clients.test_service import Room, room, settled

pytestmark = pytest.mark.anyio
UP = Verdict.HEALTHY


async def here(tmp_path: Path) -> Room:
    return await settled(tmp_path, {"time": UP}, {"kind": "claude-code"}, {"kind": "lmstudio"})


async def test_the_table_shows_file_sync_last_write_and_what_must_be_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await here(tmp_path)
    assert clientview.print_table(await made.api.table({}), as_json=False) == exits.OK
    shown = capsys.readouterr().out
    assert "claude-code  " in shown
    assert "restart running sessions" in shown
    assert "lmstudio: time: not given: LM Studio knows no reference for the token" in shown
    clientview.print_table([], as_json=False)
    assert "mcpwatch clients detect" in capsys.readouterr().out


async def test_sync_prints_the_diff_and_exits_1_when_a_file_was_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = room(tmp_path, {"time": UP}, {"kind": "claude-code"}, {"kind": "cursor"})
    (made.home / ".cursor").mkdir(parents=True)
    (made.home / ".cursor/mcp.json").write_text("{broken", "utf-8")
    answers = await made.api.sync({"diff": True, "force": True})
    assert clientview.print_sync(answers, dry_run=True, as_json=False) == exits.UNHEALTHY
    shown = capsys.readouterr().out
    assert "would be: added time" in shown
    assert '+    "time": {' in shown
    assert "left alone" in shown
    clientview.print_sync(answers, dry_run=True, as_json=True)
    assert [answer["client"] for answer in json.loads(capsys.readouterr().out)] == ["claude-code", "cursor"]


async def test_undo_purge_and_print_speak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = await here(tmp_path)
    theirs: dict[str, Any] = {"old": {"type": "sse", "url": "http://localhost:9072/time/sse"}}
    path = made.home / ".claude.json"
    path.write_text(
        path.read_text("utf-8").replace('"mcpServers": {', f'"mcpServers": {{"old": {json.dumps(theirs["old"])},'), "utf-8"
    )
    assert clientview.print_purge(await made.api.purge({}), as_json=False) == exits.OK
    assert "'old' points at an old address of route 'time'" in capsys.readouterr().out
    clientview.print_snippet(await made.api.print({"client": "codex-cli"}), as_json=False)
    shown = capsys.readouterr()
    assert shown.out.startswith("[mcp_servers.time]\n")
    assert "# Codex CLI: merge this into" in shown.err
    clientview.print_undo(await made.api.undo({"client": "claude-code"}), as_json=False)
    assert "only our entries were taken out: removed time; left alone until 'mcpwatch sync'" in capsys.readouterr().out


def test_detect_prints_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".claude.json").write_text("{}", "utf-8")
    clientview.print_detected(as_json=False)
    assert "clients:\n  - {kind: claude-code}  # Claude Code: " in capsys.readouterr().out
