"""The four dialects of the gateway's file, and its faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcpwatch.gateway import dialects, settings
from mcpwatch.gateway.protocol import tools
from mcpwatch.gateway.serve import guard
from mcpwatch.gateway.settings_reader import digest
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.restart import Backoff, RestartPolicy

TBXARK: dict[str, Any] = {
    "mcpProxy": {"baseURL": "https://mcp.example.com/p", "addr": ":9090", "options": {"authTokens": ["T"], "logEnabled": True}},
    "mcpServers": {
        "fetch": {"command": "uvx", "args": ["mcp-server-fetch"], "options": {"toolFilter": {"mode": "block", "list": ["x"]}}},
        "far": {
            "transportType": "streamable-http",
            "url": "https://far/mcp",
            "headers": {"A": "b"},
            "options": {"authTokens": ["U"]},
        },
        "off": {"command": "x", "options": {"disabled": True}},
    },
}


def test_a_tbxark_file_is_read_as_tbxark_reads_it() -> None:
    read = dialects.parse(TBXARK)
    assert (read.listen, read.base_url) == ("0.0.0.0:9090", "https://mcp.example.com/p")
    fetch, far = read.servers
    assert (fetch.digests, fetch.tools.block) == ((digest("T"),), ("x",))
    assert (far.transport, far.digests, far.headers) == ("http", (digest("U"),), (("A", "b"),))


def test_claude_and_sparfenyuk_files_are_read() -> None:
    read = dialects.parse({"mcpServers": {"a": {"command": "x", "enabled": True}, "b": {"type": "sse", "url": "http://b/sse"}}})
    assert [server.name for server in read.servers] == ["a", "b"]
    assert read.servers[1].transport == "sse"


def test_pauses_between_starts_are_read_and_are_no_reason_to_start_anew() -> None:
    def server(**restart: object) -> settings.ServerSettings:
        return dialects.parse({"servers": {"a": {"command": "x", "restart": restart}}}).servers[0]

    assert server(first=1, max=5).restart == RestartPolicy(backoff=Backoff(first=1, max=5))
    assert server(first=1) == server()
    with pytest.raises(
        ConfigError,
        match=r"servers\.a\.restart\.frist: unknown key; known are first, max, jitter, period, intensity, c",
    ):
        server(frist=1)
    assert dialects.parse({"mcpServers": {"a": {"command": "x", "restart": True}}}).servers[0].restart == RestartPolicy()


def test_a_restart_policy_is_read_whole_and_each_fault_of_it_is_told() -> None:
    def read(restart: object) -> RestartPolicy:
        return dialects.parse({"servers": {"a": {"command": "x", "restart": restart}}}).servers[0].restart

    whole = {"condition": "on-failure", "intensity": 2, "period": 9, "retry": None, "fatal_exit_codes": [3]}
    assert read(whole) == RestartPolicy("on-failure", 2, 9, retry=None, fatal_exit_codes=(3,))
    with pytest.raises(ConfigError) as caught:
        read({"condition": "sometimes", "retry": 0, "fatal_exit_codes": ["x"], "intensity": "many"})
    assert {fault.path.rpartition(".")[2] for fault in caught.value.faults} == {
        "condition", "retry", "fatal_exit_codes", "intensity",
    }  # fmt: skip


def test_every_fault_is_listed_with_its_place() -> None:
    bad: dict[str, Any] = {
        "version": 1,
        "servers": {
            "a b": {"command": "x"},
            "two": {"command": "x", "url": "y"},
            "odd": {"command": "x", "args": "y", "sessions": "z"},
        },
        "groups": {"g": ["nobody"]},
        "limits": {"body": -1, "bogus": 1},
    }
    with pytest.raises(ConfigError) as caught:
        dialects.parse(bad)
    assert {fault.path for fault in caught.value.faults} == {
        "servers.a b", "servers.two", "servers.odd.args", "servers.odd.sessions", "groups.g", "limits.body", "limits.bogus",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b'{"servers": {"\xff": {}}}', "is not UTF-8 text"),
        (b"[" * 200_000, "nested deeper than 200 levels"),
        (b'{"servers": {"a": {"url": "u", "transport": ["sse"]}}}', r"servers\.a\.transport: \['sse'\] is not one of"),
        (b'{"servers": {}, "limits": {"body": Infinity}}', r"limits\.body: must be a finite number"),
        (b'{"servers": {}, "limits": {"body": NaN}}', r"limits\.body: must be a finite number"),
        (b'{"servers": {}, "limits": {"drain": 1' + b"0" * 400 + b"}}", r"limits\.drain: must be a finite number"),
    ],
)
def test_a_file_that_is_odd_in_any_way_is_a_fault_and_no_crash(tmp_path: Path, written: bytes, said: str) -> None:
    file = tmp_path / "gateway.json"
    file.write_bytes(written)
    with pytest.raises(ConfigError, match=said):
        dialects.load(file)


def test_secrets_are_not_in_the_repr_of_settings() -> None:
    body: dict[str, Any] = {
        "version": 1,
        "tokens": ["SECRET1"],
        "servers": {"a": {"command": "x", "args": ["SECRET2"], "env": {"K": "SECRET3"}}},
    }
    shown = repr(
        dialects.parse(body | {"servers": body["servers"] | {"b": {"url": "http://u:SECRET4@h/", "headers": {"A": "SECRET5"}}}})
    )
    assert "SECRET" not in shown


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:9090", True), ("localhost", True), ("[::1]:80", True), ("192.168.1.9:9090", True),
        ("gw.lan:9090", True), ("GW.lan", True),
        ("gw.lan.", True), ("gw.lan.:9090", True), ("localhost.:1", True), ("named.lan:8443", True), ("other.lan:80", True),
        ("[fe80::1%25eth0]:9090", True), ("[2001:db8::7]", True), ("::1", True),
        ("evil.example", False), ("", False), ("gw.lan.evil.example", False), ("10.0.0.1.evil.example", False),
        ("named.lan", False), ("named.lan:80", False), ("evil.example.", False), ("gw.lan..", False), (".", False),
        (":9090", False), ("[evil]", False), ("localhost@evil.example", False),
    ],
)  # fmt: skip
def test_hosts_are_allowed_by_name_or_number(host: str, allowed: bool) -> None:
    assert guard.make("0.0.0.0", "http://gw.lan:9090", ("named.lan:8443", "Other.lan."), ()).host(host) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:9090", True), ("HTTP://LOCALHOST.:9090", True), ("https://gw.lan", True), ("https://GW.lan.", True),
        ("http://localhost:3000", False), ("http://localhost", False), ("http://gw.lan", False), ("https://gw.lan:8443", False),
        ("http://127.0.0.1:9090", False), ("http://[::1]:6274", False),
        ("https://inspector.example", True), ("HTTPS://Inspector.Example", True),
        ("http://inspector.example", False), ("https://inspector.example:8443", False), ("null", False), ("", False),
        ("http://192.168.1.9", False), ("http://evil.example", False), ("http://[", False), ("file://", False),
        ("chrome-extension://localhost", False), ("http://localhost.evil.example", False),
    ],
)  # fmt: skip
def test_origins_are_this_very_host_and_port_the_public_url_and_those_listed(origin: str, allowed: bool) -> None:
    made = guard.make("127.0.0.1", "https://gw.lan", (), ("https://inspector.example/",))
    assert made.origin(origin, "localhost:9090") is allowed


def test_a_gateway_on_an_ipv6_address_is_named_by_it() -> None:
    made = guard.make("2001:db8::5", None, (), ())
    assert made.host("[2001:db8::5]:9090")
    assert made.origin("http://[2001:db8::5]:9090", "[2001:DB8::5]:9090")


def test_a_star_lets_every_host_and_origin_in() -> None:
    made = guard.make("127.0.0.1", None, ("*",), ("*",))
    assert made.host("anything")
    assert made.origin("https://anything", "other")


def test_every_token_is_compared_whatever_came_and_always_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(right)
        return left == right

    monkeypatch.setattr(guard, "equal", compare)
    for given in (b"Bearer one", b"two", b"neither"):
        compared.clear()
        guard.bearer(given, (b"one", b"two", b"three"))
        assert len(compared) == 3


def test_tokens_are_taken_with_and_without_the_word_bearer() -> None:
    tokens = tuple(bytes.fromhex(digest(token)) for token in ("one", "two"))
    given = {b"Bearer two": 1, b"bearer one": 0, b"one": 0, b"Bearer": None, b"": None, b"Bearer three": None, None: None}
    assert {header: guard.bearer(header, tokens) for header in given} == given


def test_a_filtered_list_keeps_the_bytes_of_what_it_shows() -> None:
    body = b'{"id":1,"result":{"tools":[{"name":"a","x":1.50},{"x":2,"name":"b"} ,{"name":"c"}],"nextCursor":"n"}}'
    rules = settings.ToolRules(block=("c",), rename=(("b", "z"),))
    kept = tools.filtered(body, "tools", lambda own: tools.shown_name(rules, own))
    assert kept == b'{"id":1,"result":{"tools":[{"name":"a","x":1.50},{"x":2,"name":"z"}],"nextCursor":"n"}}'
    assert [tools.own_name(rules, name) for name in ("a", "z", "b", "c")] == ["a", "b", None, None]
