"""What servers in the field do wrong, each told by its right name: the cases of `cases/wire` and their kin."""

from __future__ import annotations

import json
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trustme

from mcpwatch.checks import Prober, probe
from mcpwatch.checks.era import DISCOVER_SHARE
from mcpwatch.model.probe import Outcome, Stage, Symptom, Target, Transport
from mcpwatch.model.spec import CheckSpec
from tests.checks.answers import Json, ask, hello, listed, tool
from tests.servers.scripted import GOOD, HELLO, Scripted, scripted

pytestmark = pytest.mark.anyio

HANG = 0.3
"""Timeout of probes that are meant to run into it."""


HELLOS = {
    "no jsonrpc": hello(lambda body: body.pop("jsonrpc")),
    "jsonrpc 1.0": hello(lambda body: body.update(jsonrpc="1.0")),
    "no serverInfo": hello(lambda body: body["result"].pop("serverInfo")),
    "serverInfo as text": hello(lambda body: body["result"].update(serverInfo="me 1.0")),
    "tools: true": hello(lambda body: body["result"]["capabilities"].update(tools=True)),
    "NaN": hello(lambda body: body["result"].update(_meta={"load": float("nan")})),
}
TOOLS = {
    "description an object": tool(description={"text": "x"}),
    "description null": tool(description=None),
    "annotations text": tool(annotations="read-only"),
    "outputSchema of a string": tool(outputSchema={"type": "string"}),
    "no inputSchema": listed(lambda body: body["result"]["tools"][0].pop("inputSchema")),
    "no type": tool(inputSchema={"properties": {}}),
}


@pytest.mark.parametrize("wire", ["sse", "http"])
@pytest.mark.parametrize("name", HELLOS)
async def test_a_hello_that_official_clients_refuse_is_a_bad_reply(name: str, wire: Transport) -> None:
    result = await ask(Scripted(GOOD | {"initialize": HELLOS[name]}), wire)
    assert (result.outcome, result.symptom, result.stage) == (Outcome.FAILURE, Symptom.BAD_REPLY, Stage.INITIALIZE), result


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_for_which_official_clients_refuse_the_whole_list_is_a_failure_that_names_it(name: str) -> None:
    result = await ask(Scripted(GOOD | {"tools/list": TOOLS[name]}), "http")
    assert (result.outcome, result.symptom, result.stage) == (Outcome.FAILURE, Symptom.SCHEMA, Stage.TOOLS_LIST), result
    assert "'t'" in result.message


@pytest.mark.parametrize("wire", ["sse", "http"])
async def test_an_answer_in_an_event_that_clients_do_not_hear_is_no_reply(wire: Transport) -> None:
    result = await ask(Scripted(GOOD, event="result"), wire, timeout=HANG)
    assert (result.symptom_text, result.stage) == ("no_reply", Stage.INITIALIZE), result
    assert "'result'" in result.message


@pytest.mark.parametrize("wire", ["sse", "http"])
async def test_an_id_that_comes_back_as_text_is_taken_as_official_clients_take_it(wire: Transport) -> None:
    says = {method: text.replace("{id}", '"{id}"') for method, text in GOOD.items()}
    result = await ask(Scripted(says), wire)
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.sample
@pytest.mark.parametrize("number", ["true", "0", "[1]"])
@pytest.mark.parametrize("wire", ["sse", "http"])
async def test_an_answer_with_another_id_is_told_as_such(wire: Transport, number: str) -> None:
    says = {method: text.replace("{id}", number) for method, text in GOOD.items()}
    result = await ask(Scripted(says), wire, timeout=HANG if wire == "sse" else 5)
    assert result.symptom_text == "no_reply", result
    assert f"with id {number}" in result.message


@pytest.mark.parametrize("wire", ["sse", "http"])
async def test_a_content_type_is_read_without_regard_to_case(wire: Transport) -> None:
    result = await ask(Scripted(GOOD, content_type="Text/Event-Stream; Charset=UTF-8"), wire)
    assert result.outcome is Outcome.SUCCESS, result


@pytest.mark.parametrize("url", ["http://xn--.invalid../sse", "http://\u200b.example/sse", "http://xn--/sse"])
async def test_a_host_that_no_resolver_can_be_asked_for_is_unresolved(url: str) -> None:
    result = await probe(url, timeout=5)
    assert (result.outcome, result.symptom) == (Outcome.FAILURE, Symptom.UNRESOLVED), result


