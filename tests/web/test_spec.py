"""What a user writes for the page, the objectives and the MCP server, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpwatch.app.kinds import all_kinds
from mcpwatch.app.web import web_of
from mcpwatch.config.load import load_plan
from mcpwatch.config.schema import schema
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.spec import Plan


def plan(directory: Path, text: str) -> Plan:
    path = directory / "fleet.yaml"
    path.write_text("members: {one: {stdio: {command: python3}}}\n" + text, encoding="utf-8")
    return load_plan(path, all_kinds(), {"T": "a-token-of-enough-length"}, directory)


def test_the_page_is_on_at_loopback_unless_it_is_switched_off(tmp_path: Path) -> None:
    assert (web_of(plan(tmp_path, "")).enabled, web_of(plan(tmp_path, "")).listen) == (True, "127.0.0.1:9465")
    assert web_of(plan(tmp_path, "web: false")).enabled is False
    assert web_of(plan(tmp_path, "web: {listen: 9999}")).listen == "127.0.0.1:9999"
    assert {"$ref": "#/$defs/WebSpec"} in schema(all_kinds())["properties"]["web"]["anyOf"]


def test_tokens_are_secrets(tmp_path: Path) -> None:
    found = plan(tmp_path, 'web: {tokens: [{token: "${T}", role: operate}]}')
    assert "a-token-of-enough-length" in found.secrets
    assert "a-token" not in repr(found)


@pytest.mark.parametrize(("text", "told"), [
    ("web: {listen: 0.0.0.0:9465}", "set web.tokens, or listen on 127.0.0.1"),
    ("web: {lissten: 1}", "did you mean 'listen'"),
    ("web: {tokens: [{token: short}]}", "is shorter than 16 characters"),
    ("web: {tokens: [{token: a-token-of-enough-length, role: admin}]}", "must be 'read' or 'operate'"),
    ("objectives: {availability: 101}", "must be at most 100"),
    ("objectives: {tool_error_rate: many%}", "is not a percentage"),
    ("proxy: {kind: external, base_url: 'http://x', expose_mcpwatch: true}", "an external proxy is not told what to serve"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, text)
    assert told in str(error.value)


def test_mcpwatch_is_one_more_route_of_the_gateway_where_that_is_asked_for(tmp_path: Path) -> None:
    found = plan(tmp_path, "proxy: {expose_mcpwatch: true}")
    route = next(one for one in found.routes if one.name == "mcpwatch")
    assert route.url == "http://127.0.0.1:9090/mcpwatch/sse"
    assert found.proxy is not None
    upstream = next(one for one in found.proxy.upstreams if one.name == "mcpwatch")
    assert upstream.args == ("-m", "mcpwatch", "--state-dir", str(tmp_path), "mcp")
    assert [one.name for one in plan(tmp_path, "").routes] == ["one"]
