"""Writing what a proxy reads: beside the user's own file, which is never written; atomically, only when something differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcpwatch.app.files import merged, write_files
from mcpwatch.model.errors import McpwatchError
from mcpwatch.model.proxy import KeptFile, RenderedFile
from mcpwatch.ports import CHILD_MARK
from tests.e2e.test_state_dir import by_directory

OURS = json.dumps(
    {
        "mcpProxy": {"addr": ":9090", "name": "mcp-proxy", "options": {"authTokens": ["new"], "panicIfInvalid": False}},
        "mcpServers": {"fetch": {"url": "http://new"}},
    }
)
THEIRS = """{
  // what the user had before
  "mcpProxy": {"addr": ":1", "name": "mine", "options": {"logEnabled": true, "panicIfInvalid": true}},
  "mcpServers": {
    "other": {"command": "x", "env": {"A": "${TOKEN}", "B": "$UNSET"}}, /* stays */
    "fetch": {"url": "http://old", "headers": {"a": "b"}},
    "gone": {"command": "/bin/sh", "env": {"MARK": "gone"}},
  },
  "mine": 1,
}
""".replace("MARK", CHILD_MARK)
KEPT = KeptFile(Path("config.json"), expand=True, yields=(("mcpProxy", "name"), ("mcpProxy", "version")))


def test_entries_of_the_user_are_served_filled_in_beside_ours_and_what_mcpwatch_once_wrote_is_not() -> None:
    assert json.loads(merged(THEIRS, OURS, KEPT, {"TOKEN": "t-1"})) == {
        "mcpProxy": {
            "addr": ":9090",
            "name": "mine",
            "options": {"logEnabled": True, "authTokens": ["new"], "panicIfInvalid": False},
        },
        "mcpServers": {"other": {"command": "x", "env": {"A": "t-1", "B": ""}}, "fetch": {"url": "http://new"}},
        "mine": 1,
    }


def test_a_program_that_fills_in_nothing_gets_the_text_as_it_stands() -> None:
    found = json.loads(merged(THEIRS, OURS, KeptFile(Path("servers.json")), {"TOKEN": "t-1"}))
    assert found["mcpServers"]["other"]["env"] == {"A": "${TOKEN}", "B": "$UNSET"}


@pytest.mark.parametrize(("text", "fault"), [("{,", "is not JSON"), ("[]", "is not a JSON object"), ("\xff", "is not UTF-8 text")])
def test_a_file_that_cannot_be_read_is_told_and_nothing_is_written(tmp_path: Path, text: str, fault: str) -> None:
    theirs, own = tmp_path / "config.json", tmp_path / "own.json"
    theirs.write_bytes(text.encode("latin-1"))
    with pytest.raises(McpwatchError, match=fault):
        write_files([RenderedFile(own, OURS, kept=KeptFile(theirs))])
    assert not own.exists()


def test_the_users_file_is_never_written_and_a_member_that_left_the_plan_is_gone(tmp_path: Path) -> None:
    theirs, own = tmp_path / "config.json", tmp_path / "state" / "config.json"
    theirs.write_text(THEIRS, encoding="utf-8")
    theirs.chmod(0o640)
    before = (theirs.stat().st_mtime_ns, theirs.stat().st_ino)
    assert write_files([RenderedFile(own, OURS, kept=KeptFile(theirs, expand=True))])
    assert not write_files([RenderedFile(own, OURS, kept=KeptFile(theirs, expand=True))])
    assert set(json.loads(own.read_text("utf-8"))["mcpServers"]) == {"other", "fetch"}
    later = json.dumps({"mcpServers": {"time": {"command": "t"}}})
    assert write_files([RenderedFile(own, later, kept=KeptFile(theirs, expand=True))])
    assert json.loads(own.read_text("utf-8"))["mcpServers"] == {
        "other": {"command": "x", "env": {"A": "", "B": ""}},
        "fetch": {"url": "http://old", "headers": {"a": "b"}},
        "time": {"command": "t"},
    }
    assert own.stat().st_mode & 0o777 == 0o600
    assert (theirs.read_text("utf-8"), (theirs.stat().st_mtime_ns, theirs.stat().st_ino)) == (THEIRS, before)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["config.json", "state"]


def test_a_file_that_is_not_there_yet_adds_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    assert write_files([RenderedFile(own, OURS, kept=KeptFile(tmp_path / "none.json"))])
    assert own.read_text("utf-8") == OURS


def test_a_directory_in_place_of_a_file_of_ours_or_of_its_backup_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    for text, harmed in (("1", path), ("2", path.with_name("gateway.json.bak")), ("3", path)):
        by_directory(harmed)
        assert write_files([RenderedFile(path, text, 0o600)])
        assert path.read_text("utf-8") == text
    assert len(list(tmp_path.glob("*.aside-*"))) == 3


def test_writing_keeps_a_backup_a_link_and_the_secrets_mode_and_says_whether_anything_changed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "config.json"
    real.write_text(THEIRS, encoding="utf-8")
    real.chmod(0o644)
    link.symlink_to(real)
    assert write_files([RenderedFile(link, OURS)])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "real.json.bak").read_text(encoding="utf-8") == THEIRS
    assert (tmp_path / "real.json.bak").stat().st_mode & 0o777 == 0o600
    assert not write_files([RenderedFile(link, OURS)])
