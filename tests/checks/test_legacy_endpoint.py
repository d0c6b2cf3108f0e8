"""The endpoint event of a legacy SSE server: where clients send their messages, and where they could not."""

from __future__ import annotations

import pytest

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.legacy import LegacyWire
from mcpwatch.model.probe import Symptom, Target
from tests.checks.legacy_memory import TARGET, Server, failure_of
from tests.checks.memory import Network, event, play

ENDPOINTS = [
    ("/time/message?sessionId=1", "/time/message?sessionId=1"),
    ("message?sessionId=1", "/time/message?sessionId=1"),
    ("http://h/m", "/m"),
    ("http://H:80/m", "/m"),
    ("http://h", "/"),
    (" /m ", "/m"),
    ("?s=1", "/time/sse?s=1"),
    ("/m/ü?q=a b", "/m/%C3%BC?q=a%20b"),
]


@pytest.mark.parametrize(("told", "asked"), ENDPOINTS)
def test_an_endpoint_is_read_as_clients_read_it(told: str, asked: str) -> None:
    server = Server(event(told, "endpoint"))

    async def scene(caller: ProbeHttp, network: Network) -> None:
        await LegacyWire(caller).open()
        assert {asked.path for asked in network.asked[1:]} == {asked_path}

    asked_path = asked
    play(server, scene, TARGET)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            "http://other/m",
            "the endpoint event sends clients to http://other, which is not where the stream is (http://h/time/sse)",
        ),
        ("https://h/m", "the endpoint event sends clients to https://h, which is not"),
        ("http://h:81/m", "the endpoint event sends clients to http://h:81, which is not"),
        ("http://me:pw@other/m?s=1", "the endpoint event sends clients to http://other, which is not"),
        (f"http://{'x' * 200}/m", f"the endpoint event sends clients to http://{'x' * 99}…, which is not"),
        ("http://[::1/m", "the endpoint event names no URL: http://[::1/m"),
        ("http://h:99999/m?s=1", "the endpoint event names no URL: http://h:99999/m"),
    ],
)
def test_an_endpoint_that_clients_could_not_use_is_told(told: str, words: str) -> None:
    failure = failure_of(Server(event(told, "endpoint")))
    assert failure.symptom is Symptom.BAD_ENDPOINT
    assert failure.message.startswith(words)
    assert told.startswith(failure.said.removesuffix("…"))
    assert "s=1" not in failure.said


PUBLIC = Target("http://h/time/sse", public_url="https://public/mcp/time/sse")


@pytest.mark.parametrize(
    ("target", "told", "asked"),
    [
        (PUBLIC, "https://public/mcp/time/message?s=1", "/time/message?s=1"),
        (PUBLIC, "/mcp/time/message", "/time/message"),
        (Target("http://h/in/sse", public_url="https://public/sse"), "/m", "/m"),
        (Target("http://h/time/sse", public_url="https://public/time/sse"), "https://public/m", "/m"),
    ],
)
def test_an_endpoint_behind_a_path_prefix_is_posted_to_without_it(target: Target, told: str, asked: str) -> None:
    server = Server(event(told, "endpoint"))

    async def scene(caller: ProbeHttp, network: Network) -> None:
        await LegacyWire(caller).open()
        assert network.asked[-1].path == asked

    play(server, scene, target)


def test_an_endpoint_that_leads_out_of_the_path_prefix_is_told() -> None:
    failure = failure_of(Server(event("/time/message", "endpoint")), target=PUBLIC)
    assert failure.symptom is Symptom.BAD_ENDPOINT
    assert failure.message == (
        "the endpoint event sends clients of https://public/mcp/time/sse to /time/message: the path prefix /mcp is missing"
    )
    assert failure.said == "/time/message"
    near = failure_of(Server(event("/mcpx/message", "endpoint")), target=PUBLIC)
    assert near.symptom is Symptom.BAD_ENDPOINT