async def test_port_0_is_refused_and_not_taken_for_port_80() -> None:
    result = await probe("http://127.0.0.1:0/sse", timeout=5)
    assert result.symptom_text == "refused", result
    assert ":0 " in result.message


async def test_a_post_that_is_never_answered_is_a_timeout_and_nothing_was_taken() -> None:
    server = Scripted(GOOD, raw={"POST": b""})
    result = await ask(server, "sse", timeout=HANG)
    assert result.symptom_text == "timeout@initialize", result
    assert "2xx" not in result.message


async def test_a_cursor_that_is_no_text_is_told_as_such() -> None:
    result = await ask(Scripted(GOOD | {"tools/list": listed(lambda body: body["result"].update(nextCursor=2))}), "http")
    assert result.symptom_text == "bad_reply", result
    assert "the cursor" in result.message
    assert "twice" not in result.message


@pytest.mark.parametrize("cursor", ["", "same"])
async def test_an_empty_cursor_ends_a_list_and_one_that_does_not_advance_fails_it(cursor: str) -> None:
    result = await ask(Scripted(GOOD | {"tools/list": listed(lambda body: body["result"].update(nextCursor=cursor))}), "http")
    assert result.outcome is (Outcome.FAILURE if cursor else Outcome.SUCCESS), result
    assert ("came twice" in result.message) is bool(cursor)


@pytest.mark.parametrize("wire", ["http", "stateless", "auto"])
async def test_a_content_length_that_is_too_small_is_a_bad_reply(wire: Transport) -> None:
    body = HELLO.replace("{id}", "1").encode()
    short = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n" + body
    result = await ask(Scripted(GOOD, raw={"POST": short}), wire)
    assert result.symptom_text == "bad_reply", result


@pytest.mark.parametrize("method", ["notifications/initialized", "tools/list"])
async def test_404_to_a_request_with_a_session_id_means_that_the_session_is_lost(method: str) -> None:
    empty = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    kept = await ask(Scripted(GOOD, raw={method: empty}, headers="Mcp-Session-Id: s1\r\n"), "http")
    none = await ask(Scripted(GOOD, raw={method: empty}), "http")
    legacy = await ask(Scripted(GOOD, raw={method: empty}), "sse")
    assert [result.symptom_text for result in (kept, none, legacy)] == ["session_lost", "not_mounted", "session_lost"]


async def test_a_stream_that_ends_right_after_its_endpoint_is_cut_however_the_post_is_answered() -> None:
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    for raw in ({"POST": gone}, {}):
        result = await ask(Scripted(GOOD, raw=dict(raw), ends=True), "sse")
        assert result.symptom_text == "cut@initialize", result


def _error(code: int, message: str, supported: list[str]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, "data": {"supported": supported}}})
    return f"HTTP/1.1 400 X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("wire", ["auto", "stateless"])
async def test_a_server_of_another_version_is_told_with_the_versions_it_knows(wire: Transport) -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    raw = {"server/discover": _error(-32022, "Unsupported protocol version", ["2027-01-01"]), "initialize": missing, "GET": missing}
    result = await ask(Scripted({}, raw=raw), wire)
    assert (result.symptom_text, result.versions) == ("era_mismatch", ("2027-01-01",)), result
    assert "2027-01-01" in result.message


async def test_a_discover_result_of_other_versions_only_is_told_with_them() -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    found = '{"jsonrpc":"2.0","id":{id},"result":{"supportedVersions":["2027-01-01"],"capabilities":{}}}'
    result = await ask(Scripted({"server/discover": found}, raw={"initialize": missing, "GET": missing}), "auto")
    assert (result.symptom_text, result.versions) == ("era_mismatch", ("2027-01-01",)), result


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_the_time_after_which_to_ask_again_is_told(form: str) -> None:
    value = "37" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=37), usegmt=True)
    busy = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    result = await ask(Scripted(GOOD, raw={"POST": busy}), "http")
    assert result.symptom_text == "overloaded"
    assert result.retry_after == pytest.approx(37, abs=30)
    assert f"in {result.retry_after:g} s" in result.message


async def test_an_old_version_of_tls_is_told_by_its_name() -> None:
    identity = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with scripted(Scripted(GOOD), tls=context) as server:
        result = await probe(server.url("/mcp", "https"), insecure=True, timeout=5)
    assert (result.symptom_text, result.stage) == ("tls", Stage.TLS), result
    assert "TLSv1.1" in result.message


