"""Every fault a server can show over HTTP is named by its own symptom, in the stage where it shows, within the deadline."""

from __future__ import annotations

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Canary, Expect, Outcome, ProbeResult, Symptom, Target, Transport, Vantage
from mcpwatch.model.spec import CheckSpec
from tests.servers.faulty import Faulty, faulty

HANG = 0.3
"""Timeout of probes that are meant to run into it."""
ROOM = 5.0
"""Timeout of all others, on a busy machine."""
CLOSING = 0.2
"""Seconds a probe may overrun its timeout on a busy machine."""

LEGACY = [
    ("silent", "open", "timeout@open"),
    ("cut", "open", "cut@open"),
    ("not_http", "open", "bad_reply@open"),
    ("flood", "open", "too_large@open"),
    ("not_mounted", "open", "not_mounted@open"),
    ("auth", "open", "auth@open"),
    ("forbidden", "open", "auth@open"),
    ("host", "open", "host_guard@open"),
    ("origin", "open", "host_guard@open"),
    ("redirect", "open", "redirect@open"),
    ("method", "open", "era_mismatch@open"),
    ("broken", "open", "http_status@open"),
    ("bad_gateway", "open", "upstream_down@open"),
    ("busy", "open", "overloaded@open"),
    ("limited", "open", "overloaded@open"),
    ("too_large", "open", "too_large@open"),
    ("member_down", "open", "upstream_down@open"),
    ("html", "open", "era_mismatch@open"),
    ("gzip", "open", "buffered@open"),
    ("no_endpoint", "open", "no_endpoint@endpoint"),
    ("buffered", "open", "buffered@endpoint"),
    ("ends", "open", "cut@endpoint"),
    ("foreign", "open", "bad_endpoint@endpoint"),
    ("nonsense", "open", "bad_endpoint@endpoint"),
    ("endless", "open", "too_large@endpoint"),
    ("prefix", "open", "bad_endpoint@initialize"),
    ("no_reply", "initialize", "no_reply@initialize"),
    ("no_version", "initialize", "bad_reply@initialize"),
    ("odd_version", "initialize", "era_mismatch@initialize"),
    ("no_capabilities", "initialize", "bad_reply@initialize"),
    ("too_early", "initialize", "not_initialized@initialize"),
    ("bad_session", "notifications/initialized", "session_lost@initialized"),
    ("no_reply", "tools/list", "timeout@tools_list"),
    ("drip", "tools/list", "dripping@tools_list"),
    ("cut", "tools/list", "cut@tools_list"),
    ("bad_json", "tools/list", "bad_reply@tools_list"),
    ("no_rpc", "tools/list", "bad_reply@tools_list"),
    ("no_session", "tools/list", "session_lost@tools_list"),
    ("bad_session", "tools/list", "session_lost@tools_list"),
    ("rpc_error", "tools/list", "rpc_error@tools_list"),
    ("odd_error", "tools/list", "rpc_error@tools_list"),
    ("unread", "tools/list", "rpc_error@tools_list"),
    ("nameless_error", "tools/list", "upstream_down@tools_list"),
    ("not_connected", "tools/list", "upstream_down@tools_list"),
    ("too_early", "tools/list", "not_initialized@tools_list"),
    ("crowded", "tools/list", "overloaded@tools_list"),
    ("empty_tools", "tools/list", "empty_tools@tools_list"),
    ("tools_nil", "tools/list", "empty_tools@tools_list"),
    ("tools_no_list", "tools/list", "bad_reply@tools_list"),
    ("tools_null", "tools/list", "bad_reply@tools_list"),
    ("tool_no_name", "tools/list", "bad_reply@tools_list"),
    ("no_schema", "tools/list", "schema@tools_list"),
    ("circle", "tools/list", "bad_reply@tools_list"),
    ("bad_cursor", "tools/list", "bad_reply@tools_list"),
    ("stale", "tools/call", "stale_session@canary"),
    ("terminated", "tools/call", "stale_session@canary"),
    ("not_connected", "tools/call", "upstream_down@canary"),
    ("empty_error", "tools/call", "upstream_down@canary"),
    ("proxy_error", "tools/call", "upstream_down@canary"),
    ("db_error", "tools/call", "tool_error@canary"),
    ("tool_error", "tools/call", "tool_error@canary"),
]
STREAMABLE = [
    ("silent", "open", "timeout@initialize"),
    ("cut", "open", "cut@initialize"),
    ("not_http", "open", "bad_reply@initialize"),
    ("flood", "open", "too_large@initialize"),
    ("not_mounted", "open", "not_mounted@initialize"),
    ("auth", "open", "auth@initialize"),
    ("host", "open", "host_guard@initialize"),
    ("redirect", "open", "redirect@initialize"),
    ("method", "open", "era_mismatch@initialize"),
    ("broken", "open", "http_status@initialize"),
    ("bad_gateway", "open", "upstream_down@initialize"),
    ("busy", "open", "overloaded@initialize"),
    ("member_down", "open", "upstream_down@initialize"),
    ("era", "initialize", "era_mismatch@initialize"),
    ("no_reply", "initialize", "timeout@initialize"),
    ("accepted", "initialize", "no_reply@initialize"),
    ("html", "initialize", "wrong_type@initialize"),
    ("bad_json", "initialize", "bad_reply@initialize"),
    ("deep", "initialize", "bad_reply@initialize"),
    ("latin", "initialize", "bad_reply@initialize"),
    ("false_gzip", "initialize", "bad_reply@initialize"),
    ("wrong_id", "initialize", "no_reply@initialize"),
    ("stream_without_answer", "initialize", "no_reply@initialize"),
    ("no_session", "notifications/initialized", "session_lost@initialized"),
    ("no_reply", "tools/list", "timeout@tools_list"),
    ("drip", "tools/list", "timeout@tools_list"),
    ("endless", "tools/list", "too_large@tools_list"),
    ("cut", "tools/list", "cut@tools_list"),
    ("no_session", "tools/list", "session_lost@tools_list"),
    ("bad_session", "tools/list", "session_lost@tools_list"),
    ("rpc_error", "tools/list", "rpc_error@tools_list"),
    ("unread", "tools/list", "rpc_error@tools_list"),
    ("empty_tools", "tools/list", "empty_tools@tools_list"),
    ("stale", "tools/call", "stale_session@canary"),
    ("tool_error", "tools/call", "tool_error@canary"),
]
STATELESS = [
    ("no_reply", "server/discover", "timeout@discover"),
    ("old_version", "server/discover", "era_mismatch@discover"),
    ("era", "server/discover", "era_mismatch@discover"),
    ("bad_json", "tools/list", "bad_reply@tools_list"),
    ("rpc_error", "tools/list", "rpc_error@tools_list"),
    ("wants", "tools/call", "unexpected@canary"),
    ("bad_gateway", "tools/call", "upstream_down@canary"),
]
HANGS = frozenset({"silent", "no_endpoint", "buffered", "no_reply", "drip"})

