"""The legacy SSE wire against servers in memory: its endpoint, its stream, and what ends a session."""

from __future__ import annotations

import asyncio

import pytest

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import STRAYS_MAX, LegacyWire
from mcpwatch.model.probe import Stage, Symptom
from tests.checks.legacy_memory import TARGET, Server, failure_of
from tests.checks.memory import SSE, Answer, Asked, Network, event, play, result

NOTE = {"jsonrpc": "2.0", "method": "notifications/message"}


def test_a_session_posts_to_its_endpoint_and_ends_with_its_stream() -> None:
    server = Server()

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = LegacyWire(caller)
        await wire.open()
        assert await wire.call("tools/list", {}) == {}
        assert (wire.server.name, wire.server.wire, wire.hello["protocolVersion"]) == ("m", "sse", "2025-11-25")
        assert len(wire.digest) == 16
        assert [str(timing.stage) for timing in caller.timeline.timings()] == ["open", "endpoint", "initialize"]
        await wire.close()
        assert (network.aborted, server.stream.closed, network.prepared) == (True, True, ["http://h/time/sse"])
        assert [answer.pieces for answer in network.answers[1:]] == [[]] * 3, "what was said to a POST is read over"
        assert [(asked.method, asked.path, asked.rpc) for asked in network.asked] == [
            ("GET", "/time/sse", ""),
            ("POST", "/time/message?sessionId=1", "initialize"),
            ("POST", "/time/message?sessionId=1", "notifications/initialized"),
            ("POST", "/time/message?sessionId=1", "tools/list"),
        ]
        assert [asked.body["id"] for asked in network.asked if asked.body and "id" in asked.body] == [1, 2]

    play(server, scene, TARGET)


def test_a_stream_that_is_none_is_told() -> None:
    assert failure_of(Server(headers={"content-type": "text/html"})).symptom is Symptom.WRONG_TYPE
    missing = Server()
    missing.stream = Answer(404)
    assert failure_of(missing).message == "GET /time/sse is not served (HTTP 404)"


@pytest.mark.parametrize(("others", "symptom"), [(STRAYS_MAX, None), (STRAYS_MAX + 1, Symptom.NO_ENDPOINT)])
def test_an_endpoint_may_come_after_other_events(others: int, symptom: Symptom | None) -> None:
    server = Server(event("x", "ping") * others + event("/m", "endpoint"))
    if symptom is None:
        play(server, lambda caller, network: LegacyWire(caller).open(), TARGET)
        return
    failure = failure_of(server)
    assert (failure.symptom, failure.message) == (symptom, "the first 10000 events of the stream are no 'endpoint' event")


def test_a_stream_that_ends_before_its_endpoint_is_cut() -> None:
    server = Server(event("x", "ping"))
    server.end()
    failure = failure_of(server)
    assert (failure.symptom, failure.message) == (Symptom.CUT, "the stream ended before its 'endpoint' event")


def test_a_server_that_asks_while_it_is_asked_is_answered() -> None:
    server = Server()

    def lists(asked: Asked) -> Answer:
        server.say(NOTE)
        server.say(result(asked), "unheard")
        server.say({"jsonrpc": "2.0", "id": "q", "method": "ping"})
        return server.say(result(asked, tools=[]))

    server.answers["tools/list"] = lists

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = LegacyWire(caller)
        await wire.open()
        assert await wire.call("tools/list", {}) == {"tools": []}
        assert network.asked[-1].body == {"jsonrpc": "2.0", "id": "q", "result": {}}

    play(server, scene, TARGET)


@pytest.mark.parametrize(("others", "fails"), [(STRAYS_MAX, False), (STRAYS_MAX + 1, True)])
def test_other_messages_are_read_for_a_while(others: int, fails: bool) -> None:
    server = Server()

    def lists(asked: Asked) -> Answer:
        server.stream.say(event(NOTE) * others)
        return server.say(result(asked))

    server.answers["tools/list"] = lists
    if fails:
        failure = failure_of(server, "tools/list")
        assert failure.symptom is Symptom.NO_REPLY
        assert failure.message == "10000 other messages came instead of the answer to tools/list"
        return

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = LegacyWire(caller)
        await wire.open()
        assert await wire.call("tools/list", {}) == {}

    play(server, scene, TARGET)


def test_a_stream_that_ends_before_the_answer_is_cut_with_what_came_instead() -> None:
    server = Server()

    def ends(asked: Asked) -> Answer:
        server.end()
        return Answer(202)

    server.answers["tools/list"] = ends
    failure = failure_of(server, "tools/list")
    assert (failure.symptom, failure.message) == (Symptom.CUT, "the stream ended before the answer to tools/list")
    server = Server()

    def other(asked: Asked) -> Answer:
        server.say({"jsonrpc": "2.0", "id": 9, "result": {}})
        server.end()
        return Answer(202)

    server.answers["tools/list"] = other
    assert failure_of(server, "tools/list").message.startswith("an answer came with id 9")


