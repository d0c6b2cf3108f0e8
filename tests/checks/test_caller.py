"""What every HTTP wire needs: requests as clients send them, answers read within bounds, streams that are streams."""

from __future__ import annotations

import zlib

import pytest

import mcpwatch
from mcpwatch.checks import caller as module
from mcpwatch.checks.caller import SETTLE, ProbeHttp, events, middleman, must_be_stream, parse_url, read, settle, skip
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.http_client.client import Response
from mcpwatch.http_client.failure import HttpFailed
from mcpwatch.model.probe import Symptom, Target
from tests.checks.memory import SSE, Answer, Asked, Network, event, play
from tests.virtual import VirtualClock, VirtualLoop, run

SIMPLE = Target("http://h/x")


def sent(target: Target) -> Asked:
    """A GET as the server sees it."""
    found: list[Asked] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        await caller.get((("Accept", "*/*"),))
        found.append(network.asked[0])

    play(lambda asked: Answer(), scene, target)
    return found[0]


def test_a_request_says_who_asks_and_carries_the_token_and_the_headers_of_its_target() -> None:
    plain = sent(SIMPLE)
    agent = f"mcpwatch/{mcpwatch.__version__}"
    assert dict(plain.headers) == {"host": "h", "user-agent": agent, "accept-encoding": "identity", "accept": "*/*"}
    own = sent(Target("http://h:81/x", token="t", headers=(("USER-AGENT", "me"), ("X-Key", "k"))))
    assert dict(own.headers) == {
        "host": "h:81",
        "user-agent": "me",
        "accept-encoding": "identity",
        "accept": "*/*",
        "authorization": "Bearer t",
        "x-key": "k",
    }
    assert sent(Target("http://h/x", public_url="https://public:8443/y")).headers["host"] == "public:8443"


def test_messages_are_posted_as_json_to_the_target_or_to_another_path() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        await caller.post(b'{"a": 1}')
        await caller.post(b"{}", (("X", "y"),), "/m?s=1")
        await caller.delete(())
        assert [(asked.method, asked.path, asked.body) for asked in network.asked] == [
            ("POST", "/x", {"a": 1}),
            ("POST", "/m?s=1", {}),
            ("DELETE", "/x", None),
        ]
        assert [asked.headers.get("content-type") for asked in network.asked] == ["application/json"] * 2 + [None]
        assert network.answers[2].closed, "what came back is not read"
        assert (caller.path("GET"), caller.origins) == ("GET /x", {("http", "h", 80)})

    play(lambda asked: Answer(pieces=[b"x"]), scene, SIMPLE)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://h/x", "ftp://h/x is no http:// or https:// URL"),
        ("http:///x?key=s", "http:///x is no http:// or https:// URL"),
        ("http://[::1/?key=s", "http://[::1/ is no URL: "),
        ("h" * 200, f"{'h' * 99}… is no http:// or https:// URL"),
    ],
)
def test_what_is_no_url_is_unresolved_and_told_without_its_query(url: str, words: str) -> None:
    with pytest.raises(ProbeFailure) as caught:
        parse_url(url)
    assert caught.value.symptom is Symptom.UNRESOLVED
    assert caught.value.message.startswith(words)
    assert "key" not in caught.value.message


def answer(*pieces: bytes, **headers: str) -> tuple[Response, Answer]:
    given = Answer(pieces=list(pieces), headers={name.replace("_", "-"): value for name, value in headers.items()})
    return given.response(), given


@pytest.mark.anyio
async def test_a_body_is_read_within_its_bound_or_cut_there() -> None:
    assert await read(answer(b"ab", b"cd")[0], 4) == b"abcd"
    with pytest.raises(ProbeFailure, match="the answer is larger than 2 MiB") as caught:
        await read(answer(bytes(2 << 20), b"x")[0], 2 << 20)
    assert caught.value.symptom is Symptom.TOO_LARGE
    response, given = answer(b"ab", b"cd", b"e", b"f")
    assert await read(response, 4, cut=True) == b"abcde"
    assert (given.pieces, given.closed) == ([b"f"], True)


@pytest.mark.anyio
async def test_a_compressed_body_is_decoded_and_one_that_lies_is_a_bad_reply() -> None:
    packed = zlib.compress(b"hello")
    assert await read(answer(packed, content_encoding="deflate")[0], 100) == b"hello"
    with pytest.raises(ProbeFailure, match="the answer is not the gzip it claims") as caught:
        await read(answer(b"hello", content_encoding="gzip")[0], 100)
    assert caught.value.symptom is Symptom.BAD_REPLY