CASES = [
    *[("sse", *case) for case in LEGACY],
    *[("http", *case) for case in STREAMABLE],
    *[("stateless", *case) for case in STATELESS],
]


def shown(result: ProbeResult) -> str:
    return f"{result.symptom}@{result.stage}" if result.symptom else str(result.outcome)


async def run(
    server: Faulty,
    wire: Transport,
    *,
    timeout: float = ROOM,
    vantage: Vantage = "route",
    expect: Expect | None = None,
    text: str = "hi",
) -> ProbeResult:
    """One probe with a canary, and the proof that it closed what it opened."""
    prober = Prober()
    target = Target(server.url("/sse" if wire == "sse" else "/mcp"), wire)
    check = CheckSpec("mcp", timeout=timeout, expect=expect or Expect(), canary=Canary("echo", f'{{"text": "{text}"}}'))
    result = await prober.probe(check, target, vantage)
    await prober.close()
    return result


@pytest.mark.anyio
@pytest.mark.parametrize(("wire", "fault", "where", "expected"), CASES, ids=[f"{w}-{f}-{h}" for w, f, h, _ in CASES])
async def test_each_fault_is_named_in_its_stage_within_the_deadline(wire: Transport, fault: str, where: str, expected: str) -> None:
    timeout = HANG if fault in HANGS else ROOM
    async with faulty(fault, where, era="modern" if wire == "stateless" else "legacy") as server:
        result = await run(server, wire, timeout=timeout)
    assert shown(result) == expected, result
    assert result.outcome is Outcome.FAILURE
    assert result.message
    assert "\n" not in result.message
    assert result.seconds < timeout + CLOSING


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fault",
    ["", "crlf", "split", "multiline", "notices", "chatter", "bom", "absolute", "closing", "latin", "pages", "big"],
)
async def test_every_lawful_way_to_send_events_is_understood(fault: str) -> None:
    async with faulty(fault, "tools/list") as server:
        result = await run(server, "sse")
        assert result.outcome is Outcome.SUCCESS, result
        assert result.tools is not None
        assert len(result.tools) == {"pages": 5, "big": 100}.get(fault, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["", "gzip", "chunked", "until_close", "as_stream", "pages", "big"])
