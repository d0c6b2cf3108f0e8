"""The sparfenyuk and external kinds: what they read, where their routes are, what they cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mcpwatch.model.errors import ConfigError
from mcpwatch.model.spec import ProxySpec, UpstreamSpec
from mcpwatch.proxies.external import External, UnmanagedProxySpec
from mcpwatch.proxies.sparfenyuk import Sparfenyuk, SparfenyukSpec

HERE = Path("/state")
TIME = UpstreamSpec("time", "stdio", "mcp-server-time", ("--local-timezone", "UTC"), (("TZ", "UTC"),))


def spec(*upstreams: UpstreamSpec, **options: Any) -> ProxySpec:
    made = SparfenyukSpec.model_validate(options)
    return ProxySpec("sparfenyuk", "proxy", "127.0.0.1:9090", "http://127.0.0.1:9090", (), upstreams, made)


def test_a_stdio_server_is_named_as_it_is() -> None:
    (file,) = Sparfenyuk().render(spec(TIME), HERE)
    assert (file.path, file.mode) == (HERE / "proxy" / "servers.json", 0o600)
    assert json.loads(file.text)["mcpServers"]["time"] == {
        "command": "mcp-server-time", "args": ["--local-timezone", "UTC"], "env": {"TZ": "UTC", "MCPWATCH_CHILD": "time"},
    }  # fmt: skip


def test_a_url_is_reached_through_a_second_copy_and_its_token_stays_out_of_every_argv() -> None:
    upstream = UpstreamSpec("pg", "auto", url="http://mcp-postgres:8686/sse", headers=(("Authorization", "Bearer s3cret"),))
    proxy = spec(upstream, binary="/opt/mcp-proxy")
    (file,) = Sparfenyuk().render(proxy, HERE)
    server = json.loads(file.text)["mcpServers"]["pg"]
    assert server == {
        "command": "/opt/mcp-proxy",
        "args": ["--transport", "sse", "http://mcp-postgres:8686/sse"],
        "env": {"API_ACCESS_TOKEN": "s3cret"},
    }
    assert "s3cret" not in " ".join(Sparfenyuk().command(proxy, HERE))


def test_it_is_started_on_its_address_with_its_file() -> None:
    assert Sparfenyuk().command(spec(TIME, allow_origins=["http://a"], stateless=True), HERE) == (
        "mcp-proxy", "--host", "127.0.0.1", "--port", "9090", "--stateless", "--allow-origin", "http://a",
        "--named-server-config", "/state/proxy/servers.json",
    )  # fmt: skip
    assert Sparfenyuk().container(spec(TIME), HERE)["command"][1] == "0.0.0.0"  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"tokens": ("t",)}, "members.time.auth.tokens: a proxy of kind 'sparfenyuk' accepts every caller without a token"),
        ({"options": '{"tools": {"allow": ["a"]}}'}, "shows all tools"),
        ({"options": '{"timeout": 3}'}, "members.time.proxy_options"),
        ({"cwd": "/srv"}, "runs servers in its own directory"),
        ({"headers": (("X-Key", "v"),)}, "takes headers on its command line"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_tried(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Sparfenyuk().render(spec(replace(TIME, **change)), HERE)
    assert fault in str(refusal.value)


def test_tokens_for_all_routes_are_refused_because_it_would_let_everybody_in() -> None:
    with pytest.raises(ConfigError, match="accepts every caller without a token"):
        Sparfenyuk().render(replace(spec(TIME), tokens=("t",)), HERE)


def test_its_routes_and_its_log_are_known() -> None:
    assert Sparfenyuk().routes(spec(), "time") == {"sse": "/servers/time/sse", "http": "/servers/time/mcp"}
    hint = Sparfenyuk().hint("[I 2026-11-21 04:10:00,123.123 mcp_proxy.mcp_server] Setting up named server 'time': mcp-server-time")
    assert hint is not None
    assert (hint.member, hint.meaning) == ("time", "mounting")
    ready = Sparfenyuk().hint("INFO:     Uvicorn running on http://127.0.0.1:9090 (Press CTRL+C to quit)")
    assert ready is not None
    assert ready.meaning == "ready"
    assert Sparfenyuk().hint("INFO:     127.0.0.1 - GET /status") is None


def test_a_proxy_of_others_has_the_routes_of_what_it_is_like_or_those_written() -> None:
    plain = ProxySpec(
        "external",
        "proxy",
        "127.0.0.1:9090",
        "http://10.0.0.7:8585",
        options=UnmanagedProxySpec.model_validate({"like": "sparfenyuk"}),
    )
    assert External().routes(plain, "x")["sse"] == "/servers/x/sse"
    written = replace(plain, options=UnmanagedProxySpec.model_validate({"routes": {"http": "/api/{name}/mcp"}}))
    assert External().routes(written, "x") == {"http": "/api/x/mcp"}
    assert (External().render(plain, HERE), External().command(plain, HERE), External().hint("x")) == ((), (), None)
    with pytest.raises(ValidationError, match="is no route pattern"):
        UnmanagedProxySpec.model_validate({"routes": {"sse": "sse"}})
