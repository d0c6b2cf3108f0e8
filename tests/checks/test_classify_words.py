"""Words that are not what they look like: sessions of a tool, and a server that is there and takes nothing now."""

from __future__ import annotations

import pytest

from mcpwatch.checks.classify import gateway_error, refine, status_failure
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.probe import Symptom, Vantage
from tests.checks.test_classify import error

OWN_SESSIONS = [
    f"{words}{more}"
    for words in (
        "Session not found",
        "session expired",
        "Invalid session_id: session not found",
        "unknown session",
        "no active session",
    )
    for more in (" in browser pool", " by backend", ": user 7 has to log in", " for database handle 12", " upstream of the cache")
]


@pytest.mark.parametrize("vantage", ["direct", "route"])
def test_sessions_that_a_tool_or_a_server_keeps_for_itself_are_no_sessions_of_mcp(vantage: Vantage) -> None:
    for said in OWN_SESSIONS:
        assert gateway_error(said, vantage) is None, said
        for code in (-32602, -32603, -32000, 0):
            failure = refine(ProbeFailure(Symptom.RPC_ERROR, "x", said=said, code=code), vantage)
            assert failure.symptom is Symptom.RPC_ERROR, said
        assert status_failure(404, {}, error(-32600, said), "POST /mcp").symptom is Symptom.SESSION_LOST, said


@pytest.mark.parametrize("vantage", ["direct", "route"])
def test_an_argument_of_a_call_is_no_session_of_mcp(vantage: Vantage) -> None:
    for said in ("session not found", "Invalid session", "transport error: session terminated (404)", *OWN_SESSIONS):
        assert refine(ProbeFailure(Symptom.RPC_ERROR, "x", said=said, code=-32602), vantage).symptom is Symptom.RPC_ERROR, said


@pytest.mark.parametrize("headers", [{}, {"retry-after": "5"}, {"retry-after": "soon"}])
def test_a_server_that_is_there_and_takes_nothing_now_is_overloaded_and_has_no_dead_child(headers: dict[str, str]) -> None:
    own = (
        b"", b"starting up, loading index", b"Service Unavailable", b"maintenance mode", b"The service is unavailable.",
        b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>", b"down for maintenance", b"not ready",
        b"warming up", b'{"error": "starting"}', b'{"status": "initializing"}', b"is restarting", b"shutting down",
    )  # fmt: skip
    for body in own:
        assert status_failure(503, headers, body, "POST /mcp").symptom is Symptom.OVERLOADED, body


def test_words_of_somebody_behind_are_told_as_such_and_no_word_of_a_person_to_pay_is() -> None:
    behind = ("child process exited", "upstream connect error", "no available server", "Not connected", "member time is down")
    for said in (
        *behind,
        "connection refused",
        "failed to start the stdio server",
        "transport closed",
        "process exited with code 1",
    ):
        assert status_failure(503, {}, said.encode(), "POST /mcp").symptom is Symptom.UPSTREAM_DOWN, said
        assert status_failure(503, {}, error(-32000, said), "POST /mcp").symptom is Symptom.UPSTREAM_DOWN, said
    assert status_failure(503, {}, error(-32000, "starting up, loading index"), "POST /mcp").symptom is Symptom.OVERLOADED


@pytest.mark.parametrize(
    ("status", "headers", "body", "symptom"),
    [
        (503, {"retry-after": "3600"}, b"Scheduled maintenance", Symptom.OVERLOADED),
        (503, {"retry-after": "3600"}, b"<html><body>down for maintenance</body></html>", Symptom.OVERLOADED),
        (503, {}, b"member 'time' is down", Symptom.UPSTREAM_DOWN),
        (503, {"retry-after": "soon"}, b"cannot reach the child", Symptom.UPSTREAM_DOWN),
        (503, {"retry-after": "5"}, error(-32000, "upstream 'time' is down"), Symptom.UPSTREAM_DOWN),
        (502, {"retry-after": "5"}, b"Bad Gateway", Symptom.UPSTREAM_DOWN),
    ],
)
def test_who_says_when_to_ask_again_is_there_and_takes_no_requests_for_now(
    status: int, headers: dict[str, str], body: bytes, symptom: Symptom
) -> None:
    failure = status_failure(status, headers, body, "POST /mcp")
    assert failure.symptom is symptom
    if symptom is Symptom.OVERLOADED:
        assert "takes no requests for now (HTTP 503)" in failure.message
        assert failure.message.endswith("it wants to be asked again in 3600 s")


ALONE = ("Session not found", "session expired", "Error: Session terminated", "MCP error -32001: Session not found")
"""What a proxy says that lost its session, and a tool too that keeps sessions of its own."""


@pytest.mark.parametrize("said", ALONE)
def test_words_of_a_session_after_a_list_in_the_same_session_are_those_of_a_tool(said: str) -> None:
    error_ = ProbeFailure(Symptom.RPC_ERROR, "x", said=said, code=-32603)
    assert gateway_error(said, "route", listed=True) is None
    assert refine(error_, "route", listed=True).symptom is Symptom.RPC_ERROR
    assert refine(error_, "route").symptom is Symptom.STALE_SESSION, "where a memory may have listed"
    lost = "transport error: session terminated (404). need to re-initialize"
    assert gateway_error(lost, "route", listed=True) is Symptom.STALE_SESSION, "no tool speaks of its transport"
    assert refine(ProbeFailure(Symptom.RPC_ERROR, "x", said=lost), "route", listed=True).symptom is Symptom.STALE_SESSION


@pytest.mark.parametrize("name", ["busy", "license-server", "session-expired", "too-many", "fetch"])
def test_the_name_of_a_member_is_no_word_of_it(name: str) -> None:
    for why in ("is down: killed by signal 9", "is being started"):
        named, plain = (error(-32000, f"member {one!r} {why}") for one in (name, "git"))
        assert status_failure(503, {}, named, "POST /mcp").symptom is status_failure(503, {}, plain, "POST /mcp").symptom