async def test_the_version_of_tls_in_use_is_told() -> None:
    identity = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    async with scripted(Scripted(GOOD), tls=context) as server:
        result = await probe(server.url("/mcp", "https"), transport="http", insecure=True, timeout=5)
    assert (result.outcome, result.tls_version) == (Outcome.SUCCESS, "TLSv1.3"), result


async def test_after_a_restart_a_listener_that_never_answers_costs_one_deadline() -> None:
    prober = Prober()
    async with scripted(Scripted(GOOD)) as server:
        target = Target(server.url("/mcp"))
        assert (await prober.probe(CheckSpec("mcp", timeout=5), target, "direct")).outcome is Outcome.SUCCESS
        server.raw = {"POST": b""}
        prober.forget(target)
        result = await prober.probe(CheckSpec("mcp", timeout=HANG), target, "direct")
    assert result.symptom_text == "timeout@initialize", result
    assert [method for _, method in server.seen[-2:]] == ["server/discover", "initialize"]
    assert result.seconds < HANG + 5


async def test_a_modern_server_that_is_slow_at_its_first_answer_is_taken_for_what_it_is() -> None:
    found: Json = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}
    modern = {
        "server/discover": json.dumps({"jsonrpc": "2.0", "id": "{id}", "result": found}).replace('"{id}"', "{id}"),
        "tools/list": listed(lambda body: body["result"].update(resultType="complete")),
    }
    refused = _error(-32022, "Unsupported protocol version", ["2026-07-28"])
    server = Scripted(modern, raw={"server/discover": b"", "initialize": refused})
    async with scripted(server):
        prober, target = Prober(), Target(server.url("/mcp"))

        class Slow(dict[str, bytes]):
            """Never answers the first discover; the second as the script says."""

            def __contains__(self, key: object) -> bool:
                asked = [method for _, method in server.seen]
                return super().__contains__(key) and not (key == "server/discover" and asked.count("server/discover") > 1)

        server.raw = Slow(server.raw)
        result = await prober.probe(CheckSpec("mcp", timeout=2), target, "direct")
    assert result.outcome is Outcome.SUCCESS, result
    assert result.server is not None
    assert (result.server.wire, result.seconds > 2 * DISCOVER_SHARE * 0.9) == ("stateless", True)


@pytest.mark.parametrize(("name", "called"), [("time", True), ("mcp-time", False)])
async def test_a_server_that_calls_itself_as_its_route_is_asked_for_what_is_behind_its_cache(name: str, called: bool) -> None:
    """TBXark names its servers so, also as a bridge behind another proxy, and answers lists with its child dead."""
    safe = tool(annotations={"readOnlyHint": True}, inputSchema={"type": "object", "required": ["a"]})
    dead = '{"jsonrpc":"2.0","id":{id},"error":{"code":-32603,"message":"transport error: write |1: broken pipe"}}'
    says = GOOD | {"initialize": HELLO.replace('"scripted"', json.dumps(name)), "tools/list": safe, "tools/call": dead}
    async with scripted(Scripted(says)) as server:
        result = await probe(server.url("/mcp/time/sse"), transport="sse", timeout=5)
        told = await probe(server.url("/mcp/time/sse"), transport="sse", timeout=5, tool="t")
    assert (result.symptom_text, bool(result.lists_from_cache)) == (("upstream_down" if called else ""), called), result
    assert Stage.SAFE_CALL not in [timing.stage for timing in told.timings], "a canary proves more"


PREFIXES = [
    ("relative, behind a prefix that the server knows", "/mcp/time/message", "success"),
    ("absolute, behind a prefix that the server knows", "http://public.example/mcp/time/message", "success"),
    ("relative to the stream", "message", "success"),
    ("the prefix is lost", "/time/message", "bad_endpoint"),
    ("another host", "http://other.example/mcp/time/message", "bad_endpoint"),
]


@pytest.mark.parametrize(("what", "endpoint", "expected"), PREFIXES, ids=[case[0] for case in PREFIXES])
async def test_a_path_prefix_of_a_reverse_proxy_is_heeded_as_clients_see_it(what: str, endpoint: str, expected: str) -> None:
    async with scripted(Scripted(GOOD, endpoint=endpoint)) as server:
        target = Target(server.url("/time/sse"), "sse", public_url="http://public.example/mcp/time/sse")
        result = await Prober().probe(CheckSpec("mcp", timeout=5), target, "route")
    assert (result.symptom_text or str(result.outcome)) == expected, (what, result)
    if expected == "success":
        assert ("POST /time/message", "initialize") in server.seen
