"""`config validate|show|schema` and `init`: exit codes, what is printed, what is written and never overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mcpwatch.cli.config import print_schema, show, validate, write_starter
from mcpwatch.model.errors import ConfigError, UsageError
from tests.config.test_dialects import FOREIGN
from tests.config.test_faults import INVALID


@pytest.fixture(autouse=True)
def machine(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process sees the small machine of these tests and a state directory of its own."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MCPWATCH_STATE_DIR", str(tmp_path / "state"))


def test_a_good_file_is_summed_up_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("members: {time: {stdio: {command: mcp-server-time}}}")
    assert validate(file, as_json=False) == 0
    assert capsys.readouterr().out == f"{file}: 1 member behind gateway on 127.0.0.1:9090, 1 route, 2 checks\n"
    assert validate(file, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]


def test_a_bad_file_leaves_with_three_and_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(INVALID / "ten-faults.yaml", as_json=False)
    assert caught.value.exit_code == 3
    assert validate(INVALID / "ten-faults.yaml", as_json=True) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    assert len(told["faults"]) == len(caught.value.faults) >= 10
    assert set(told["faults"][0]) == {"path", "message", "file", "line"}


def test_show_and_schema_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("proxy: {auth: {tokens: ['${MCP_PROXY_TOKEN}']}}\nmembers: {time: {stdio: {command: mcp-server-time}}}")
    assert show(file) == 0
    assert "s3cret" not in capsys.readouterr().out
    assert print_schema() == 0
    assert json.loads(capsys.readouterr().out)["title"] == "mcpwatch configuration"


def test_init_writes_a_file_that_is_right_and_never_over_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mcpwatch.yaml"
    assert write_starter(file, None, force=False) == 0
    assert validate(file, as_json=False) == 0
    file.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_starter(file, None, force=False)
    assert file.read_text() == "mine"
    assert write_starter(file, None, force=True) == 0
    assert file.read_text() != "mine"
    capsys.readouterr()
    assert write_starter(Path("-"), None, force=False) == 0
    assert capsys.readouterr().out.rstrip("\n") == file.read_text().rstrip("\n")


def test_an_imported_file_is_readable_by_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "gh-secret")
    file = tmp_path / "mcpwatch.yaml"
    assert write_starter(file, FOREIGN / "tbxark.json", force=False) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert validate(file, as_json=False) == 0
    assert "gh-secret" not in file.read_text()


def test_init_into_nowhere_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_starter(tmp_path / "none" / "mcpwatch.yaml", None, force=False)
