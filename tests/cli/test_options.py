"""What the command line refuses, and what it offers instead: one line, exit 2, nothing done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcpwatch.cli.clean import clean
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.main import app
from mcpwatch.cli.names import some
from mcpwatch.model.naming import suggest

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
