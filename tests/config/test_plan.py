"""From a file to a plan: what carries each member, where it answers, what the proxy serves, and what is checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpwatch.config.plan import REFUSAL_INTERVAL
from mcpwatch.gateway.settings_reader import digest
from mcpwatch.model.errors import ConfigError
from mcpwatch.model.probe import Canary
from mcpwatch.proxies.gateway import Gateway
from tests.config.kinds import KINDS, DockerSpec, ProcessSpec, TelemetrySpec
from tests.config.plans import STATE, member, plan, route

DESIGN = """
    version: 1
    proxy:
      kind: gateway
      listen: 127.0.0.1:9090
      base_url: http://linuxserver.lan:9090
      auth: {tokens: ["${MCP_PROXY_TOKEN}"]}
    members:
      time:
        stdio: {command: mcp-server-time}
      fetch:
        stdio: {command: uvx, args: [mcp-server-fetch], env: {API_KEY: k3y-value}}
        bridge: {listen: 127.0.0.1:9072}
      postgres:
        docker:
          image: crystaldba/postgres-mcp:0.3.0
          command: [postgres-mcp, --transport, sse, --port, "8686"]
          networks: [mcp-net]
          memory: 256m
        url: http://mcp-postgres:8686/sse
        checks:
          tools: {interval: 60s, expect: {min_tools: 5}}
          canary: {cron: "*/10 * * * *", tool: list_schemas, arguments: {}, expect: {contains: public}}
        restart: {intensity: 5, period: 10m, backoff: {first: 1s, max: 60s}}
      legacy:
        url: http://10.0.0.7:8585/servers/legacy/sse
    defaults: {check: {interval: 20s, timeout: 5s, failure_threshold: 2, success_threshold: 2}}
    telemetry: {metrics: {listen: 127.0.0.1:9464}, loki: {url: http://loki:3100/loki/api/v1/push}}
    web: {listen: 127.0.0.1:9465}
"""


def test_the_example_of_the_design_becomes_a_plan(tmp_path: Path, environ: dict[str, str]) -> None:
    found = plan(DESIGN, tmp_path, environ)
    carried = {m.name: (m.kind, m.runtime) for m in found.members}
    assert carried == {
        "time": ("server", "hosted"),
        "fetch": ("bridge", "process"),
        "postgres": ("server", "docker"),
        "legacy": ("server", "external"),
        "proxy": ("proxy", "process"),
    }
    assert [m.name for m in found.members][-1] == "proxy"
    assert isinstance(member(found, "postgres").carrier, DockerSpec)
    assert isinstance(found.section("telemetry"), TelemetrySpec)
    assert found.section("alerts") is None


def test_a_bridged_server_is_a_process_whose_secrets_are_not_in_its_argv(tmp_path: Path, environ: dict[str, str]) -> None:
    fetch = member(plan(DESIGN, tmp_path, environ), "fetch")
    assert isinstance(fetch.carrier, ProcessSpec)
    argv = (fetch.carrier.command, *fetch.carrier.args)
    assert argv[:3] == (sys.executable, "-m", "mcpwatch.gateway")
    assert argv[argv.index("--") + 1 :] == ("uvx", "mcp-server-fetch")
    assert "API_KEY" in argv
    assert "k3y-value" not in " ".join(argv)
    assert fetch.carrier.env["API_KEY"] == "k3y-value"
    assert fetch.direct is not None
    assert (fetch.direct.url, fetch.direct.transport) == ("http://127.0.0.1:9072/fetch/sse", "sse")


def test_the_proxy_is_told_how_to_reach_each_member(tmp_path: Path, environ: dict[str, str]) -> None:
    proxy = plan(DESIGN, tmp_path, environ).proxy
    assert proxy is not None
    reached = {u.name: (u.transport, u.command or u.url) for u in proxy.upstreams}
    assert reached == {
        "time": ("stdio", "mcp-server-time"),
        "fetch": ("sse", "http://127.0.0.1:9072/fetch/sse"),
        "postgres": ("auto", "http://mcp-postgres:8686/sse"),
        "legacy": ("auto", "http://10.0.0.7:8585/servers/legacy/sse"),
    }
    assert proxy.tokens == ("s3cret-proxy-token",)


def test_clients_get_the_public_url_and_the_probe_looks_over_loopback_with_a_token(tmp_path: Path, environ: dict[str, str]) -> None:
    time = route(plan(DESIGN, tmp_path, environ), "time")
    assert time.url == "http://linuxserver.lan:9090/time/sse"
    assert time.http_url == "http://linuxserver.lan:9090/time/mcp"
    assert time.probe.url == "http://127.0.0.1:9090/time/sse"
    assert time.probe.token == "s3cret-proxy-token"
    assert time.guarded


@pytest.mark.parametrize(
    ("listen", "probed"),
    [
        ("0.0.0.0:9100", "http://127.0.0.1:9100"),
        (":9100", "http://127.0.0.1:9100"),
        ("[::]:9100", "http://[::1]:9100"),
        ("9100", "http://127.0.0.1:9100"),
        ("192.168.1.5:9100", "http://192.168.1.5:9100"),
    ],
)
def test_the_probe_reaches_whatever_address_the_proxy_listens_on(
    listen: str, probed: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    found = plan(f"proxy: {{listen: '{listen}'}}\nmembers: {{a: {{url: http://h:1/sse}}}}", tmp_path, environ)
    assert route(found, "a").probe.url == f"{probed}/a/sse"
    assert route(found, "a").url == f"{probed}/a/sse"
    assert not route(found, "a").guarded


def test_a_base_url_with_a_path_keeps_it(tmp_path: Path, environ: dict[str, str]) -> None:
    found = plan("proxy: {base_url: https://h/mcp/}\nmembers: {a: {url: http://h:1/sse}}", tmp_path, environ)
    assert route(found, "a").url == "https://h/mcp/a/sse"
    assert route(found, "a").probe.url == "http://127.0.0.1:9090/a/sse"


def test_without_checks_a_member_gets_a_handshake_from_both_vantages(tmp_path: Path, environ: dict[str, str]) -> None:
    found = plan(DESIGN, tmp_path, environ)
    (direct,) = member(found, "legacy").checks
    assert (direct.name, direct.kind, direct.vantages, direct.interval, direct.timeout) == ("mcp", "mcp", ("direct",), 20.0, 5.0)
    assert (direct.failure_threshold, direct.success_threshold) == (2, 2)
    assert [check.vantages for check in route(found, "legacy").checks] == [("route",), ("route",)]
    assert member(found, "time").checks == ()


def test_a_guarded_route_is_proved_to_refuse_strangers(tmp_path: Path, environ: dict[str, str]) -> None:
    found = plan(DESIGN, tmp_path, environ)
    refusal = next(check for check in route(found, "time").checks if check.kind == "refusal")
    assert refusal.interval == REFUSAL_INTERVAL
    open_fleet = plan("members: {a: {url: http://h:1/sse}}", tmp_path, environ)
    assert [check.kind for check in route(open_fleet, "a").checks] == ["mcp"]


def test_written_handshake_checks_replace_the_default_one_and_canaries_do_not(tmp_path: Path, environ: dict[str, str]) -> None:
    postgres = member(plan(DESIGN, tmp_path, environ), "postgres")
    assert [check.name for check in postgres.checks] == ["tools", "canary"]
    tools, canary = postgres.checks
    assert (tools.interval, tools.expect.min_tools) == (60.0, 5)
    assert (canary.interval, canary.cron, canary.canary) == (None, "*/10 * * * *", Canary("list_schemas", "{}"))
    only = plan("members: {a: {url: http://h:1/sse, checks: {canary: {tool: t}}}}", tmp_path, environ)
    assert [check.name for check in member(only, "a").checks] == ["mcp", "canary"]


def test_a_check_is_switched_off_by_false(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "proxy: {auth: {tokens: [abcdef]}}\nmembers: {a: {url: http://h:1/sse, checks: {refusal: false, mcp: false}}}"
    found = plan(text, tmp_path, environ)
    assert member(found, "a").checks == ()
    assert route(found, "a").checks == ()


def test_checks_as_a_list_are_named_by_their_kind(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "members: {a: {url: http://h:1/sse, checks: [{kind: http, path: /health, vantages: direct}, {name: slow, timeout: 1m}]}}"
    found = member(plan(text, tmp_path, environ), "a")
    assert [(check.name, check.kind) for check in found.checks] == [("http", "http"), ("slow", "mcp")]
    assert found.checks[0].options == (("path", "/health"),)


def test_restart_policies_come_key_by_key_from_the_defaults(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
    defaults: {restart: {intensity: 7, period: 10m, backoff: {first: 2s, jitter: 0}}, start_grace: 5s, stop_grace: 2s}
    members:
      a: {url: http://h:1/sse, restart: {intensity: 3, backoff: {max: 9s}, max_memory: 256m, retry: null}, stop_grace: 0}
    """
    found = member(plan(text, tmp_path, environ), "a")
    policy = found.restart
    assert (policy.intensity, policy.period, policy.backoff.first, policy.backoff.max, policy.backoff.jitter) == (3, 600, 2, 9, 0)
    assert (policy.max_memory, policy.retry) == (256 * 1024**2, None)
    assert (found.start_grace, found.stop_grace) == (5.0, 0.0)


def test_members_start_after_what_they_depend_on_and_the_proxy_last(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
    members:
      web: {url: http://h:1/sse, depends_on: [db, cache]}
      cache: {url: http://h:2/sse, depends_on: db}
      db: {process: {command: uvx}, route: false}
    """
    found = plan(text, tmp_path, environ)
    assert [m.name for m in found.members] == ["db", "cache", "web", "proxy"]
    assert [r.name for r in found.routes] == ["web", "cache"]
    assert member(found, "db").route is None
    assert member(found, "db").direct is None


def test_a_fleet_without_a_proxy_has_members_and_no_routes(tmp_path: Path, environ: dict[str, str]) -> None:
    for word in ("false", "{kind: none}"):
        found = plan(f"proxy: {word}\nmembers: {{a: {{url: http://h:1/sse}}}}", tmp_path, environ)
        assert found.proxy is None
        assert found.routes == ()
        assert [m.name for m in found.members] == ["a"]
        assert member(found, "a").checks


def test_an_external_proxy_is_watched_where_clients_reach_it_and_never_started(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "proxy: {kind: external, base_url: http://far:9090}\nmembers: {a: {}, b: {url: http://h:1/sse}}"
    found = plan(text, tmp_path, environ)
    assert member(found, "proxy").runtime == "external"
    assert route(found, "a").probe.url == "http://far:9090/a/sse"
    assert member(found, "a").direct is None
    assert member(found, "b").direct is not None


def test_secrets_are_collected_for_redaction_and_appear_in_no_repr(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "t").write_text("from-a-file\n")
    text = """
    proxy: {auth: {tokens: ["${MCP_PROXY_TOKEN}", literal-token]}}
    members:
      a: {url: http://h:1/sse, token_file: t, headers: {X-Api-Key: header-key, Accept: text/plain}}
      b: {stdio: {command: uvx, env: {PGPASSWORD: env-password, LANG: C.UTF-8}}}
      c: {url: http://h:2/sse, headers: {Authorization: Bearer inner-token}}
    """
    found = plan(text, tmp_path, environ)
    secrets = {"s3cret-proxy-token", "literal-token", "from-a-file", "header-key", "env-password", "inner-token"}
    assert secrets <= set(found.secrets)
    assert not {"C.UTF-8", "text/plain"} & set(found.secrets)
    assert list(found.secrets) == sorted(found.secrets, key=lambda secret: (-len(secret), secret))
    assert not [secret for secret in secrets if secret in repr(found)]


def test_env_files_feed_variables_and_members_and_the_environment_wins(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("# mine\nexport PORT=9101\nMCP_PROXY_TOKEN=loses\nWORDS='a $b'\n")
    (tmp_path / "b.env").write_text('ONE=1\nTWO="2 # two" # note\nTHREE=3 # note\n')
    text = """
    env_file: .env
    proxy: {listen: "127.0.0.1:${PORT}", auth: {tokens: ["${MCP_PROXY_TOKEN}"]}}
    members:
      b:
        description: "${WORDS} costs $$5 ${NONE:-nothing}"
        stdio: {command: uvx, args: [8080], env: {THREE: 4, MODE: "${MODE:-}"}, env_file: b.env}
    """
    found = plan(text, tmp_path, environ)
    assert found.proxy is not None
    assert found.proxy.listen == "127.0.0.1:9101"
    assert found.proxy.tokens == ("s3cret-proxy-token",)
    assert member(found, "b").description == "a $b costs $5 nothing"
    (upstream,) = found.proxy.upstreams
    assert upstream.args == ("8080",)
    assert dict(upstream.env) == {"ONE": "1", "TWO": "2 # two", "THREE": "4", "MODE": ""}


def test_relative_paths_start_at_the_directory_of_the_file(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "work").mkdir()
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    found = plan("members: {a: {stdio: {command: ./run.sh, cwd: work}}}", tmp_path, environ)
    assert found.proxy is not None
    (upstream,) = found.proxy.upstreams
    assert upstream.command == str(script)
    assert upstream.cwd == str(tmp_path / "work")


def test_anchors_and_merge_keys_work_and_x_keys_are_the_users(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
    x-quick: &quick {start_grace: 5s, stop_grace: 1s}
    members:
      a: {<<: *quick, url: http://h:1/sse, stop_grace: 3s}
    """
    found = member(plan(text, tmp_path, environ), "a")
    assert (found.start_grace, found.stop_grace) == (5.0, 3.0)


def test_a_member_that_is_switched_off_is_known_and_not_wanted(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "members: {a: {stdio: {command: not-there}, enabled: false}, b: {url: http://h:1/sse, enabled: false}}"
    found = plan(text, tmp_path, environ)
    assert not member(found, "a").want_up
    assert found.proxy is not None
    assert [upstream.name for upstream in found.proxy.upstreams] == ["b"]


def fingerprints(text: str, directory: Path, environ: dict[str, str]) -> dict[str, str]:
    return {spec.name: spec.fingerprint for spec in plan(text, directory, environ).members}


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        (("args: [x]", "args: [y]"), {"h"}),
        (("K: v", "K: w"), {"h"}),
        (("--port", "--Port"), {"p"}),
        (("http://far:1/sse", "http://far:2/sse"), {"e"}),
        (("127.0.0.1:9071", "127.0.0.1:9072"), {"b"}),
        (("listen: 127.0.0.1:9090", "listen: 127.0.0.1:9091"), {"proxy"}),
        (("interval: 9s", "interval: 8s"), set[str]()),
        (("intensity: 4", "intensity: 3"), set[str]()),
        (("stop_grace: 9s", "stop_grace: 8s"), set[str]()),
        (("tokens: [abcdef]", "tokens: [ghijkl]"), set[str]()),
        (("  e: {", "  new: {url: http://far:9/sse}\n  e: {"), {"new"}),
    ],
)
def test_a_fingerprint_changes_when_and_only_when_the_process_must(
    change: tuple[str, str], replaced: set[str], tmp_path: Path, environ: dict[str, str]
) -> None:
    text = (
        "proxy: {listen: 127.0.0.1:9090, auth: {tokens: [abcdef]}}\n"
        "members:\n"
        "  h: {stdio: {command: uvx, args: [x], env: {K: v}}}\n"
        "  b: {stdio: {command: uvx}, bridge: {listen: 127.0.0.1:9071}}\n"
        "  p: {process: {command: uvx, args: [--port]}, url: http://127.0.0.1:9073/sse}\n"
        "  e: {url: http://far:1/sse, checks: [{interval: 9s}], restart: {intensity: 4}, stop_grace: 9s}\n"
    )
    assert change[0] in text
    before = fingerprints(text, tmp_path, environ)
    after = fingerprints(text.replace(*change), tmp_path, environ)
    assert {name for name in after if after[name] != before.get(name)} == replaced


def test_the_gateway_file_holds_what_the_contract_says(tmp_path: Path, environ: dict[str, str]) -> None:
    text = """
    proxy: {listen: 127.0.0.1:9100, auth: {tokens: [abcdef]}, allowed_hosts: [h], allowed_origins: ["http://o"]}
    members:
      time: {stdio: {command: uvx, args: [t], env: {A: b}, sessions: isolated}, auth: {tokens: [ghijkl]}, tools: {block: [x]}}
      pg: {url: http://h:1/sse, transport: sse, token: up-token, headers: {X: y}, upstream_url: http://inner:1/sse}
    """
    found = plan(text, tmp_path, environ)
    assert found.proxy is not None
    (file,) = Gateway().render(found.proxy, STATE)
    assert (file.path, file.mode) == (STATE / "proxy" / "gateway.json", 0o600)
    assert not any(token in file.text for token in ("abcdef", "ghijkl"))
    body: dict[str, Any] = json.loads(file.text)
    assert {key: body[key] for key in ("version", "listen", "base_url", "token_digests", "allowed_hosts", "allowed_origins")} == {
        "version": 1,
        "listen": "127.0.0.1:9100",
        "base_url": "http://127.0.0.1:9100",
        "token_digests": [digest("abcdef")],
        "allowed_hosts": ["h"],
        "allowed_origins": ["http://o"],
    }
    assert body["servers"]["time"] == {
        "command": "uvx",
        "args": ["t"],
        "env": {"A": "b"},
        "cwd": None,
        "token_digests": [digest("ghijkl")],
        "sessions": "isolated",
        "tools": {"allow": [], "block": ["x"], "rename": {}},
    }
    assert body["servers"]["pg"] == {
        "url": "http://inner:1/sse",
        "transport": "sse",
        "headers": {"Authorization": "Bearer up-token", "X": "y"},
    }
    command = Gateway().command(found.proxy, STATE)
    assert command[:3] == (sys.executable, "-m", "mcpwatch.gateway")
    assert dict(zip(command[3::2], command[4::2], strict=True)) == {
        "--config": "/state/proxy/gateway.json",
        "--admin": "/state/proxy/admin.sock",
        "--log-dir": "/state/logs",
    }
    assert route(found, "time").probe.token == "ghijkl"
    assert route(found, "pg").probe.token == "abcdef"


def test_groups_and_limits_reach_the_gateway_and_defaults_stay_its_own(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "proxy: {groups: {all: [a]}, limits: {body: 1m, session_idle: 5m}}\nmembers: {a: {url: http://h:1/sse}}"
    found = plan(text, tmp_path, environ)
    assert found.proxy is not None
    body: dict[str, Any] = json.loads(Gateway().render(found.proxy, STATE)[0].text)
    assert body["groups"] == {"all": ["a"]}
    assert body["limits"] == {"body": 1048576, "session_idle": 300.0}


def test_the_rendered_file_is_one_the_gateway_takes(tmp_path: Path, environ: dict[str, str]) -> None:
    from mcpwatch.gateway.dialects import load

    found = plan(DESIGN.replace("auth:", "groups: {all: [time, fetch]}\n      limits: {call: 5m}\n      auth:"), tmp_path, environ)
    assert found.proxy is not None
    file = tmp_path / "gateway.json"
    file.write_text(Gateway().render(found.proxy, STATE)[0].text, encoding="utf-8")
    settings = load(file)
    assert [server.name for server in settings.servers] == ["time", "fetch", "postgres", "legacy"]
    assert settings.groups == (("all", ("time", "fetch")),)
    assert settings.digests == (digest("s3cret-proxy-token"),)


def test_the_gateway_is_told_how_long_a_member_of_its_own_waits_between_starts(tmp_path: Path, environ: dict[str, str]) -> None:
    text = f"""
    members:
      a: {{stdio: {{command: {sys.executable}}}, restart: {{period: 5m, backoff: {{first: 2s, max: 20s}}}}}}
      b: {{url: "http://b/sse"}}
    """
    found = plan(text, tmp_path, environ)
    assert found.proxy is not None
    body: dict[str, Any] = json.loads(Gateway().render(found.proxy, STATE)[0].text)
    assert body["servers"]["a"]["restart"] == {"first": 2.0, "max": 20.0, "period": 300.0}
    assert "restart" not in body["servers"]["b"]


def test_a_hosted_server_is_restarted_by_the_policy_that_the_watchdog_follows(tmp_path: Path, environ: dict[str, str]) -> None:
    from mcpwatch.gateway import dialects

    written = (
        "{condition: on-failure, intensity: 2, period: 90s, retry: null, fatal_exit_codes: [3],"
        " backoff: {first: 1s, max: 2s, jitter: 0}}"
    )
    found = plan(f"members: {{a: {{stdio: {{command: {sys.executable}}}, restart: {written}}}}}", tmp_path, environ)
    assert found.proxy is not None
    read = dialects.parse(json.loads(Gateway().render(found.proxy, STATE)[0].text))
    assert read.servers[0].restart == next(spec for spec in found.members if spec.name == "a").restart


def test_build_alone_refuses_what_does_not_fit_together(tmp_path: Path, environ: dict[str, str]) -> None:
    from mcpwatch.config.load import load
    from mcpwatch.config.plan import build

    file = tmp_path / "fleet.yaml"
    file.write_text("members: {a: {url: http://h:1/sse, depends_on: [b]}, c: {stdio: {command: nowhere}}}")
    loaded = load(file, KINDS, environ)
    with pytest.raises(ConfigError) as caught:
        build(loaded.config, KINDS, state_dir=STATE, world=loaded.world)
    assert [fault.path for fault in caught.value.faults] == ["members.c.stdio.command", "members.a.depends_on[0]"]


RULES = (
    ("", {"echo": "echo", "add": "add"}),
    ("rename: {echo: say}", {"echo": "say", "say": "say", "add": "add"}),
    ("rename: {echo: add, add: echo}", {"echo": "add", "add": "echo"}),
    ("allow: [echo], rename: {echo: say}", {"echo": "say", "say": "say", "add": None}),
    ("block: [echo]", {"echo": None, "add": "add"}),
    ("allow: [add]", {"echo": None, "add": "add"}),
    ("block: [echo], rename: {add: echo}", {"add": "echo", "echo": "echo"}),
    ("block: [echo], rename: {echo: say}", {"echo": None, "add": "add"}),
)


@pytest.mark.sample(16)
@pytest.mark.parametrize(("rules", "shown"), RULES)
@pytest.mark.parametrize("asked", ["tool: {}", "expect: {{tools: [{}]}}"])
@pytest.mark.parametrize("vantages", ["", "vantages: direct", "vantages: [direct, route]"])
def test_a_route_is_asked_for_a_tool_by_the_name_that_clients_see_and_a_hidden_one_is_a_fault(
    rules: str, shown: dict[str, str | None], asked: str, vantages: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    for own, name in shown.items():
        check = ", ".join(filter(None, [asked.format(own), vantages]))
        text = f"members: {{a: {{url: http://h:1/sse, tools: {{{rules}}}, checks: {{c: {{{check}}}}}}}}}"
        if name is None and vantages != "vantages: direct":
            with pytest.raises(ConfigError, match=f"'tools' hides '{own}' from clients.* or write vantages: direct") as told:
                plan(text, tmp_path, environ)
            assert len(told.value.faults) == 1
            continue
        found = plan(text, tmp_path, environ)
        asked_of = {spec.vantages: spec for spec in (*member(found, "a").checks, *route(found, "a").checks) if spec.name == "c"}
        named = {way: spec.canary.tool if spec.canary else spec.expect.tools[0] for (way,), spec in asked_of.items()}
        assert named == {"direct": own} | ({} if vantages == "vantages: direct" else {"route": name})
