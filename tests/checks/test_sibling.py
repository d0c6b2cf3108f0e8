"""A server that does not greet on the wire it is asked over is asked over the other ones, and told by what it speaks."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from mcpwatch.checks import Prober, probe
from mcpwatch.checks.sibling import besides
from mcpwatch.model.probe import Outcome, Target, Transport
from mcpwatch.model.spec import CheckSpec
from mcpwatch.model.wire import WIRE_NAMES
from tests.checks.test_real import free_port, ready, running
from tests.parts import SERVERS, program
from tests.servers.scripted import GOOD, HELLO, NO_METHOD, Scripted, scripted

pytestmark = pytest.mark.anyio

NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
REFUSALS = {
    "404": NOT_HERE,
    "400": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad",
    "405": b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
    "406": b"HTTP/1.1 406 Not Acceptable\r\nContent-Length: 0\r\n\r\n",
    "415": b"HTTP/1.1 415 Unsupported Media Type\r\nContent-Length: 0\r\n\r\n",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
    "a stream without an endpoint": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n",
}
"""What servers of one wire say to a greeting of the other."""
MODERN = (
    '{"jsonrpc":"2.0","id":{id},"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}'
)


@pytest.mark.sample(4)
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("transport", ["auto", "sse"])
async def test_sse_that_became_streamable_http_under_its_url_is_named(refusal: str, transport: Transport) -> None:
    server = Scripted(GOOD, {"GET": REFUSALS[refusal]})
    server.answers_everywhere = True
    async with scripted(server):
        result = await probe(server.url("/sse"), transport=transport, timeout=2)
    assert (result.outcome, result.symptom_text) == (Outcome.FAILURE, "era_mismatch"), result
    by_path = " (by its path /sse)" if transport == "auto" else ""
    assert result.message.startswith(f"it speaks Streamable HTTP, the configuration says HTTP+SSE{by_path}: ")


@pytest.mark.parametrize("refusal", [one for one in REFUSALS if not one.startswith("a stream")])
@pytest.mark.parametrize("configured", ["http", "stateless"])
async def test_streamable_http_that_became_sse_under_its_url_is_named(refusal: str, configured: Transport) -> None:
    server = Scripted(GOOD, {"POST /mcp": REFUSALS[refusal]})
    async with scripted(server):
        result = await probe(server.url("/mcp"), transport=configured, timeout=2)
    assert result.symptom_text == "era_mismatch", result
    assert result.message.startswith(f"it speaks HTTP+SSE, the configuration says {WIRE_NAMES[configured]}: ")


@pytest.mark.parametrize(
    ("says", "raw", "path", "wire", "words"),
    [
        (GOOD, {"GET /sse": NOT_HERE, "POST /sse": NOT_HERE}, "/sse", "sse", "it speaks Streamable HTTP at /mcp, "),
        (GOOD, {"GET /mcp": NOT_HERE, "POST /mcp": NOT_HERE}, "/mcp", "http", "it speaks HTTP+SSE at /sse, "),
        (GOOD, {"GET /mcp": NOT_HERE, "POST /mcp": NOT_HERE}, "/mcp", "auto", "it speaks HTTP+SSE at /sse, "),
        (
            {"server/discover": MODERN},
            {"initialize": NOT_HERE, "GET": NOT_HERE},
            "/mcp",
            "http",
            "it speaks the stateless wire of ",
        ),
        ({**GOOD, "server/discover": NO_METHOD}, {}, "/mcp", "stateless", "it speaks Streamable HTTP, the configuration says the "),
    ],
)
async def test_another_path_and_the_third_wire_are_asked_too(
    says: dict[str, str], raw: dict[str, bytes], path: str, wire: Transport, words: str
) -> None:
    server = Scripted(says, raw)
    async with scripted(server):
        result = await probe(server.url(path), transport=wire, timeout=3)
    assert result.symptom_text == "era_mismatch", result
    assert result.message.startswith(words), result.message


async def test_a_server_that_speaks_no_wire_keeps_its_own_symptom_and_is_not_asked_again_at_once() -> None:
    server = Scripted({}, {"GET": NOT_HERE, "POST": NOT_HERE})
    check, prober = CheckSpec("mcp", timeout=2), Prober()
    async with scripted(server):
        target = Target(server.url("/sse"), "sse")
        first = await prober.probe(check, target, "direct")
        asked = len(server.seen)
        second = await prober.probe(check, target, "direct")
    assert first.symptom_text == second.symptom_text == "not_mounted"
    assert len(server.seen) == asked + 1, "one GET, and no question beside"
    assert asked > 1


@pytest.mark.parametrize("said", [HELLO, "nonsense"])
async def test_what_a_server_of_our_own_wire_says_wrong_asks_nothing_else(said: str) -> None:
    broken = HELLO.replace('"protocolVersion":"2025-11-25",', "") if said is HELLO else said
    server = Scripted({"initialize": broken})
    async with scripted(server):
        result = await probe(server.url("/mcp"), transport="http", timeout=2)
    assert result.symptom_text == "bad_reply"
    assert [verb for verb, _ in server.seen] == ["POST /mcp"]


async def test_only_a_status_that_blames_the_request_asks_for_another_wire() -> None:
    server = Scripted(GOOD, {"POST /mcp": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"})
    async with scripted(server):
        result = await probe(server.url("/mcp"), transport="http", timeout=2)
    assert result.symptom_text == "http_status"


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        (Target("http://h/x/sse?k=1", "sse"), "sse", ["/x/sse http", "/x/sse stateless", "/x/mcp http"]),
        (Target("http://h/x/sse/"), "sse", ["/x/sse/ http", "/x/sse/ stateless", "/x/mcp http"]),
        (Target("http://h/mcp", "http"), "http", ["/mcp sse", "/mcp stateless", "/sse sse"]),
        (Target("http://h/mcp"), "http", ["/sse sse"]),
        (Target("http://h/", "http"), "http", ["/ sse", "/ stateless"]),
        (Target("http://h/"), "http", []),
    ],
)
def test_the_same_place_is_asked_first_and_then_the_usual_path_of_the_other_wire(
    target: Target, name: Transport, expected: list[str]
) -> None:
    found = besides(target, name)
    assert [f"{one.url.removeprefix('http://h').partition('?')[0]} {wire}" for one, wire in found] == expected
    assert all("?k=1" in one.url for one, _ in found) or "?" not in target.url


def test_what_clients_are_given_moves_with_the_path() -> None:
    target = Target("http://h/a/sse", "sse", public_url="https://lan/mcps/a/sse")
    assert besides(target, "sse")[-1][0].public_url == "https://lan/mcps/a/mcp"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "path", "wire"), [("streamable-http", "/sse", "sse"), ("sse", "/mcp", "http"), ("sse", "/mcp", "auto")]
)
async def test_the_official_sdk_started_with_the_other_transport_is_named(now: str, path: str, wire: Transport) -> None:
    port = free_port()
    async with running(sys.executable, "-m", "tests.servers.official", now, str(port)):
        await ready(Target(f"http://127.0.0.1:{port}{'/sse' if now == 'sse' else '/mcp'}"))
        result = await probe(f"http://127.0.0.1:{port}{path}", transport=wire)
    assert result.symptom_text == "era_mismatch", result
    spoken = "Streamable HTTP at /mcp" if now == "streamable-http" else "HTTP+SSE at /sse"
    assert result.message.startswith(f"it speaks {spoken}, the configuration says ")


@pytest.mark.slow
@pytest.mark.needs("tbxark")
@pytest.mark.parametrize(("now", "path"), [("streamable-http", "/clock/sse"), ("sse", "/clock/mcp")])
async def test_tbxark_started_with_the_other_type_is_named(now: str, path: str, tmp_path: Path) -> None:
    port = free_port()
    own = {"baseURL": f"http://127.0.0.1:{port}", "addr": f"127.0.0.1:{port}", "name": "t", "version": "1", "type": now}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mcpProxy": own, "mcpServers": {"clock": {"command": str(SERVERS / "mcp-server-time")}}}))
    async with running(str(program("tbxark")), "-config", str(config), until=re.compile(b"All clients initialized")) as child:
        result = await probe(f"http://127.0.0.1:{port}{path}", timeout=8)
        os.killpg(child.pid, signal.SIGTERM)
    assert result.symptom_text == "era_mismatch", result
    assert ("it speaks Streamable HTTP" if now != "sse" else "it speaks HTTP+SSE at /clock/sse") in result.message
