"""Writing what a proxy reads: foreign entries kept, atomically, with a backup, touched only when something differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcpwatch.app.files import merged, write_files
from mcpwatch.model.errors import McpwatchError
from mcpwatch.ports import RenderedFile

OURS = json.dumps(
    {"mcpProxy": {"addr": ":9090", "options": {"authTokens": ["new"]}}, "mcpServers": {"fetch": {"url": "http://new"}}}
)
THEIRS = json.dumps(
    {
        "mcpProxy": {"addr": ":1", "name": "mine", "options": {"logEnabled": True}},
        "mcpServers": {"other": {"command": "x"}, "fetch": {"url": "http://old", "headers": {"a": "b"}}},
        "mine": 1,
    }
)


def test_foreign_entries_stay_and_ours_replace_those_of_the_same_name() -> None:
    after = json.loads(merged(THEIRS, OURS, "config.json"))
    assert after == {
        "mcpProxy": {"addr": ":9090", "name": "mine", "options": {"logEnabled": True, "authTokens": ["new"]}},
        "mcpServers": {"other": {"command": "x"}, "fetch": {"url": "http://new"}},
        "mine": 1,
    }
    assert list(after["mcpServers"]) == ["other", "fetch"]


def test_a_file_that_says_the_same_already_keeps_every_byte() -> None:
    text = merged(THEIRS, OURS, "config.json").replace("  ", "\t")
    assert merged(text, OURS, "config.json") == text


@pytest.mark.parametrize(("text", "fault"), [("{,", "is not JSON, so it is left alone"), ("[]", "is not a JSON object")])
def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(McpwatchError, match=fault):
        write_files([RenderedFile(path, OURS, merge="keep-foreign")])
    assert path.read_text(encoding="utf-8") == text


def test_writing_keeps_a_backup_a_link_and_the_secrets_mode_and_says_whether_anything_changed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "config.json"
    real.write_text(THEIRS, encoding="utf-8")
    real.chmod(0o644)
    link.symlink_to(real)
    file = RenderedFile(link, OURS, merge="keep-foreign")
    assert write_files([file])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "real.json.bak").read_text(encoding="utf-8") == THEIRS
    assert (tmp_path / "real.json.bak").stat().st_mode & 0o777 == 0o600
    assert not write_files([file])
