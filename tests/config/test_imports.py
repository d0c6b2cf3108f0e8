"""Files as people have them: `up`, `config validate`, `init --from` and the gateway itself read each of them the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.config.importers import import_foreign
from mcpwatch.config.load import load_plan
from mcpwatch.foreign.server import proposal, servable
from mcpwatch.gateway import dialects as gateway
from mcpwatch.gateway import settings_reader
from mcpwatch.model.errors import ConfigError
from tests.config.kinds import KINDS
from tests.config.plans import STATE

URL = "http://127.0.0.1:23001"
TIME: dict[str, Any] = {"command": "mcp-server-time"}
PROXY = {"baseURL": URL, "addr": "127.0.0.1:23001", "name": "p", "version": "1"}
Reading = dict[str, dict[str, Any]]


def wrote(tmp_path: Path, document: Any, name: str = "config.json") -> Path:
    path = tmp_path / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def by_up(path: Path, environ: dict[str, str]) -> Reading:
    proxy = load_plan(path, KINDS, environ, STATE).proxy
    assert proxy is not None
    found: Reading = {}
    for upstream in proxy.upstreams:
        options: dict[str, Any] = json.loads(upstream.options)
        tools: dict[str, Any] = options.get("tools") or {}
        found[upstream.name] = {
            "command": upstream.command or None,
            "args": upstream.args,
            "env": dict(upstream.env),
            "url": upstream.url or None,
            "headers": dict(upstream.headers),
            "allow": tuple(tools.get("allow", ())),
            "block": tuple(tools.get("block", ())),
        }
    return found


def by_gateway(path: Path, environ: dict[str, str]) -> Reading:
    return {
        server.name: {
            "command": server.command,
            "args": server.args,
            "env": dict(server.env),
            "url": server.url,
            "headers": dict(server.headers),
            "allow": server.tools.allow,
            "block": server.tools.block,
        }
        for server in gateway.load(path, environ).servers
    }


def everyone(path: Path, environ: dict[str, str]) -> Reading:
    """What all readers make of a file, which must be the same."""
    by = by_up(path, environ)
    assert by_gateway(path, environ) == by
    imported = path.with_name("imported.yaml")
    imported.write_text(import_foreign(path), "utf-8")
    assert by_up(imported, environ) == by
    return by


def faults(path: Path, environ: dict[str, str]) -> list[str]:
    """The faults that all readers tell of a file, by path."""
    found: list[list[str]] = []
    for read in (by_up, by_gateway):
        with pytest.raises(ConfigError) as caught:
            read(path, environ)
        found.append([f"{fault.path}: {fault.message}" for fault in caught.value.faults])
    assert found[0] == found[1]
    return found[0]


def test_variables_of_a_tbxark_file_are_filled_in_everywhere(tmp_path: Path, environ: dict[str, str]) -> None:
    servers = {"env": {**TIME, "env": {"A": "${MY_GATE_TOKEN}", "B": "$MY_GATE_TOKEN"}}}
    path = wrote(tmp_path, {"mcpProxy": {**PROXY, "options": {"authTokens": ["${MY_GATE_TOKEN}"]}}, "mcpServers": servers})
    found = everyone(path, {**environ, "MY_GATE_TOKEN": "tok-gate"})
    assert found["env"]["env"] == {"A": "tok-gate", "B": "tok-gate"}
    settings = gateway.load(path, {"MY_GATE_TOKEN": "tok-gate"})
    assert settings.servers[0].digests == (settings_reader.digest("tok-gate"),)
    assert "variable MY_GATE_TOKEN is not set" in faults(path, environ)[0]


@pytest.mark.parametrize(
    ("filtered", "allow", "block"),
    [
        ({"mode": "Block", "list": ["x"]}, (), ("x",)),
        ({"mode": "ALLOW", "list": ["x"]}, ("x",), ()),
        ({"list": ["x"]}, ("x",), ()),
        ({"mode": "allow", "list": []}, (), ()),
    ],
)
def test_a_tool_filter_is_read_without_regard_to_case(
    tmp_path: Path, environ: dict[str, str], filtered: Any, allow: Any, block: Any
) -> None:
    found = everyone(
        wrote(tmp_path, {"mcpProxy": PROXY, "mcpServers": {"a": {**TIME, "options": {"toolFilter": filtered}}}}), environ
    )
    assert (found["a"]["allow"], found["a"]["block"]) == (allow, block)


def test_a_tool_filter_that_is_not_understood_never_opens(tmp_path: Path, environ: dict[str, str]) -> None:
    path = wrote(tmp_path, {"mcpServers": {"a": {**TIME, "options": {"toolFilter": {"mode": "some", "list": ["x"]}}}}})
    assert faults(path, environ) == ["mcpServers.a.options.toolFilter.mode: must be 'allow' or 'block'"]


def test_a_star_is_every_tool_and_lists_of_clients_are_filters(tmp_path: Path, environ: dict[str, str]) -> None:
    servers = {"a": {**TIME, "tools": ["*"]}, "b": {**TIME, "tools": ["x"]}, "c": {**TIME, "excludeTools": ["y"]}}
    found = everyone(wrote(tmp_path, {"mcpServers": servers}), environ)
    assert [(found[name]["allow"], found[name]["block"]) for name in "abc"] == [((), ()), (("x",), ()), ((), ("y",))]


@pytest.mark.parametrize("more", [{}, {"enabled": True}], ids=["mcp-servers", "sparfenyuk"])
def test_a_dollar_sign_stays_where_the_format_has_no_escape(tmp_path: Path, environ: dict[str, str], more: Any) -> None:
    env = {"A": "pa$$w0rd", "B": "a$b", "C": "$HOME/x", "D": "${1}", "E": "$"}
    found = everyone(wrote(tmp_path, {"mcpServers": {"a": {**TIME, **more, "env": env}}}), environ)
    assert found["a"]["env"] == env


def test_what_nobody_reads_is_not_filled_in_and_disabled_servers_are_not_demanded(tmp_path: Path, environ: dict[str, str]) -> None:
    servers = {
        "time": {**TIME, "description": "set ${NOT_SET} first", "envFile": "${workspaceFolder}/.env"},
        "off": {"command": "nope", "disabled": True, "env": {"K": "${NOT_SET}"}},
    }
    assert list(everyone(wrote(tmp_path, {"mcpServers": servers}), environ)) == ["time"]


def test_every_spelling_of_a_url_and_of_a_transport_is_taken(tmp_path: Path, environ: dict[str, str]) -> None:
    servers: dict[str, Any] = {
        "a": {"serverUrl": f"{URL}/sse"},
        "b": {"httpUrl": f"{URL}/mcp", "headers": {"X": 1}},
        "c": {"type": "HTTP", "url": f"{URL}/mcp"},
        "d": {"type": "remote", "url": f"{URL}/mcp"},
        "e": {"transport": {"type": "sse", "url": f"{URL}/sse"}},
        "f": {"type": "local", **TIME},
        "g": {"command": ["mcp-server-time", "--x"], "args": ["--port", 8080]},
    }
    found = everyone(wrote(tmp_path, {"mcpServers": servers}), environ)
    assert [found[name]["url"] for name in "abcde"] == [f"{URL}/sse", f"{URL}/mcp", f"{URL}/mcp", f"{URL}/mcp", f"{URL}/sse"]
    assert found["b"]["headers"] == {"X": "1"}
    assert (found["g"]["command"], found["g"]["args"]) == ("mcp-server-time", ("--x", "--port", "8080"))


def test_numbers_truth_values_and_null_are_taken_as_clients_take_them(tmp_path: Path, environ: dict[str, str]) -> None:
    servers = {
        "a": {**TIME, "env": {"PORT": 8080, "DEBUG": True, "EMPTY": "", "NULL": None}},
        "b": {**TIME, "args": None, "env": None, "cwd": None},
    }
    found = everyone(wrote(tmp_path, {"mcpServers": servers}), environ)
    assert found["a"]["env"] == {"PORT": "8080", "DEBUG": "true", "EMPTY": ""}
    assert (found["b"]["args"], found["b"]["env"]) == ((), {})


def test_each_server_that_cannot_be_meant_is_told_once_at_its_line(tmp_path: Path, environ: dict[str, str]) -> None:
    servers: dict[str, Any] = {
        "strargs": {**TIME, "args": "--a b"},
        "disabledstr": {**TIME, "disabled": "true"},
        "both": {**TIME, "url": f"{URL}/sse"},
        "emptyurl": {"url": ""},
        "typo": {"httpUrl ": f"{URL}/mcp"},
        "ws": {"type": "ws", "url": "ws://h/"},
        "note": "just a comment",
        "none": {**TIME, "tools": []},
    }
    with pytest.raises(ConfigError) as caught:
        by_gateway(wrote(tmp_path, json.dumps({"mcpServers": servers}, indent=1)), environ)
    told = [(fault.path, fault.line) for fault in caught.value.faults]
    assert [path.split(".")[1] for path, _ in told] == list(servers)
    assert all(line is not None for _, line in told)
    assert "'httpUrl ' is not 'httpUrl'" in str(caught.value)


def test_a_name_that_no_route_can_have_is_told_once_with_a_proposal_and_imported_under_it(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    names = ["My Time Server", "io.github.someone/time", "Home (lab)", "zeit-äöü", "@scope/pkg", "sse", "healthz"]
    path = wrote(tmp_path, {"mcpServers": dict.fromkeys([*names, "time", "Time"], TIME)})
    told = faults(path, environ)
    assert len(told) == len(names)
    assert "rename it, e.g. 'My-Time-Server'" in told[0]
    imported = wrote(tmp_path, import_foreign(path), "imported.yaml")
    assert "# was called 'Home (lab)'" in imported.read_text("utf-8")
    expected = ["My-Time-Server", "io.github.someone-time", "Home-lab", "zeit-aeoeue", "scope-pkg", "sse-server", "healthz-server"]
    assert list(by_up(imported, environ)) == [*expected, "time", "Time"]


@pytest.mark.parametrize("name", ["", "/", "x" * 100, "日本", "-", ".", "a b", "mcp", "..", "a" * 63])
def test_a_proposal_is_always_servable_and_free(name: str) -> None:
    first = proposal(name)
    second = proposal(name, {first})
    assert servable(first)
    assert servable(second)
    assert first != second


def test_variables_of_editors_are_understood_or_named_as_not_portable(tmp_path: Path, environ: dict[str, str]) -> None:
    here = {**environ, "TOK": "tok-1234", "HOME": "/home/me"}
    env = {"A": "${env:HOME}", "B": "${userHome}/x", "C": "${input:tok}"}
    found = everyone(wrote(tmp_path, {"mcpServers": {"a": {**TIME, "env": env}}}), here)
    assert found["a"]["env"] == {"A": "/home/me", "B": "/home/me/x", "C": "tok-1234"}
    path = wrote(tmp_path, {"mcpServers": {"a": {**TIME, "args": ["${workspaceFolder}", "${command:x}"]}}})
    assert [text.split(": ", 1)[1] for text in faults(path, here)] == [
        "${workspaceFolder} is known to an editor only; write the value itself",
        "${command:x} is known to an editor only; write the value itself",
    ]
    assert "# write out ${workspaceFolder}: only an editor knows it" in import_foreign(path)


@pytest.mark.parametrize(
    "document",
    [
        {"numStartups": 12, "projects": {"/p": {"mcpServers": {"p": TIME}}}, "mcpServers": {"time": TIME}},
        {"editor.fontSize": 12, "mcp": {"servers": {"time": TIME}}},
        {"inputs": [], "servers": {"time": {"type": "stdio", **TIME}}},
        '{\n  // of the team\n  "mcpServers": {"time": {"command": "mcp-server-time", }, /* fine */ },\n}',
        '\ufeff{"mcpServers": {"time": {"command": "mcp-server-time"}}}',
        '/* c */ {"mcpProxy": {"addr": ":9090"}, "mcpServers": {"time": {"command": "mcp-server-time"}}}',
    ],
    ids=["claude.json", "settings.json", "mcp.json", "comments", "a byte order mark", "a commented TBXark file"],
)
def test_files_of_clients_are_read_where_their_servers_are(tmp_path: Path, environ: dict[str, str], document: Any) -> None:
    assert list(everyone(wrote(tmp_path, document), environ)) == ["time"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codex.toml", '[mcp_servers.time]\ncommand = "mcp-server-time"\n'),
        ("litellm.yaml", "mcp_servers:\n  time:\n    url: http://127.0.0.1:1/mcp\n    transport: http\n"),
    ],
)
def test_toml_and_yaml_of_clients_are_imported(tmp_path: Path, environ: dict[str, str], name: str, text: str) -> None:
    path = wrote(tmp_path, text, name)
    imported = wrote(tmp_path, import_foreign(path), "imported.yaml")
    assert list(by_up(imported, environ)) == list(by_up(path, environ)) == ["time"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"services": {"fetch": {"image": "x"}}}, "is a compose file"),
        ({"server": {"addr": ":1"}, "clients": {"time": {"type": "stdio"}}}, "is in TBXark's first format"),
    ],
)
def test_what_is_none_of_them_is_named_for_what_it_is(tmp_path: Path, environ: dict[str, str], document: Any, said: str) -> None:
    path = wrote(tmp_path, document)
    assert said in faults(path, environ)[0]
    with pytest.raises(ConfigError, match=said):
        import_foreign(path)
