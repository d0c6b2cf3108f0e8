"""What the command line refuses, and what it offers instead: one line, exit 2, nothing done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcpwatch.cli.clean import clean
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.main import app
from mcpwatch.cli.options import some
from mcpwatch.model.errors import UsageError, suggest

REFUSED = [
    (
        ("drill", "time", "--fault", "kll"),
        "'kll' is not one of 'kill', 'hang', 'stale', 'oom', 'partition', 'child', 'pause', 'recover', 'slow', 'flap'",
    ),
    (("logs", "time", "--stream", "both"), "'both' is not one of 'stdout', 'stderr'"),
    (("up", "--log-format", "xml"), "'xml' is not one of 'auto', 'human', 'json', 'config'"),
    (("check", "--url", "http://127.0.0.1:1/sse", "--transport", "ws"), "'ws' is not one of"),
    (("bridge", "--sessions", "one", "--", "true"), "'one' is not one of 'auto', 'shared', 'isolated'"),
    (("bridge", "--log", "file", "--", "true"), "'file' is not one of 'stderr', 'syslog'"),
    (("statsu",), "Did you mean 'status'"),
]


@pytest.mark.sample
@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_an_unknown_word_is_refused_with_the_words_that_are_known(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = CliRunner(env={"MCPWATCH_STATE_DIR": str(tmp_path), "COLUMNS": "200"}).invoke(app, list(words))
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("tmie", ["time", "fetch"], "; did you mean 'time'?"),
        ("zzz", ["time", "fetch"], "; known: fetch, time"),
        ("zzz", [], ""),
        ("zzz", [f"member-{number}" for number in range(25)], ""),
    ],
)
def test_the_nearest_name_is_offered_else_all_of_a_few(word: str, known: list[str], said: str) -> None:
    assert suggest(word, known) == said


def test_a_shell_completes_the_values_of_an_option(tmp_path: Path) -> None:
    words = {"_MCPWATCH_COMPLETE": "complete_bash", "COMP_WORDS": "mcpwatch drill time --fault ", "COMP_CWORD": "4"}
    done = CliRunner(env={"MCPWATCH_STATE_DIR": str(tmp_path), **words}).invoke(app, [], prog_name="mcpwatch")
    assert done.output.split() == ["kill", "hang", "stale", "oom", "partition", "child", "pause", "recover", "slow", "flap"]


@pytest.mark.sample
@pytest.mark.parametrize("command", ["up", "down", "status", "test", "clean"])
def test_names_beside_all_are_refused_and_all_alone_is_the_whole_fleet(command: str, tmp_path: Path) -> None:
    runner = CliRunner(env={"MCPWATCH_STATE_DIR": str(tmp_path), "COLUMNS": "200"})
    both, help_ = runner.invoke(app, [command, "time", "--all"]), runner.invoke(app, [command, "--help"])
    assert (both.exit_code, str(both.exception)) == (1, "give names or --all, not both")
    assert "Every member, which is meant without names too" in " ".join(help_.output.split())
    assert (list(some(None, whole=True)), list(some(["a", "b"], whole=False))) == ([], ["a", "b"])


def test_a_name_cleans_the_logs_of_that_member_alone_and_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    for name in ("logs/time", "logs/git", "proxy"):
        (tmp_path / "state" / name).mkdir(parents=True)
    assert clean(["..", "../proxy", "none"], yes=True, dry_run=False, as_json=False) == 0
    assert clean(["git"], yes=True, dry_run=True, as_json=False) == 0
    assert sorted(path.name for path in (tmp_path / "state").rglob("*")) == ["git", "logs", "proxy", "time"]
    assert clean(["git"], yes=True, dry_run=False, as_json=False) == 0
    assert sorted(path.name for path in (tmp_path / "state").rglob("*")) == ["logs", "proxy", "time"]


def test_a_dry_run_of_clean_says_of_nothing_that_it_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    (tmp_path / "state" / "logs").mkdir(parents=True)
    assert clean(yes=True, dry_run=True, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"would remove: directory {tmp_path}/state"
    assert clean(yes=True, dry_run=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [], "would_remove": [f"directory {tmp_path}/state"]}
    assert (tmp_path / "state" / "logs").exists()


def test_clean_says_whose_choice_the_directory_was_and_which_backups_go_and_leaves_what_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.delenv("MCPWATCH_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(ControlSettings, "state_dir", None)
    state = tmp_path / "mcpwatch"
    for name in ("logs/time", "backups/fleet", "backups/clients/cursor-1", "photos"):
        (state / name).mkdir(parents=True)
    for name in (
        "state.db",
        "state.db-wal",
        ".status.json.mcpwatch-x1",
        "backups/fleet/mcpwatch-20261129T030000Z.tar.gz",
        "notes.txt",
    ):
        (state / name).touch()
    assert clean(yes=True, dry_run=True, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[:6] == [
        f"would remove: directory {state}",
        f"{state} is the state directory because no other was named; name one with --state-dir",
        f"with it 1 backup of the fleet in {state}/backups/fleet",
        "with it what 'mcpwatch clients undo' needs: AI clients keep the routes that mcpwatch wrote into their files",
        f"left: {state}/notes.txt: not made by mcpwatch",
        f"left: {state}/photos: not made by mcpwatch",
    ]
    assert clean(yes=True, dry_run=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {
        "removed": [f"directory {state}"],
        "left": [f"{state}/notes.txt", f"{state}/photos"],
    }
    assert sorted(path.name for path in state.rglob("*")) == ["notes.txt", "photos"]


def test_a_name_given_twice_is_cleaned_once_and_a_link_is_left_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    for name in ("state/logs/git", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "state" / "logs" / "time").symlink_to(tmp_path / "elsewhere")
    assert clean(["git", "git"], yes=True, dry_run=False, as_json=False) == 0
    assert not (tmp_path / "state" / "logs" / "git").exists()
    with pytest.raises(UsageError, match="time: cannot be removed: it is a symbolic link"):
        clean(["time"], yes=True, dry_run=False, as_json=False)
    assert (tmp_path / "elsewhere").exists()
