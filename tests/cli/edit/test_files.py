"""What the editing commands write: comments, order and every other byte kept, in each file format; secrets go to the env file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.definition import Definition, as_member, as_server, from_json, from_words, pairs
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.listing import list_members
from mcpwatch.cli.edit.members import How, add, edit, enable, remove, rename
from mcpwatch.model.errors import ConfigError, UsageError

FLEET = """\
# my fleet
version: 1

proxy: {listen: "127.0.0.1:19391"}   # the proxy

members:
  time:   # the clock
    stdio: {command: python3}

  "git.hub":
    stdio: {command: python3, args: [-V]}
    depends_on: [time]

# the end
"""
TBXARK = """\
{
  "mcpProxy": {"baseURL": "http://127.0.0.1:19391", "addr": ":19391", "name": "p", "version": "1"},
  "mcpServers": {
    "time": {"command": "python3", "args": []}
  }
}
"""
BARE = '{"mcpServers": {"time": {"command": "python3"}}}\n'


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory without a watchdog."""
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    return tmp_path / "state"


def written(tmp_path: Path, text: str, name: str = "fleet.yaml") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def quietly(file: Path) -> How:
    return How(file, test=False)


STDIO = Definition(command=("python3", "-c", "pass"))


def test_add_puts_a_member_at_the_end_and_keeps_every_other_byte(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    assert add("news", STDIO, quietly(file)) == 0
    member = '  news:\n    stdio:\n      command: python3\n      args: ["-c", "pass"]\n'
    assert file.read_text() == FLEET.replace("\n# the end", member + "\n# the end")
    assert file.with_name("fleet.yaml.bak").read_text() == FLEET


def test_remove_takes_out_what_add_put_in(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    add("news", STDIO, quietly(file))
    assert remove("news", quietly(file)) == 0
    assert file.read_text() == FLEET


@pytest.mark.parametrize(("text", "name"), [(FLEET, "fleet.yaml"), (TBXARK, "config.json"), (BARE, "mcp-servers.json")])
def test_every_command_works_on_every_format_and_back(text: str, name: str, tmp_path: Path) -> None:
    file = written(tmp_path, text, name)
    how = quietly(file)
    before = read_fleet_file(file).members
    add("news", STDIO, how)
    enable("news", how, on=False)
    assert read_fleet_file(file).as_ours("news")["enabled"] is False
    enable("news", how, on=True)
    rename("news", "paper", how)
    assert list(read_fleet_file(file).members) == [*before, "paper"]
    remove("paper", how)
    assert read_fleet_file(file).members == before


def test_a_list_says_which_member_is_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, FLEET.replace("[time]", "[time]\n    enabled: false"))
    list_members(file, "table")
    states = {line.split()[0]: "switched off" in line for line in capsys.readouterr().out.splitlines()[1:]}
    assert states == {"time": False, "git.hub": True}


def test_rename_keeps_the_place_the_comment_and_what_depends_on_it(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    rename("time", "clock", quietly(file))
    text = file.read_text()
    assert "  clock:   # the clock\n" in text
    assert read_fleet_file(file).member("git.hub")["depends_on"] == ["clock"]
    rename("git.hub", "hub", quietly(file))
    assert list(read_fleet_file(file).members) == ["clock", "hub"]


def test_edit_sets_and_takes_out_keys(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    edit("time", ["start_grace=2m", "stdio.args=[-c, pass]", "description=A clock"], quietly(file))
    assert read_fleet_file(file).member("time") == {
        "stdio": {"command": "python3", "args": ["-c", "pass"]}, "start_grace": "2m", "description": "A clock"
    }  # fmt: skip
    edit("time", ["start_grace=", "description=", "stdio.args="], quietly(file))
    assert read_fleet_file(file).member("time") == {"stdio": {"command": "python3"}}


def test_the_first_member_of_an_empty_fleet_is_written_in_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "version: 1\nmembers: {}   # none yet\n")
    add("news", STDIO, quietly(file))
    assert "members:\n  news:\n    stdio:\n" in file.read_text()


def test_a_secret_goes_to_the_env_file_and_is_named_in_the_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, FLEET)
    definition = Definition(command=("python3",), env={"API_KEY": "s3cret-'value", "LANG": "de"})
    assert add("news", definition, How(file, test=False, dry_run=True)) == 0
    shown = capsys.readouterr().out
    assert "s3cret" not in shown
    assert "********" in shown
    assert file.read_text() == FLEET
    add("news", definition, quietly(file))
    assert "s3cret" not in file.read_text()
    assert read_fleet_file(file).member("news")["stdio"]["env"] == {"API_KEY": "${API_KEY}", "LANG": "de"}
    assert (tmp_path / ".env").read_text() == 'API_KEY="s3cret-\'value"\n'
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    add("other", Definition(url="http://127.0.0.1:1/sse", headers={"Authorization": "Bearer tok-12345"}), quietly(file))
    assert read_fleet_file(file).member("other")["headers"] == {"Authorization": "Bearer ${OTHER_AUTHORIZATION}"}
    add("third", Definition(command=("python3",), env={"API_KEY": "another-one"}), quietly(file))
    assert read_fleet_file(file).member("third")["stdio"]["env"] == {"API_KEY": "${THIRD_API_KEY}"}


def test_a_dollar_sign_of_the_command_line_is_no_variable(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    add("news", Definition(command=("python3", "$HOME", "${HOME}")), quietly(file))
    assert read_fleet_file(file).member("news")["stdio"]["args"] == ["$$HOME", "${HOME}"]


@pytest.mark.parametrize(
    ("name", "definition", "error", "said"),
    [
        ("time", STDIO, UsageError, "has a member 'time' already"),
        ("a b", STDIO, UsageError, "is no name"),
        ("news", Definition(command=("no-such-program-here",)), ConfigError, "no-such-program-here"),
        ("news", Definition(command=("python3",), bridge="127.0.0.1:19391"), ConfigError, "19391"),
    ],
)
def test_what_would_make_a_bad_fleet_changes_nothing(
    name: str, definition: Definition, error: type[Exception], said: str, tmp_path: Path
) -> None:
    file = written(tmp_path, FLEET)
    with pytest.raises(error, match=said):
        add(name, definition, quietly(file))
    assert file.read_text() == FLEET
    assert not list((tmp_path / "state" / "edits").glob("journal*")) if (tmp_path / "state").exists() else True


def test_a_file_that_is_read_only_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, FLEET)
    file.chmod(0o444)
    with pytest.raises(UsageError, match="is read-only"):
        add("news", STDIO, quietly(file))
    assert file.read_text() == FLEET


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = written(tmp_path / "real", FLEET)
    real.chmod(0o640)
    link = tmp_path / "fleet.yaml"
    link.symlink_to(real)
    add("news", STDIO, quietly(link))
    assert link.is_symlink()
    assert "news" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_format_without_a_word_for_it_says_so(tmp_path: Path) -> None:
    file = written(tmp_path, TBXARK, "config.json")
    with pytest.raises(UsageError, match="--bridge: this format has no word for it"):
        add("news", Definition(command=("python3",), bridge=":9072"), quietly(file))


@pytest.mark.parametrize(
    ("words", "given", "member"),
    [
        (["uvx", "mcp-server-time"], {}, {"stdio": {"command": "uvx", "args": ["mcp-server-time"]}}),
        (["http://h:1/mcp"], {"transport": "http"}, {"url": "http://h:1/mcp", "transport": "http"}),
        (["mcp-time"], {"bridge": ":9072"}, {"stdio": {"command": "mcp-time"}, "bridge": {"listen": ":9072"}}),
        (
            ["http://127.0.0.1:8686/sse", "serve", "--all"],
            {"image": "a/b:1", "env": {"A": "b"}},
            {
                "docker": {
                    "image": "a/b:1",
                    "command": ["serve", "--all"],
                    "environment": {"A": "b"},
                    "ports": ["127.0.0.1:8686:8686"],
                },
                "url": "http://127.0.0.1:8686/sse",
            },
        ),
    ],
)
def test_the_grammar_of_claude_mcp_add_is_read(words: list[str], given: dict[str, Any], member: dict[str, Any]) -> None:
    assert as_member(from_words(words, Definition(**given))) == member


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (["uvx"], {"transport": "sse"}, "needs a URL"),
        (["http://h/sse", "more"], {}, "follows a URL"),
        (["uvx"], {"headers": {"A": "b"}}, "--header goes with a URL"),
        (["serve"], {"image": "a/b"}, "--docker needs the URL"),
    ],
)
def test_what_does_not_fit_together_is_refused(words: list[str], given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_words(words, Definition(**given))


def test_json_of_a_client_and_of_ours_are_both_taken() -> None:
    assert as_member(from_json('{"command": "uvx", "args": ["a"]}')) == {"stdio": {"command": "uvx", "args": ["a"]}}
    assert as_member(from_json('{"type": "http", "url": "http://h/mcp"}')) == {"url": "http://h/mcp", "transport": "http"}
    ours = {"process": {"command": "x"}, "url": "http://127.0.0.1:1/sse"}
    assert as_member(from_json(json.dumps(ours))) == ours
    with pytest.raises(UsageError, match="not JSON"):
        from_json("{")
    with pytest.raises(ConfigError, match="neither 'command' nor 'url'"):
        from_json("{}")


def test_a_server_is_written_as_tbxark_reads_it() -> None:
    made = as_server(Definition(url="http://h/mcp", transport="http", headers={"A": "b$c"}), "tbxark")
    assert made == {"url": "http://h/mcp", "transportType": "streamable-http", "headers": {"A": "b$c"}}
    assert as_server(Definition(command=("x", "$A")), "mcp-servers") == {"command": "x", "args": ["$A"]}


def test_options_of_names_and_values_are_read() -> None:
    assert pairs(["A=b=c", "TOKEN"], "-e", "=") == {"A": "b=c", "TOKEN": "${TOKEN}"}
    assert pairs(["X-A: b: c"], "-H", ":") == {"X-A": "b: c"}
    with pytest.raises(UsageError, match="no name of a variable"):
        pairs(["1a=b"], "-e", "=")
    with pytest.raises(UsageError, match="write it as 'Name: value'"):
        pairs(["nothing"], "-H", ":")
