"""The checks that are no session: `http`, `tcp` and `refusal`, against servers in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from mcpwatch.checks.auth_check import RefusalCheck, run_refusal
from mcpwatch.checks.caller import ProbeHttp
from mcpwatch.checks.context import Probe
from mcpwatch.checks.era import Eras
from mcpwatch.checks.failure import UNCUT_LIMIT, ProbeFailure
from mcpwatch.checks.http_tcp_checks import HttpCheck, TcpCheck, run_http, run_tcp
from mcpwatch.checks.list_cache import ListCache
from mcpwatch.model.probe import Expect, Stage, Symptom, Target
from mcpwatch.model.spec import CheckSpec
from tests.checks.memory import HELLO, JSON, SSE, Answer, Asked, Network, json_of, play, result

Serves = Callable[[Asked], Answer]


def checked(
    run: Callable[[Probe, Any], Any], spec: Any, server: Serves, target: Target, expect: Expect | None = None
) -> tuple[ProbeFailure | None, Network, Probe]:
    """How a check of a target ended, and what was asked."""
    found: list[tuple[ProbeFailure | None, Network, Probe]] = []

    async def scene(caller: ProbeHttp, network: Network) -> None:
        check = CheckSpec("x", expect=expect or Expect())
        probe = Probe(check, target, "direct", caller.timeline, cast("Any", network), Eras(), ListCache())
        failure: ProbeFailure | None = None
        try:
            await run(probe, spec)
        except ProbeFailure as caught:
            failure = caught
        found.append((failure, network, probe))

    play(server, scene, target)
    return found[0]


URL = Target("http://h/a/b")


@pytest.mark.parametrize(
    ("spec", "path"), [({}, "/a/b"), ({"path": "/health"}, "/health"), ({"path": "health?full=1"}, "/a/health?full=1")]
)
def test_a_url_or_a_path_of_it_is_asked_for(spec: dict[str, Any], path: str) -> None:
    failure, network, probe = checked(run_http, HttpCheck.model_validate(spec), lambda asked: Answer(204), URL)
    assert (failure, [(asked.method, asked.path) for asked in network.asked]) == (None, [("GET", path)])
    assert (network.asked[0].headers["accept"], probe.timeline.stage) == ("*/*", Stage.OPEN)


@pytest.mark.parametrize(
    ("status", "fine", "words"),
    [
        (200, (), ""),
        (299, (), ""),
        (404, (), 'GET /a/b is not served (HTTP 404): "text"'),
        (404, (404, 200), ""),
        (500, (404, 401), "GET /a/b was answered with HTTP 500: text; expected 401, 404"),
    ],
)
def test_a_status_is_fine_as_written_or_from_200_to_299(status: int, fine: tuple[int, ...], words: str) -> None:
    failure, network, _ = checked(
        run_http, HttpCheck.model_validate({"status": fine}), lambda asked: Answer(status, pieces=[b"text"]), URL
    )
    assert (failure.message if failure else "") == words
    assert network.answers[0].closed is not bool(failure), "what is not looked at is not read"


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        (Expect(contains="well"), ""),
        (Expect(regex="w.*l"), ""),
        (Expect(contains="ill"), "GET /a/b does not contain 'ill'"),
        (Expect(contains="all", regex="^ill"), "GET /a/b does not match /^ill/"),
        (Expect(regex="i" * 200), f"GET /a/b does not match /{'i' * 99}…/"),
    ],
)
def test_the_text_of_an_answer_is_what_was_expected(expect: Expect, words: str) -> None:
    text = b"all is we" + b"l" * 5000
    failure, _, _ = checked(run_http, HttpCheck.model_validate({}), lambda asked: Answer(pieces=[text]), URL, expect)
    assert (failure.message if failure else "") == words
    assert failure is None or (failure.symptom, len(failure.said)) == (Symptom.UNEXPECTED, UNCUT_LIMIT)


def test_only_so_much_of_a_text_is_looked_at() -> None:
    for size, found in (((1 << 20), True), ((1 << 20) + 1, False)):
        answer = Answer(pieces=[bytes(size), b"late"])
        failure = checked(run_http, HttpCheck.model_validate({}), lambda _, answer=answer: answer, URL, Expect(contains="late"))[0]
        assert (failure is None) is found


def test_a_port_that_takes_a_connection_is_asked_for_nothing() -> None:
    failure, network, _ = checked(run_tcp, TcpCheck(), lambda asked: Answer(), URL)
    assert (failure, network.asked, network.prepared) == (None, [], ["http://h/a/b"])


SECRET = Target("http://h/mcp", token="right", headers=(("X-API-Key", "k"), ("Cookie", "c"), ("X-Trace", "t")))


def guard(asked: Asked) -> Answer:
    return Answer(401)


def test_a_guarded_route_is_asked_by_strangers_who_carry_no_secret() -> None:
    failure, network, probe = checked(run_refusal, RefusalCheck(), guard, SECRET)
    assert failure is None
    assert [(asked.method, asked.rpc, asked.headers.get("authorization")) for asked in network.asked] == [
        ("POST", "initialize", None),
        ("POST", "initialize", "Bearer mcpwatch-checks-that-this-is-refused"),
    ]
    for asked in network.asked:
        assert (asked.headers.get("x-trace"), asked.headers.get("x-api-key"), asked.headers.get("cookie")) == ("t", None, None)
    assert [asked.body["id"] for asked in network.asked] == [1, 1]
    assert (probe.timeline.stage, len(network.prepared)) == (Stage.REFUSAL, 2)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (Target("http://h/time/sse"), "GET"),
        (Target("http://h/time/sse/"), "GET"),
        (Target("http://h/x", "sse"), "GET"),
        (Target("http://h/time/sse", "http"), "POST"),
        (Target("http://h/mcp"), "POST"),
    ],
)
def test_a_stranger_asks_over_the_wire_of_the_route(target: Target, method: str) -> None:
    _, network, _ = checked(run_refusal, RefusalCheck(), guard, target)
    assert [asked.method for asked in network.asked] == [method, method]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_read_to_its_end_or_to_a_bound(status: int) -> None:
    short, long = Answer(status, pieces=[b"no"]), Answer(status, pieces=[bytes(20_000), b"x"])
    answers = iter((short, long))
    failure, _, _ = checked(run_refusal, RefusalCheck(), lambda asked: next(answers), SECRET)
    assert (failure, short.pieces, short.closed, long.pieces, long.closed) == (None, [], False, [b"x"], True)


def test_a_stranger_who_is_let_in_is_told_and_leaves_no_session() -> None:
    def opens(asked: Asked) -> Answer:
        return json_of(result(asked, **HELLO), mcp_session_id="s") if asked.rpc else Answer(204)

    failure, network, _ = checked(run_refusal, RefusalCheck(), opens, SECRET)
    assert failure is not None
    assert (failure.symptom, failure.status) == (Symptom.UNGUARDED, 200)
    assert failure.message == "POST /mcp without a token is let in (HTTP 200)"
    assert [(asked.method, asked.headers.get("mcp-session-id")) for asked in network.asked] == [("POST", None), ("DELETE", "s")]

    def knows_tokens(asked: Asked) -> Answer:
        return Answer(200, SSE, open=True) if "authorization" in asked.headers else Answer(403)

    failure, network, _ = checked(run_refusal, RefusalCheck(), knows_tokens, Target("http://h/sse"))
    assert failure is not None
    assert failure.message == "GET /sse with a wrong token is let in (HTTP 200)"
    assert ([asked.method for asked in network.asked], network.answers[1].closed) == (["GET", "GET"], True)


def test_a_route_that_answers_otherwise_is_told_as_it_answers() -> None:
    failure, _, _ = checked(run_refusal, RefusalCheck(), lambda asked: Answer(502, JSON), SECRET)
    assert failure is not None
    assert failure.symptom is Symptom.UPSTREAM_DOWN
    assert failure.message.startswith("POST /mcp without a token: what is behind")