@pytest.mark.anyio
async def test_a_body_whose_status_said_everything_is_read_over_to_a_bound() -> None:
    assert (module.ERROR_LIMIT, module.REPLY_LIMIT) == (16_384, 25_165_824)
    response, short = answer(b"abc", b"def")
    await skip(response, 6)
    assert (short.kept, short.closed) == (True, False)
    response, long = answer(b"abc", b"def", b"g", b"h")
    await skip(response, 6)
    assert (long.pieces, long.kept, long.closed) == ([b"h"], False, True)


def test_an_error_is_read_to_a_bound_only() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        failure = await caller.refuse(await caller.get(()), "GET /x")
        assert (failure.symptom, failure.said) == (Symptom.HTTP_STATUS, "broken")
        assert network.answers[0].closed

    play(lambda asked: Answer(500, pieces=[b"broken" + b" " * 20_000, b"x"]), scene, SIMPLE)


def of_type(content_type: str, **headers: str) -> Response:
    return answer(content_type=content_type, **headers)[0]


def test_the_media_type_of_an_answer_is_told_without_its_parameters_and_case() -> None:
    assert of_type("Text/Event-Stream ; charset=utf-8").media == "text/event-stream"
    assert answer()[0].media == ""


def test_an_event_stream_is_one_by_its_type_and_is_not_compressed() -> None:
    for good in (of_type("TEXT/event-stream; x=y"), of_type("text/event-stream", content_encoding="Identity")):
        must_be_stream(good, "GET /x")
    must_be_stream(of_type("text/event-stream", content_encoding=""), "GET /x")
    for bad, symptom, words in (
        (of_type("text/html"), Symptom.WRONG_TYPE, "GET /x is answered as text/html, not as text/event-stream"),
        (answer()[0], Symptom.WRONG_TYPE, "GET /x is answered as no type, not as text/event-stream"),
        (of_type("text/event-stream", content_encoding="GZIP"), Symptom.BUFFERED, "GET /x: something compresses the event stream"),
    ):
        with pytest.raises(ProbeFailure) as caught:
            must_be_stream(bad, "GET /x")
        assert caught.value.symptom is symptom
        assert caught.value.message.startswith(words)


@pytest.mark.parametrize(("after", "kept"), [(0.0, True), (SETTLE / 2, True), (SETTLE * 2, False)])
def test_a_stream_gets_a_moment_to_end_by_itself(after: float, kept: bool) -> None:
    async def scene(loop: VirtualLoop, clock: VirtualClock) -> None:
        response, given = answer(b"rest")
        given.open = True

        def end() -> None:
            given.open = False
            given.more.set()

        loop.call_later(after, end)
        began = loop.time()
        await settle(response)
        assert (given.kept, given.closed) == (kept, not kept)
        assert loop.time() - began == pytest.approx(min(after, SETTLE), abs=0.001)

    assert SETTLE == 0.02
    run(scene)


def test_a_stream_that_is_whole_or_dropped_or_fails_is_not_waited_for() -> None:
    async def scene(loop: VirtualLoop, clock: VirtualClock) -> None:
        whole, given = answer()
        await settle(whole)
        assert given.kept
        dropped, given = answer(b"x")
        given.abort()
        await settle(dropped)
        assert given.pieces == [b"x"]
        failing, given = answer()
        given.open, given.fails = True, HttpFailed("cut", Symptom.CUT)
        given.abort()
        given.closed = False
        given.open = False
        await settle(failing)
        assert loop.time() == 0

    run(scene)


@pytest.mark.anyio
async def test_only_events_that_carry_data_are_given_and_the_stream_is_settled() -> None:
    response, given = answer(
        event("a"), b"event: endpoint\n\n", b": comment\n\n", event("b", "x"), content_type=SSE["content-type"]
    )
    stream = events(response)
    assert [(found.name, found.text) async for found in stream] == [("message", "a"), ("x", "b")]
    assert not given.closed
    response, given = answer(event("a"), b"event: x\n", content_type=SSE["content-type"])
    given.open = True
    stream = events(response)
    assert (await anext(stream)).data == b"a"
    await stream.aclose()
    assert given.closed


@pytest.mark.anyio
async def test_each_event_of_a_stream_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_LIMIT", 1 << 20)
    half = event("x" * 600_000)
    response, _ = answer(half, half, half, content_type=SSE["content-type"])
    assert len([found async for found in events(response)]) == 3
    response, _ = answer(b"data: ", bytes(1 << 20), content_type=SSE["content-type"])
    with pytest.raises(ProbeFailure, match="one event of the stream is larger than 1 MiB"):
        assert [found async for found in events(response)]


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, ""),
        ({"server": "uvicorn"}, ""),
        ({"server": "Openresty/1.2"}, "openresty"),
        ({"via": "1.1 varnish", "server": "nginx"}, "1.1 varnish"),
        ({"via": "v" * 99}, "v" * 59 + "…"),
    ],
)
def test_a_reverse_proxy_shows_itself_in_the_headers(headers: dict[str, str], name: str) -> None:
    assert middleman(headers) == name
