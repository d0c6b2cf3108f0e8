"""The Streamable HTTP wires, with and without a session, against servers in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import STRAYS_MAX
from mcpwatch.checks.stateless import StatelessWire
from mcpwatch.checks.streamable import StreamableWire
from mcpwatch.model.probe import Stage, Symptom, Target
from tests.checks.memory import HELLO, SSE, Answer, Asked, Network, error, event, json_of, play, result

Serves = Callable[[Asked], Answer]
TARGET = Target("http://h/mcp")
HTML = {"content-type": "text/html"}
NOTE = {"jsonrpc": "2.0", "method": "notifications/message"}


def greets(asked: Asked, session: str = "") -> Answer:
    """Initializes; everything else that asks something is answered with an empty result."""
    if asked.rpc == "initialize":
        return json_of(result(asked, **HELLO), mcp_session_id=session)
    return json_of(result(asked)) if asked.body and "id" in asked.body and asked.rpc else Answer(202, pieces=[b"Accepted"])


def after_greeting(answer: Serves, session: str = "", *, closes: bool = False) -> tuple[Network, ProbeFailure | None]:
    """Initialize, then call `tools/list`, which `answer` answers; the network and how the call failed."""
    seen: list[tuple[Network, ProbeFailure | None]] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = StreamableWire(caller)
        try:
            await wire.open()
            await wire.call("tools/list", {})
            failure = None
        except ProbeFailure as caught:
            failure = caught
        if closes:
            await wire.close()
        seen.append((network, failure))

    play(lambda asked: answer(asked) if asked.rpc == "tools/list" else greets(asked, session), scene, TARGET)
    return seen[0]


def test_a_session_is_initialized_kept_in_every_request_and_deleted() -> None:
    network, failure = after_greeting(lambda asked: json_of(result(asked)), "s-1", closes=True)
    assert failure is None
    assert [asked.rpc or asked.method for asked in network.asked] == [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "DELETE",
    ]
    assert [asked.headers.get("mcp-session-id") for asked in network.asked] == [None, "s-1", "s-1", "s-1"]
    assert [answer.closed for answer in network.answers[:3]] == [False] * 3, "every connection can be used again"
    assert [asked.headers.get("mcp-protocol-version") for asked in network.asked] == [None, *["2025-11-25"] * 3]
    assert [asked.body["id"] for asked in network.asked if asked.body and "id" in asked.body] == [1, 2]
    assert (network.prepared, network.aborted) == (["http://h/mcp"], True)


def test_a_server_without_sessions_is_asked_to_delete_none() -> None:
    network, _ = after_greeting(lambda asked: json_of(result(asked)), closes=True)
    assert [asked.method for asked in network.asked] == ["POST"] * 3
    assert network.aborted


@pytest.mark.parametrize("session", ["x" * 1025, "a\tb", "é"])
def test_a_session_id_that_cannot_be_sent_back_is_a_bad_reply(session: str) -> None:
    _, failure = after_greeting(greets, session)
    assert failure is not None
    assert (failure.symptom, failure.message) == (Symptom.BAD_REPLY, "the session id is not made of visible ASCII characters")
    assert after_greeting(lambda asked: json_of(result(asked)), "x" * 1024)[1] is None


def test_a_session_id_that_comes_late_is_none() -> None:
    network, _ = after_greeting(lambda asked: json_of(result(asked), mcp_session_id="late"), closes=True)
    assert "DELETE" not in [asked.method for asked in network.asked]


NO_ANSWERS: list[tuple[Serves, Symptom, str]] = [
    (
        lambda asked: Answer(202, pieces=[b"taken"]),
        Symptom.NO_REPLY,
        "POST /mcp (tools/list) was taken with HTTP 202, but holds no answer",
    ),
    (lambda asked: Answer(404), Symptom.SESSION_LOST, "POST /mcp (tools/list): the server does not know the session any more"),
    (lambda asked: Answer(502), Symptom.UPSTREAM_DOWN, "POST /mcp (tools/list): what is behind this server does not answer"),
    (
        lambda asked: json_of({"jsonrpc": "2.0", "id": 9, "result": {}}),
        Symptom.NO_REPLY,
        "POST /mcp (tools/list) was answered with JSON that does not answer it (an answer came with id 9",
    ),
    (
        lambda asked: json_of(NOTE),
        Symptom.NO_REPLY,
        "POST /mcp (tools/list) was answered with JSON that does not answer it (its",
    ),
    (lambda asked: Answer(), Symptom.WRONG_TYPE, "POST /mcp (tools/list) was answered as no type, not as JSON"),
    (
        lambda asked: Answer(headers=HTML, pieces=[b"<html>"]),
        Symptom.WRONG_TYPE,
        "POST /mcp (tools/list) was answered as t",
    ),
    (
        lambda asked: Answer(headers=SSE),
        Symptom.NO_REPLY,
        "POST /mcp (tools/list) was answered with a stream that ended without",
    ),
    (
        lambda asked: Answer(headers=SSE, pieces=[event(result(asked), "result")]),
        Symptom.NO_REPLY,
        "tools/list was answered in 1 event of type 'result'",
    ),
    (
        lambda asked: Answer(headers=SSE | {"content-encoding": "gzip"}),
        Symptom.BUFFERED,
        "POST /mcp (tools/list): something compresses the event stream (gzip)",
    ),
    (lambda asked: json_of(error(asked, -5)), Symptom.RPC_ERROR, "tools/list was answered with error -5: no"),
]


@pytest.mark.parametrize(("answer", "symptom", "words"), NO_ANSWERS)
def test_what_is_no_answer_is_told_by_what_it_is(answer: Serves, symptom: Symptom, words: str) -> None:
    network, failure = after_greeting(answer, "s-1")
    assert failure is not None
    assert failure.symptom is symptom
    assert failure.message.startswith(words)
    assert failure.status == network.answers[-1].status or symptom is not Symptom.WRONG_TYPE
    assert all(answer.read or answer.closed for answer in network.answers)


def test_a_404_without_a_session_is_no_lost_session() -> None:
    failure = after_greeting(lambda asked: Answer(404))[1]
    assert failure is not None
    assert failure.symptom is Symptom.NOT_MOUNTED


def test_an_answer_may_come_in_a_batch_or_in_a_stream_after_other_messages() -> None:
    def in_stream(asked: Asked) -> Answer:
        asks = {"jsonrpc": "2.0", "id": "q", "method": "ping"}
        return Answer(headers=SSE, pieces=[event(NOTE), event(asks), event("", "x"), event(result(asked, a=1))], open=True)

    assert after_greeting(lambda asked: json_of([NOTE, result(asked)]))[1] is None
    network, failure = after_greeting(in_stream, "s-1")
    assert failure is None
    reply = network.asked[-1]
    assert (reply.body, reply.headers["mcp-session-id"]) == ({"jsonrpc": "2.0", "id": "q", "result": {}}, "s-1")
    assert network.answers[2].closed, "a stream that stays open after its answer is dropped"


def test_a_server_that_refuses_our_answer_to_its_question_is_told() -> None:
    def asks(asked: Asked) -> Answer:
        return Answer(headers=SSE, pieces=[event({"jsonrpc": "2.0", "id": "q", "method": "ping"}), event(result(asked))])

    def server(asked: Asked) -> Answer:
        if asked.rpc == "tools/list":
            return asks(asked)
        return greets(asked) if asked.rpc else Answer(500)

    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = StreamableWire(caller)
        await wire.open()
        with pytest.raises(ProbeFailure, match=r"POST /mcp \(an answer to the server's own request\) was answered with HTTP 500"):
            await wire.call("tools/list", {})

    play(server, scene, TARGET)


@pytest.mark.parametrize(("beside", "symptom"), [(STRAYS_MAX, None), (STRAYS_MAX + 1, Symptom.NO_REPLY)])
def test_a_stream_of_other_messages_is_read_for_a_while(beside: int, symptom: Symptom | None) -> None:
    note = event(NOTE)

    def server(asked: Asked) -> Answer:
        return Answer(headers=SSE, pieces=[note * beside, event(result(asked))])

    failure = after_greeting(server)[1]
    assert (failure.symptom if failure else None) is symptom
    assert failure is None or failure.message == "10000 other messages came instead of the answer to POST /mcp (tools/list)"


def test_a_notification_answered_with_a_stream_is_left_and_one_refused_fails_the_handshake() -> None:
    def streams(asked: Asked) -> Answer:
        return greets(asked) if "id" in asked.body else Answer(200, SSE, [b": hi\n"], open=True)

    def refuses(asked: Asked) -> Answer:
        return greets(asked) if "id" in asked.body else Answer(400)

    async def opened(caller: ProbeHttp, network: Network) -> None:
        wire = StreamableWire(caller)
        await wire.open()
        assert network.answers[-1].closed
        assert (wire.server.name, wire.hello["protocolVersion"], wire.remarks()) == ("m", "2025-11-25", [])
        assert caller.timeline.stage is Stage.INITIALIZED
        assert [timing.stage for timing in caller.timeline.timings()] == [Stage.INITIALIZE]

    async def refused(caller: ProbeHttp, network: Network) -> None:
        with pytest.raises(ProbeFailure, match=r"POST /mcp \(notifications/initialized\) was answered with HTTP 400"):
            await StreamableWire(caller).open()

    play(streams, opened, TARGET)
    play(refuses, refused, TARGET)


@pytest.mark.parametrize("kind", [StreamableWire, StatelessWire])
def test_a_deadline_that_passed_is_told_by_what_came_instead(kind: type[StreamableWire | StatelessWire]) -> None:
    async def scene(caller: ProbeHttp, network: Network) -> None:
        wire = kind(caller)
        assert wire.silence(Stage.INITIALIZE) is None
        with pytest.raises(ProbeFailure):
            await wire.call("tools/list", {})
        instead = wire.silence(Stage.TOOLS_LIST)
        assert instead is not None
        assert instead.message == "an answer came with id 9, but tools/list was asked with id 1"
        wire.abort()
        assert network.aborted

    play(lambda asked: json_of({"jsonrpc": "2.0", "id": 9, "result": {}}), scene, TARGET)