@pytest.mark.parametrize("wire", ["http", "stateless"])
async def test_every_lawful_way_to_answer_a_post_is_understood(wire: Transport, fault: str) -> None:
    async with faulty(fault, "tools/list", era="modern" if wire == "stateless" else "legacy") as server:
        result = await run(server, wire)
        assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["sse", "http", "stateless"])
async def test_an_answer_in_an_array_is_read_and_named_because_official_clients_refuse_it(wire: Transport) -> None:
    async with faulty("batch", "tools/list", era="modern" if wire == "stateless" else "legacy") as server:
        result = await run(server, wire)
    first = "server/discover" if wire == "stateless" else "initialize"
    assert (result.outcome, result.symptom) == (Outcome.DEGRADED, Symptom.INCOMPATIBLE), result
    assert result.message.startswith(f"the answer to {first} is a JSON array where one object was asked for")
    assert result.tools is not None, "what was listed is kept"


@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["sse", "http"])
async def test_a_request_of_the_server_in_the_middle_is_answered(wire: Transport) -> None:
    async with faulty("server_ping") as server:
        result = await run(server, wire)
        assert result.outcome is Outcome.SUCCESS, result
        assert {"jsonrpc": "2.0", "id": "s1", "result": {}} in server.answered


@pytest.mark.anyio
async def test_the_session_of_a_streamable_server_is_deleted_also_after_a_failure() -> None:
    async with faulty("empty_tools", "tools/list") as server:
        await run(server, "http")
        deleted = server.seen("DELETE")
        assert [request.headers["mcp-session-id"] for request in deleted] == ["s-42"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("bad_schema", "is not valid JSON Schema"),
        ("bad_name", "its name must be"),
        ("twice", "listed twice"),
    ],
)
async def test_a_tool_that_real_clients_refuse_makes_the_probe_degraded(fault: str, line: str) -> None:
    async with faulty(fault, "tools/list") as server:
        result = await run(server, "http")
    assert (result.outcome, shown(result)) == (Outcome.DEGRADED, "schema@tools_list")
    assert line in result.message
    assert result.lint


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("expect", "expected"),
    [
        (Expect(min_tools=1, tools=("echo",), server_name="faulty", server_version="1"), "success"),
        (Expect(min_tools=2), "missing_tools@tools_list"),
        (Expect(tools=("echo", "read")), "missing_tools@tools_list"),
        (Expect(server_name="other"), "wrong_server@initialize"),
        (Expect(server_version="2"), "wrong_server@initialize"),
        (Expect(contains="42"), "success"),
        (Expect(contains="43"), "unexpected@canary"),
        (Expect(regex=r"^\{.*42"), "success"),
        (Expect(regex=r"^42"), "unexpected@canary"),
        (Expect(jsonpath="$.answer"), "success"),
        (Expect(jsonpath="$.question"), "unexpected@canary"),
        (Expect(jsonpath="$["), "unexpected@canary"),
        (Expect(json_schema='{"type": "object", "required": ["answer"]}'), "success"),
        (Expect(json_schema='{"type": "array"}'), "unexpected@canary"),
        (Expect(json_schema='{"type": "nothing"}'), "unexpected@canary"),
    ],
)
async def test_each_expectation_is_judged(expect: Expect, expected: str) -> None:
    async with faulty() as server:
        result = await run(server, "http", expect=expect, text=r"{\"answer\": 42}")
    assert shown(result) == expected, result


@pytest.mark.anyio
async def test_a_probe_slower_than_expected_is_degraded_and_names_the_slowest_stage() -> None:
    async with faulty() as server:
        result = await run(server, "http", expect=Expect(max_latency=0.000001))
    assert (result.outcome, str(result.symptom)) == (Outcome.DEGRADED, "slow")
    assert result.stage is not None


@pytest.mark.anyio
async def test_a_lost_session_said_by_the_member_itself_is_no_stale_proxy_session() -> None:
    async with faulty("stale", "tools/call") as server:
        result = await run(server, "sse", vantage="direct")
    assert shown(result) == "session_lost@canary"
