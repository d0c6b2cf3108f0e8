"""The tbxark kind: every trap of TBXark/mcp-proxy has a rule here that makes it harmless."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.model.errors import ConfigError
from mcpwatch.model.spec import ProxySpec, UpstreamSpec
from mcpwatch.proxies.tbxark import (
    Tbxark,
    TbxarkSpec,
    generation_of_help,
    generation_of_line,
    generation_of_ready,
    traits_of,
)

KIND = Tbxark()
HERE = Path("/state")
FETCH = UpstreamSpec("fetch", "sse", url="http://127.0.0.1:9072/sse")


def spec(*upstreams: UpstreamSpec, **options: Any) -> ProxySpec:
    made = TbxarkSpec.model_validate(options)
    return ProxySpec("tbxark", "proxy", "127.0.0.1:9090", "http://box.lan:9090", ("s3cret-token",), upstreams, made)


def rendered(proxy: ProxySpec) -> dict[str, Any]:
    (file,) = KIND.render(proxy, HERE)
    return json.loads(file.text)


def test_its_file_holds_the_tokens_and_is_for_nobody_else_while_its_argv_holds_none() -> None:
    proxy = spec(FETCH)
    (file,) = KIND.render(proxy, HERE)
    assert (file.path, file.mode) == (HERE / "proxy" / "config.json", 0o600)
    assert rendered(proxy)["mcpProxy"]["options"]["authTokens"] == ["s3cret-token"]
    assert "s3cret-token" not in " ".join(KIND.command(proxy, HERE))


def test_the_base_url_of_the_endpoint_event_is_the_one_clients_use() -> None:
    assert rendered(spec(FETCH))["mcpProxy"]["baseURL"] == "http://box.lan:9090"


def test_dollars_in_the_file_are_meant_as_written() -> None:
    assert "-expand-env=false" in KIND.command(spec(FETCH), HERE)
    assert "-expand-env=false" in KIND.container(spec(FETCH), HERE)["command"]  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize(("written", "nanoseconds"), [("30s", 30_000_000_000), (0.5, 500_000_000), ("1m30s", 90_000_000_000)])
def test_a_timeout_is_written_in_nanoseconds_the_only_form_every_generation_takes(written: object, nanoseconds: int) -> None:
    upstream = replace(FETCH, transport="http", options=json.dumps({"timeout": written}))
    assert rendered(spec(upstream))["mcpServers"]["fetch"]["timeout"] == nanoseconds


def test_reconnecting_is_always_asked_for_because_old_builds_read_past_it() -> None:
    options = rendered(spec(FETCH))["mcpProxy"]["options"]
    assert (options["autoReconnect"], options["pingInterval"], options["panicIfInvalid"]) == (True, "10000ms", False)


@pytest.mark.parametrize(
    ("transport", "url", "wire"),
    [
        ("auto", "http://h:1/sse", "sse"),
        ("auto", "http://h:1/mcp", "streamable-http"),
        ("http", "http://h:1/x", "streamable-http"),
        ("stateless", "http://h:1/mcp", "streamable-http"),
        ("sse", "http://h:1/events", "sse"),
    ],
)
def test_the_wire_is_always_said_because_a_bare_url_is_taken_for_sse(transport: Any, url: str, wire: str) -> None:
    upstream = UpstreamSpec("x", transport, url=url)
    assert rendered(spec(upstream))["mcpServers"]["x"]["transportType"] == wire


def test_a_child_that_floods_stderr_never_fills_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    flood = "import sys; sys.stderr.write('x' * 300_000); sys.stderr.flush(); print(sys.argv[1:], end='')"
    upstream = UpstreamSpec("loud", "stdio", "python3", ("-c", flood, "it's", "$HOME", "two words"), cwd=str(tmp_path))
    (file,) = KIND.render(spec(upstream), tmp_path)
    server = json.loads(file.text)["mcpServers"]["loud"]
    done = subprocess.run([server["command"], *server["args"]], capture_output=True, encoding="utf-8", timeout=20)
    assert done.stdout == str(["it's", "$HOME", "two words"])
    assert done.stderr == ""
    assert (tmp_path / "logs" / "loud" / "stderr.raw").stat().st_size == 300_000


def test_in_a_container_a_childs_stderr_is_the_containers_own() -> None:
    proxy = replace(spec(UpstreamSpec("t", "stdio", "mcp-server-time")), contained=True)
    assert "/proc/1/fd/2" in " ".join(rendered(proxy)["mcpServers"]["t"]["args"])
    assert rendered(proxy)["mcpProxy"]["addr"] == ":9090"
    assert KIND.container(proxy, HERE)["volumes"] == ["/state/proxy:/config:ro"]
    assert KIND.container(proxy, HERE)["ports"] == ["127.0.0.1:9090:9090"]


def test_tool_filters_and_route_tokens_are_the_members_own() -> None:
    upstream = replace(FETCH, tokens=("own-token",), options=json.dumps({"tools": {"allow": ["fetch"], "block": [], "rename": {}}}))
    options = rendered(spec(upstream))["mcpServers"]["fetch"]["options"]
    assert options == {"toolFilter": {"mode": "allow", "list": ["fetch"]}, "authTokens": ["own-token"]}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"tools": {"rename": {"a": "b"}}}, "members.fetch.tools.rename: a proxy of kind 'tbxark' cannot rename tools"),
        ({"tools": {"allow": ["a"], "block": ["b"]}}, "takes allow or block, not both"),
        ({"timout": 3}, "members.fetch.proxy_options.timout: unknown to a proxy of kind 'tbxark'"),
        ({"timeout": "soon"}, "'soon' is not a duration"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_tried(options: object, fault: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        KIND.render(spec(replace(FETCH, options=json.dumps(options))), HERE)
    assert fault in str(refusal.value)


def test_an_existing_file_is_read_and_the_proxy_reads_one_of_ours() -> None:
    (beside,) = KIND.render(spec(FETCH, config="/home/me/config.json", name="mine"), HERE)
    (alone,) = KIND.render(spec(FETCH), HERE)
    assert beside.path == alone.path
    assert beside.kept is not None
    assert alone.kept is None
    assert (str(beside.kept.path), beside.kept.expand) == ("/home/me/config.json", True)
    assert ("mcpProxy", "name") not in beside.kept.yields
    assert ("mcpProxy", "options", "logEnabled") in beside.kept.yields


def test_it_serves_one_wire_and_not_the_other() -> None:
    assert KIND.routes(spec(FETCH), "fetch") == {"sse": "/fetch/sse"}
    assert KIND.routes(spec(FETCH, type="streamable-http"), "fetch") == {"http": "/fetch/mcp"}


@pytest.mark.parametrize(
    ("line", "member", "meaning"),
    [
        ("2026/11/21 01:36:38 <fetch> Connected", "fetch", "connected"),
        ("2026/11/21 01:36:38 <fetch> Handling requests at /fetch/", "fetch", "connected"),
        ("2026/11/21 01:36:38 <fetch> Failed to add client to server: connection refused", "fetch", "failed"),
        ("2026/11/21 01:36:38 <fetch> MCP Ping failed: 404 (count=1)", "fetch", "lost"),
        ("2026/11/21 01:36:38 All clients initialized", "", "ready"),
        ("2026/11/21 01:36:38 Failed to load config: invalid character", "", "bad_config"),
        ("time=2026-07-22T10:00:00Z level=INFO msg=Connected client=fetch", "fetch", "connected"),
        ('time=2026-07-22T10:00:00Z level=WARN msg="MCP health probe failed" client="my fetch" err=EOF', "my fetch", "lost"),
    ],
)
def test_both_shapes_of_its_log_are_understood(line: str, member: str, meaning: str) -> None:
    hint = KIND.hint(line)
    assert hint is not None
    assert (hint.member, hint.meaning) == (member, meaning)


def test_other_lines_mean_nothing() -> None:
    assert KIND.hint("2026/11/21 01:36:38 <fetch> Adding tool fetch") is None
    assert KIND.hint("panic: something") is None


def test_the_generation_is_found_by_looking() -> None:
    assert generation_of_help("-config string\n-expand-env\n-http-timeout int") == "A"
    assert generation_of_help("-expand-env\n-check-config\n-authorize NAME") == "B"
    assert generation_of_help("-expand-env\n-check-config\n-doctor\n-auth-status") == "C"
    assert generation_of_help("usage: something else") == ""
    assert generation_of_ready(404, "404 page not found") == "A"
    assert generation_of_ready(200, '{"name":"x","serverCount":2,"status":"ok","version":"1"}') == "B"
    assert generation_of_ready(503, '{"status":"initializing"}') == "C"
    assert generation_of_ready(200, '{"status":"ready"}') == "C"
    assert generation_of_ready(200, "<html>") == ""
    assert generation_of_line("2026/11/21 01:36:38 <fetch> Connected") == "A"
    assert generation_of_line("time=2026-07-22T10:00:00Z level=INFO msg=Connected client=fetch") == "B"
    assert generation_of_line("hello") == ""


def test_only_the_newest_generation_is_trusted_to_heal_itself_and_unknown_is_taken_for_the_worst() -> None:
    for old in ("A", "B", ""):
        assert traits_of(old) == replace(Tbxark.traits, generation=old)
        assert traits_of(old).dies_on_bad_command
    newest = traits_of("C")
    assert newest.reconnects
    assert newest.mounts_late
    assert not newest.dies_on_bad_command
    assert newest.lists_from_cache
