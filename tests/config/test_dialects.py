"""Other people's files, unchanged: TBXark, mcp-servers.json, sparfenyuk — the same names, the same routes, the same rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.config.importers import import_foreign
from mcpwatch.config.load import load_plan
from mcpwatch.foreign.dialects import BARE, OURS, SPARFENYUK, TBXARK, detect
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.spec import Plan
from tests.config.kinds import KINDS
from tests.config.plans import STATE, member, route

FOREIGN = Path(__file__).parent / "foreign"
EVERY = sorted(FOREIGN.iterdir())


def load(name: str, environ: dict[str, str]) -> Plan:
    return load_plan(FOREIGN / name, KINDS, environ, STATE)


@pytest.mark.parametrize(
    ("data", "dialect"),
    [
        ({"mcpProxy": {}, "mcpServers": {}}, TBXARK),
        ({"mcpProxy": {}}, TBXARK),
        ({"mcpServers": {"a": {"command": "x"}}}, BARE),
        ({"mcpServers": {"a": {"command": "x", "enabled": True}}}, SPARFENYUK),
        ({"members": {}, "mcpServers": {}}, OURS),
        ({"proxy": {}}, OURS),
        (None, OURS),
    ],
)
def test_a_dialect_is_known_by_its_top_level_keys(data: Any, dialect: object) -> None:
    assert detect(data) is dialect


def test_a_tbxark_config_serves_the_same_routes_through_the_gateway(environ: dict[str, str]) -> None:
    found = load("tbxark.json", {**environ, "GITHUB_TOKEN": "gh-secret"})
    assert found.proxy is not None
    assert (found.proxy.kind, found.proxy.listen) == ("gateway", "0.0.0.0:9090")
    assert found.proxy.base_url == "https://mcp.example.com"
    assert [r.name for r in found.routes] == ["github", "fetch", "amap", "streamed"]
    assert route(found, "github").url == "https://mcp.example.com/github/sse"


def test_tbxark_tokens_filters_and_switches_are_kept(environ: dict[str, str]) -> None:
    found = load("tbxark.json", {**environ, "GITHUB_TOKEN": "gh-secret"})
    assert found.proxy is not None
    upstreams = {upstream.name: upstream for upstream in found.proxy.upstreams}
    assert found.proxy.tokens == ("DefaultToken",)
    assert upstreams["github"].tokens == ("HelloWorld",)
    assert json.loads(upstreams["github"].options)["tools"]["block"] == ["create_or_update_file"]
    assert json.loads(upstreams["fetch"].options) == {}
    assert not member(found, "streamed").want_up


def test_a_tbxark_url_is_sse_unless_it_says_otherwise(environ: dict[str, str]) -> None:
    found = load("tbxark.json", {**environ, "GITHUB_TOKEN": "gh-secret"})
    wires = {m.name: m.direct.transport for m in found.members if m.direct and m.kind == "server"}
    assert wires == {"amap": "sse", "streamed": "http"}


def test_tbxark_variables_are_spelled_with_and_without_braces(environ: dict[str, str]) -> None:
    found = load("tbxark.json", {**environ, "GITHUB_TOKEN": "gh-secret"})
    assert found.proxy is not None
    github = found.proxy.upstreams[0]
    assert dict(github.env) == {"GITHUB_PERSONAL_ACCESS_TOKEN": "gh-secret", "HOST": "gh-secret"}
    assert "gh-secret" in found.secrets


def test_a_bare_file_is_served_on_the_default_address(environ: dict[str, str]) -> None:
    found = load("mcp-servers.json", environ)
    assert found.proxy is not None
    assert found.proxy.listen == "127.0.0.1:9090"
    wires = {upstream.name: upstream.transport for upstream in found.proxy.upstreams}
    assert wires == {"time": "stdio", "remote": "http", "legacy": "sse", "either": "auto"}
    assert not member(found, "off").want_up


def test_a_sparfenyuk_file_leaves_disabled_servers_down(environ: dict[str, str]) -> None:
    found = load("sparfenyuk.json", environ)
    assert {m.name: m.want_up for m in found.members if m.kind != "proxy"} == {"fetch": True, "git": False}


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.name)
def test_an_imported_file_means_the_same_as_the_foreign_one(path: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    known = {**environ, "GITHUB_TOKEN": "gh-secret"}
    made = tmp_path / "mcpwatch.yaml"
    made.write_text(import_foreign(path), encoding="utf-8")
    old, new = load_plan(path, KINDS, known, STATE), load_plan(made, KINDS, known, STATE)
    assert new.members == old.members
    assert new.routes == old.routes
    assert new.proxy == old.proxy


def test_an_import_keeps_variables_as_variables_and_tells_what_it_left_behind(environ: dict[str, str]) -> None:
    text = import_foreign(FOREIGN / "tbxark.json")
    assert "${GITHUB_TOKEN}" in text
    assert "# not taken over: timeout" in text
    assert "# not taken over from mcpProxy: name, version, type" in text
    assert "Values of secrets were copied" in text
    assert "Values of secrets" not in import_foreign(FOREIGN / "mcp-servers.json")


def test_importing_our_own_file_is_refused(tmp_path: Path) -> None:
    ours = tmp_path / "fleet.yaml"
    ours.write_text("members: {}")
    with pytest.raises(ConfigError, match="is no file of servers"):
        import_foreign(ours)


def test_importing_a_faulty_file_tells_all_its_faults(tmp_path: Path) -> None:
    theirs = tmp_path / "config.json"
    theirs.write_text('{"mcpServers": {"a": {}, "b": {"url": "http://h/", "type": "smoke"}}}')
    with pytest.raises(ConfigError) as caught:
        import_foreign(theirs)
    assert [fault.path for fault in caught.value.faults] == ["mcpServers.a", "mcpServers.b.type"]
