"""Servers of other people's files come into the fleet once, secrets in the env file; what cannot come is named."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from mcpwatch.app.kinds import all_kinds
from mcpwatch.cli.control import ControlSettings
from mcpwatch.cli.edit.fleet_file import read_fleet_file
from mcpwatch.cli.edit.trial import Trial, TrialFailed, TrialTimedOut
from mcpwatch.cli.importing.ask import ask
from mcpwatch.cli.importing.canary import with_canary, without_canary
from mcpwatch.cli.importing.found import FoundServer, Wish, merged, servers_in
from mcpwatch.cli.importing.run import bring_in, look
from mcpwatch.config.load import load_plan, read_document
from mcpwatch.model.errors import ConfigError, UsageError

HERE = Path(__file__).parent
CASES = sorted((HERE / "imports").iterdir())
GOLDEN = sorted(
    path
    for path in (HERE.parent / "clients").glob("*/*")
    if path.suffix in (".json", ".toml", ".yaml") and path.stem in ("before", "after") and path.parent.name != "open-webui"
)
FOREIGN = sorted((HERE.parent / "config" / "foreign").iterdir())
FLEET = "version: 1\nproxy: {listen: '127.0.0.1:19397'}\nmembers:\n  there: {url: 'http://10.0.0.7:1/sse'}\n"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    return file


def found(data: Any, source: str = "a.json") -> dict[str, FoundServer]:
    return {one.original: one for one in servers_in(data, source)}


def test_there_are_sixty_files_to_read() -> None:
    assert len([*CASES, *GOLDEN, *FOREIGN]) >= 60


@pytest.mark.parametrize("path", [*CASES, *GOLDEN, *FOREIGN], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_server_of_a_real_file_is_brought_in_or_named_with_a_reason(path: Path) -> None:
    data: dict[str, Any] = {}
    with contextlib.suppress(ConfigError):
        read: Any = read_document(path).data
        data = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    entries = list(servers_in(data, str(path)))
    for one in entries:
        assert bool(one.member) != bool(one.trouble), one
        assert one.sources == (str(path),)
    names = {one.original for one in entries}
    for table in ("mcpServers", "mcp_servers", "context_servers", "servers"):
        servers: dict[str, Any] = data[table] if isinstance(data.get(table), dict) else {}
        if any(isinstance(item, dict) and ("command" in item or "url" in item) for item in servers.values()):
            assert set(servers) <= names, "nothing is lost"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "x", "env": {"T": "${input:tok}"}}, "asked of a person by the editor"),
        ({"command": "x", "args": ["${workspaceFolder}"]}, "known to the editor only"),
        ({"url": "http://h/mcp", "oauth": {"clientId": "a"}}, "logs in by OAuth"),
        ({"command": "C:\\Program Files\\node.exe"}, "written for Windows"),
        ({"url": "https://me:s3cret@h/sse"}, "has credentials in its URL"),
        ({"command": "cmd", "args": ["/c", "npx", "x"]}, "written for Windows"),
        ({"type": "ws", "url": "ws://h/mcp"}, "unknown transport 'ws'"),
        ({"command": "", "args": []}, "neither 'command' nor 'url'"),
        ("a note", "is no server"),
    ],
)
def test_what_cannot_be_carried_over_is_named(entry: Any, why: str) -> None:
    one = found({"mcpServers": {"a": entry, "good": {"command": "x"}}})["a"]
    assert why in one.trouble
    assert not one.member


def test_words_of_single_clients_are_understood() -> None:
    opencode = {"mcp": {"a": {"type": "local", "command": ["uvx", "b"], "environment": {"K": "v"}, "enabled": True}}}
    assert found(opencode)["a"].member["stdio"] == {"command": "uvx", "args": ["b"], "env": {"K": "v"}}
    goose = {"extensions": {"a": {"type": "stdio", "cmd": "uvx", "args": ["b"], "envs": {"K": "v"}}}}
    assert found(goose)["a"].member["stdio"] == {"command": "uvx", "args": ["b"], "env": {"K": "v"}}
    listed = {"mcpServers": [{"name": "a", "command": "uvx"}]}
    assert found(listed)["a"].member["stdio"] == {"command": "uvx"}
    claude = {"mcpServers": {"a": {"command": "x"}}, "projects": {"/p": {"mcpServers": {"b": {"command": "y"}}}}}
    assert set(found(claude)) == {"a", "b"}
    compose = {
        "services": {"mcp-pg": {"image": "crystaldba/postgres-mcp:0.3.0", "ports": ["8686:8000"]}, "db": {"image": "postgres"}}
    }
    assert found(compose)["mcp-pg"].member == {
        "docker": {"image": "crystaldba/postgres-mcp:0.3.0", "ports": ["127.0.0.1:8686:8000"]},
        "url": "http://127.0.0.1:8686/sse",
    }
    assert "does not look like an MCP server" in found(compose)["db"].trouble
    ours = {"version": 1, "members": {"a": {"stdio": {"command": "x"}, "start_grace": "2m"}}}
    assert found(ours)["a"].member == {"stdio": {"command": "x"}, "start_grace": "2m"}


def test_the_same_server_of_several_clients_comes_once_and_names_stay_apart() -> None:
    one = [*servers_in({"mcpServers": {"time": {"command": "/usr/bin/t"}, "far": {"url": "http://127.0.0.1:9090/x/sse"}}}, "a")]
    two = [
        *servers_in(
            {"mcpServers": {"clock": {"command": "t"}, "time": {"command": "t", "args": ["-x"]}, "old": {"url": "http://h/sse"}}},
            "b",
        )
    ]
    known = {FoundServer("there", {"url": "http://h/sse"}, (), "there").key}
    made = merged([*one, *two], {"taken"}, known, {"127.0.0.1:9090"})
    assert [(item.name, item.sources, item.trouble) for item in made] == [
        ("time", ("a", "b"), ""),
        ("time-2", ("b",), ""),
        ("far", ("a",), "is a route of this fleet already"),
        ("old", ("b",), "the fleet has it already"),
    ]


def test_an_import_writes_one_edit_with_the_secrets_in_the_env_file(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = {
        "a b": {"command": sys.executable, "env": {"API_KEY": "s3cret-one"}},
        "two": {"command": sys.executable, "args": ["-V"], "env": {"API_KEY": "s3cret-two", "GONE": "${NOT_SET_ANYWHERE}"}},
        "three": {"command": sys.executable, "args": ["-c", "x"], "env": {"API_KEY": "s3cret-two"}},
    }
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": servers}))
    before = source.read_bytes()
    with pytest.raises(UsageError, match="say --yes"):
        bring_in([source], Wish(fleet, test=False))
    assert bring_in([source], Wish(fleet, test=False, dry_run=True)) == 0
    assert "s3cret" not in capsys.readouterr().out
    assert fleet.read_text() == FLEET
    assert bring_in([source], Wish(fleet, test=False, yes=True, as_json=True)) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["imported"] == ["a-b", "three"]
    told = {one["name"]: one["trouble"] for one in said["found"]}
    assert told["two"] == "the variable NOT_SET_ANYWHERE is not set; put it into the env file first"
    assert "s3cret" not in fleet.read_text()
    assert (tmp_path / ".env").read_text() == "API_KEY=s3cret-one\nTHREE_API_KEY=s3cret-two\n"
    assert set(read_fleet_file(fleet).members) == {"there", "a-b", "three"}
    assert source.read_bytes() == before


def test_a_diff_shows_no_secret_that_was_there_before(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text("# OLD=s3cret-old\nexport OTHER_KEY='s3cret other'\n")
    fleet.write_text(FLEET.replace("{url: 'http://10.0.0.7:1/sse'}", "{url: 'http://h/sse', headers: {X-Api-Key: s3cret-mine}}"))
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {"a": {"command": sys.executable, "env": {"API_KEY": "s3cret-new"}}}}))
    assert bring_in([source], Wish(fleet, test=False, dry_run=True)) == 0
    said = capsys.readouterr().out
    assert "s3cret" not in said
    assert {" # OLD=********", " export OTHER_KEY=********", "+API_KEY=********"} <= set(said.splitlines())
    assert "X-Api-Key: ********" in said


def test_a_secret_in_a_url_goes_to_the_env_file_too(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = {
        "key": "http://127.0.0.1:1/sse?a=1&key=s3cret%2Bone&page=2",
        "open": "http://127.0.0.1:1/sse?page=2&key=${KEY_OF_MINE}&monkey=banana",
    }
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {name: {"url": url} for name, url in urls.items()}}))
    (tmp_path / ".env").write_text("KEY_OF_MINE=abcdef\n")
    fleet.write_text(FLEET + "env_file: .env\n")
    assert bring_in([source], Wish(fleet, test=False, yes=True)) == 0
    assert "s3cret" not in capsys.readouterr().out
    members = read_fleet_file(fleet).members
    assert {name: members[name]["url"] for name in urls} == {
        "key": "http://127.0.0.1:1/sse?a=1&key=${KEY_URL_KEY}&page=2",
        "open": urls["open"],
    }
    assert (tmp_path / ".env").read_text().splitlines()[1:] == ["KEY_URL_KEY='s3cret%2Bone'"]
    plan = load_plan(fleet, all_kinds(), {}, tmp_path / "state")
    assert plan.proxy is not None
    assert {one.name: one.url for one in plan.proxy.upstreams}["key"] == urls["key"]
    assert "s3cret%2Bone" in plan.secrets, "masked wherever it is shown"


def test_what_was_brought_in_before_is_there_already_though_its_secrets_went_to_the_env_file(fleet: Path, tmp_path: Path) -> None:
    servers = {
        "a": {"command": sys.executable, "env": {"API_KEY": "s3cret$one"}},
        "b": {"url": "http://127.0.0.1:1/sse?key=s3cret-two"},
    }
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": servers}))
    assert bring_in([source], Wish(fleet, test=False, yes=True)) == 0
    assert {one.name: one.trouble for one in look([(source, "")], read_fleet_file(fleet), strict=True)} == dict.fromkeys(
        "ab", "the fleet has it already"
    )


def test_only_those_that_are_named_come(fleet: Path, tmp_path: Path) -> None:
    source = tmp_path / "mcp.json"
    source.write_text(
        json.dumps({"mcpServers": {"a": {"command": sys.executable}, "b": {"command": sys.executable, "args": ["-V"]}}})
    )
    assert bring_in([source], Wish(fleet, only=("b",), test=False, yes=True)) == 0
    assert set(read_fleet_file(fleet).members) == {"there", "b"}
    with pytest.raises(UsageError, match="--only c: no such server"):
        bring_in([source], Wish(fleet, only=("c",), test=False, yes=True))


def test_a_file_that_cannot_be_read_is_refused_when_named_and_told_when_found(fleet: Path, tmp_path: Path) -> None:
    source = tmp_path / "mcp.json"
    source.write_text("{")
    file = read_fleet_file(fleet)
    with pytest.raises(ConfigError):
        look([(source, "")], file, strict=True)
    assert "not JSON" in look([(source, "cursor")], file, strict=False)[0].trouble


def test_variables_of_gemini_are_variables_and_a_dollar_sign_of_others_is_none(fleet: Path, tmp_path: Path) -> None:
    entry = {"mcpServers": {"a": {"command": sys.executable, "env": {"A": "$HOME/x", "B": "${HOME}", "C": "5$"}}}}
    for directory, value in ((".gemini", "${HOME}/x"), (".cursor", "$$HOME/x")):
        source = tmp_path / directory / "settings.json"
        source.parent.mkdir()
        source.write_text(json.dumps(entry))
        one = look([(source, "")], read_fleet_file(fleet), strict=True)[0]
        assert one.member["stdio"]["env"] == {"A": value, "B": "${HOME}", "C": "5$$"}


@pytest.mark.parametrize("name", ["on", "yes", "no", "null", "1", "1e3", "0x1F", "true", "a.b"])
def test_a_name_that_yaml_would_read_as_something_else_stays_a_name(name: str, fleet: Path, tmp_path: Path) -> None:
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {name: {"command": sys.executable, "args": ["on", "1", "null", "~"]}}}))
    assert bring_in([source], Wish(fleet, test=False, yes=True)) == 0
    members = read_fleet_file(fleet).members
    assert set(members) == {"there", name}
    assert members[name]["stdio"]["args"] == ["on", "1", "null", "~"]
    again = tmp_path / "again.yaml"
    again.write_text(f"mcpServers:\n  {name}: {{command: {sys.executable}, args: [-V]}}\n")
    assert [one.original for one in servers_in(read_document(again).data, "again")] == [name]


def test_a_directory_stands_for_its_files_and_what_cannot_be_read_in_it_is_told(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    (many / "a.json").write_text(json.dumps({"mcpServers": {"a": {"command": sys.executable}}}))
    (many / "b.toml").write_text(f'[mcp_servers.b]\ncommand = "{sys.executable}"\nargs = ["-V"]\n')
    (many / "broken.json").write_text("{")
    (many / "notes.txt").write_text("{")
    assert bring_in([many], Wish(fleet, test=False, yes=True, as_json=True)) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["imported"] == ["a", "b"]
    assert "not JSON" in next(one["trouble"] for one in said["found"] if one["original"] == "broken.json")


def test_the_first_import_makes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControlSettings, "state_dir", tmp_path / "state")
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {"a": {"command": sys.executable}}}))
    assert bring_in([source], Wish(tmp_path / "new.yaml", test=False, yes=True)) == 0
    assert set(read_fleet_file(tmp_path / "new.yaml").members) == {"a"}


@pytest.mark.parametrize(
    ("command", "args", "tool"),
    [
        ("mcp-server-time", [], "get_current_time"),
        ("/opt/bin/mcp-server-time", ["--local-timezone", "UTC"], "get_current_time"),
        ("uvx", ["mcp-server-time@latest"], "get_current_time"),
        ("uvx", ["--from", "mcp-server-time==2025.1.1", "mcp-server-time"], "get_current_time"),
        ("npx", ["-y", "@modelcontextprotocol/server-memory"], "read_graph"),
        ("npx", ["-y", "@modelcontextprotocol/server-memory@2025.4.25"], "read_graph"),
        ("uvx", ["@modelcontextprotocol/server-memory"], None),  # not of that registry
        ("mcp-server-git", ["--repository", "/srv"], None),  # its canary needs to know the directory
        ("mcp-server-fetch", [], None),  # it has none
        ("my-own", [], None),
    ],
)
def test_the_catalogues_canary_is_proposed_for_a_known_server(command: str, args: list[str], tool: str | None) -> None:
    one = with_canary(FoundServer("a", {"stdio": {"command": command, "args": args}}, (), "a"))
    assert (one.member.get("checks", {}).get("canary", {}).get("tool"), one.proposed or None) == (tool, tool)
    assert without_canary(one).member == {"stdio": {"command": command, "args": args}}


def test_no_canary_is_proposed_where_there_are_checks_or_nothing_is_run() -> None:
    checked = FoundServer("a", {"stdio": {"command": "mcp-server-time"}, "checks": {"mcp": {}}}, (), "a")
    far = FoundServer("b", {"url": "http://h/sse"}, (), "b")
    assert [with_canary(one) for one in (checked, far)] == [checked, far]


def test_a_proposed_canary_that_fails_keeps_no_server_out(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[bool] = []

    def trial(name: str, member: Any, *rest: object) -> Trial:
        tried.append("checks" in member)
        if "checks" in member:
            raise TrialFailed(f"{name}: check canary: no such tool")
        return Trial(("x",), 9, 0.1)

    monkeypatch.setattr("mcpwatch.cli.importing.run.try_member", trial)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "mcp-server-time").write_text("#!/bin/sh\n")
    (tmp_path / "mcp-server-time").chmod(0o755)
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {"time": {"command": "mcp-server-time"}}}))
    assert bring_in([source], Wish(fleet, yes=True)) == 0
    assert tried == [True, False]
    assert (
        "without the catalogue's canary get_current_time, which fails (time: check canary: no such tool)" in capsys.readouterr().out
    )
    assert "checks" not in read_fleet_file(fleet).members["time"]


def test_a_trial_without_an_answer_is_not_repeated(fleet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[str] = []

    def trial(name: str, *rest: object) -> Trial:
        tried.append(name)
        raise TrialTimedOut(f"{name}: no proof within 9s")

    monkeypatch.setattr("mcpwatch.cli.importing.run.try_member", trial)
    (tmp_path / "mcp-server-time").write_text("#!/bin/sh\n")
    (tmp_path / "mcp-server-time").chmod(0o755)
    source = tmp_path / "mcp.json"
    source.write_text(json.dumps({"mcpServers": {"time": {"command": f"{tmp_path}/mcp-server-time"}}}))
    assert bring_in([source], Wish(fleet, yes=True)) == 1
    assert tried == ["time"]


def test_what_is_found_is_told_with_the_client_that_has_it(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".cursor").mkdir()
    (tmp_path / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"a": {"command": sys.executable}}}))
    assert bring_in([], Wish(fleet, dry_run=True)) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-5:] == ["cursor", "can", "be", "brought", "in"]


def test_the_wizard_asks_about_the_clients_of_the_chosen_servers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [
        FoundServer("a", {"stdio": {"command": "x"}}, ("cursor.json",), "a"),
        FoundServer("b", {"url": "http://h"}, ("zed.json",), "b"),
    ]
    asked: list[str] = []

    def confirm(question: str, default: bool) -> bool:
        asked.append(question)
        return True

    def clients(some: Sequence[FoundServer]) -> list[str]:
        return [source.removesuffix(".json") for one in some for source in one.sources if source != "zed.json"]

    def chosen(_: str, default: str) -> str:
        return names[0]

    names = ["a"]
    monkeypatch.setattr("typer.prompt", chosen)
    monkeypatch.setattr("typer.confirm", confirm)
    assert ask(Wish(), here, clients).replace_clients
    assert asked == ["Replace the entries of cursor by the routes? ('mcpwatch clients undo' takes it back)"]
    names[0] = "b"
    assert not ask(Wish(), here, clients).replace_clients
    assert len(asked) == 1, "no client has what was chosen"


def on_a_terminal(argv: list[str], env: dict[str, str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer what it asks: its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown, left = "", list(answers)
    try:
        while True:
            if not select.select([ours], [], [], 50.0)[0]:
                raise AssertionError(f"it waits for something else than {left}: {shown}")
            try:
                shown += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
            if left and left[0][0] in shown.rpartition("\n")[2]:
                os.write(ours, left.pop(0)[1].encode() + b"\n")
                shown += "\n"
    finally:
        os.close(ours)
        process.kill() if left else None
        code = process.wait(50)
    return code, shown


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_wizard_asks_shows_and_asks_again_before_it_writes(fleet: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".cursor").mkdir(parents=True)
    servers = {
        "a": {"command": sys.executable},
        "b": {"command": sys.executable, "args": ["-V"], "env": {"API_KEY": "s3cret-value"}},
    }
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    env = {**os.environ, "HOME": str(home), "MCPWATCH_STATE_DIR": str(tmp_path / "state"), "NO_COLOR": "1", "COLUMNS": "200"}
    env.pop("XDG_CONFIG_HOME", None)
    argv = [sys.executable, "-m", "mcpwatch", "import", "--no-test", "-c", str(fleet)]
    asked = [("Which of them?", "bb"), ("Which of them?", "b"), ("Replace the entries of cursor", "y")]
    code, shown = on_a_terminal(argv, env, [*asked, ("write this into", "n")])
    assert (code, fleet.read_text()) == (2, FLEET), shown
    assert "did you mean 'b'?" in shown
    assert "+  b:" in shown
    assert "s3cret-value" not in shown
    code, shown = on_a_terminal(argv, env, [("Which of them?", "b"), ("Replace", "y"), ("write this into", "y")])
    assert code == 0, shown
    assert set(read_fleet_file(fleet).members) == {"there", "b"}
    assert read_fleet_file(fleet).document["clients"] == [{"kind": "cursor"}]
    assert "mcpwatch sync --force" in shown
