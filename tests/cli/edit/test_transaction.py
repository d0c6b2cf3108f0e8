"""A command that is killed is taken back by the next one; two at once both succeed; a full disk changes nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit import transaction
from mcpwatch.cli.edit.definition import Definition
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.members import How, add
from mcpwatch.cli.edit.run import undo_interrupted
from mcpwatch.cli.edit.transaction import Edit, EditFailed
from mcpwatch.model.errors import McpwatchError

FLEET = "version: 1\nproxy: {listen: '127.0.0.1:19392'}\nmembers:\n  time:\n    stdio: {command: python3}\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    return tmp_path / "state"


def begun(state: Path, *edits: Edit) -> None:
    """What a command that was killed after its write left behind."""
    with transaction.locked(state):
        transaction.begin(state, "add news", edits)
        transaction.write(edits)


def test_an_interrupted_edit_is_taken_back_and_told(tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, env = tmp_path / "fleet.yaml", tmp_path / ".env"
    file.write_text(FLEET)
    begun(state, Edit(str(env), None, "A=b\n"), Edit(str(file), FLEET, FLEET + "# more\n", 0o644))
    undo_interrupted()
    assert file.read_text() == FLEET
    assert not env.exists()
    assert "'add news' was interrupted" in capsys.readouterr().err
    undo_interrupted()
    assert capsys.readouterr().err == ""


def test_a_file_that_somebody_changed_since_is_left_alone(tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    begun(state, Edit(str(file), FLEET, FLEET + "# more\n", 0o644))
    file.write_text("mine")
    undo_interrupted()
    assert file.read_text() == "mine"
    assert f"left alone, because somebody changed it since: {file}" in capsys.readouterr().err


def test_an_edit_that_is_still_going_on_is_not_taken_back(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    with transaction.locked(state):
        transaction.begin(state, "add news", [Edit(str(file), FLEET, "new")])
        assert transaction.interrupted(state) is None
    assert transaction.interrupted(state) == file


def test_a_second_command_waits_for_the_first_but_not_for_ever(tmp_path: Path, state: Path) -> None:
    with (
        transaction.locked(state),
        pytest.raises(McpwatchError, match="another mcpwatch command"),
        transaction.locked(state, wait=0.0),
    ):
        pass


def test_a_file_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path, state: Path) -> None:
    with pytest.raises(EditFailed, match="cannot be written"):
        transaction.write([Edit(str(tmp_path / "none" / "fleet.yaml"), None, "x")])


def test_two_adds_at_once_both_succeed(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    ends: list[int] = []

    def one(name: str) -> None:
        ends.append(add(name, Definition(command=("python3", name)), How(file, test=False)))

    threads = [threading.Thread(target=one, args=(f"m{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [0, 0, 0, 0]
    assert set(read_fleet_file(file).members) == {"time", "m0", "m1", "m2", "m3"}


@pytest.mark.slow
def test_a_full_disk_changes_nothing(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))

    argv = [sys.executable, "-B", "-m", "mcpwatch", "--state-dir", str(state), "add", "news", "-c", str(file), "--no-test"]
    done = subprocess.run([*argv, "--", "python3"], capture_output=True, text=True, preexec_fn=small, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert file.read_text() == FLEET
    assert [path.name for path in tmp_path.iterdir() if path.name != "state"] == ["fleet.yaml"]