@pytest.mark.parametrize(
    ("status", "symptom", "words"),
    [
        (404, Symptom.SESSION_LOST, "POST /time/message (tools/list): the server does not know the session any more (HTTP 404)"),
        (502, Symptom.UPSTREAM_DOWN, "POST /time/message (tools/list): what is behind this server does not answer (HTTP 502)"),
        (307, Symptom.REDIRECT, "POST /time/message (tools/list) is redirected"),
    ],
)
def test_a_request_refused_within_a_session_is_told(status: int, symptom: Symptom, words: str) -> None:
    server = Server()
    server.answers["tools/list"] = lambda asked: Answer(status)
    failure = failure_of(server, "tools/list")
    assert failure.symptom is symptom
    assert failure.message.startswith(words)


BAD = "the endpoint event names /time/message, but nothing takes messages there (HTTP {}): a path prefix may be missing"


@pytest.mark.parametrize("status", [307, 404, 405])
def test_an_endpoint_where_nothing_takes_messages_is_a_bad_one(status: int) -> None:
    server = Server()
    server.answers["initialize"] = lambda asked: Answer(status)
    failure = failure_of(server)
    assert (failure.symptom, failure.message) == (Symptom.BAD_ENDPOINT, BAD.format(status))


def test_an_endpoint_that_refuses_otherwise_is_told_as_it_refuses() -> None:
    server = Server()
    server.answers["initialize"] = lambda asked: Answer(401)
    assert failure_of(server).symptom is Symptom.AUTH


@pytest.mark.parametrize(
    ("after", "symptom"),
    [(None, Symptom.BAD_ENDPOINT), (0.0, Symptom.CUT), (0.05, Symptom.CUT), (0.2, Symptom.BAD_ENDPOINT)],
)
def test_a_session_that_ended_with_its_stream_is_cut_and_not_a_bad_endpoint(after: float | None, symptom: Symptom) -> None:
    server = Server()

    def refuses(asked: Asked) -> Answer:
        if after is not None:
            asyncio.get_running_loop().call_later(after, server.end)
        return Answer(404)

    server.answers["initialize"] = refuses
    failure = failure_of(server)
    assert failure.symptom is symptom
    if symptom is Symptom.CUT:
        assert failure.message == "the stream ended right after its 'endpoint' event, and its session with it"


def test_a_session_that_ended_because_its_stream_broke_is_cut_too() -> None:
    server = Server()

    def refuses(asked: Asked) -> Answer:
        server.stream.fails = ProbeFailure(Symptom.CUT, "reset")
        server.end()
        return Answer(404)

    server.answers["initialize"] = refuses
    assert failure_of(server).symptom is Symptom.CUT


def test_a_stream_that_goes_on_after_a_refusal_has_not_ended() -> None:
    server = Server()

    def refuses(asked: Asked) -> Answer:
        server.say("still here", "ping")
        server.end()
        return Answer(404)

    server.answers["initialize"] = refuses
    assert failure_of(server).symptom is Symptom.BAD_ENDPOINT


async def _waits(wire: LegacyWire, stage: Stage) -> ProbeFailure | None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await wire.open()
    return wire.silence(stage)


def silence(server: Server, stage: Stage) -> tuple[str, str] | None:
    found: list[ProbeFailure | None] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        found.append(await _waits(LegacyWire(caller), stage))

    play(server, scene, TARGET)
    return (str(found[0].symptom), found[0].message) if found[0] is not None else None


def test_silence_is_told_by_the_stage_and_by_what_stands_between() -> None:
    assert silence(Server(b""), Stage.ENDPOINT) == ("no_endpoint", "the stream opened, but no 'endpoint' event came")
    told = silence(Server(b"", SSE | {"server": "nginx/1.2"}), Stage.ENDPOINT)
    assert told == ("buffered", "the stream opened through nginx, but no event came: it probably buffers")
    taken = ("no_reply", "the server took initialize (HTTP 2xx), but never answered on the stream")
    for stage, words in ((Stage.INITIALIZE, taken), (Stage.TOOLS_LIST, None)):
        mute = Server()
        mute.answers["initialize"] = lambda asked: Answer(202)
        assert silence(mute, stage) == words
    untaken = Server()
    untaken.answers["initialize"] = lambda asked: Answer(0)
    assert silence(untaken, Stage.INITIALIZE) is None
    other = Server()
    other.answers["initialize"] = lambda asked: other.say({"jsonrpc": "2.0", "id": 9, "result": {}})
    assert (silence(other, Stage.INITIALIZE) or ("", ""))[1].startswith("an answer came with id 9")


def test_a_request_that_was_never_taken_is_not_said_to_be() -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = LegacyWire(caller)
        assert wire.silence(Stage.INITIALIZE) is None
        assert wire.remarks() == []
        wire.abort()
        assert network.aborted
        await wire.close()

    play(Server(), scene, TARGET)


def test_an_answer_that_cannot_be_read_as_one_is_no_message() -> None:
    server = Server()
    server.answers["tools/list"] = lambda asked: server.say("no JSON")
    assert failure_of(server, "tools/list").symptom is Symptom.BAD_REPLY
