"""Words by which a server says itself that no restart helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcpwatch.checks.classify import refine, status_failure
from mcpwatch.checks.expectations import tool_error
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom, Vantage
from mcpwatch.watchdog.refusals import fails_behind, refusal, refused, safe_call_told
from tests.watchdog.scenes import FETCH, PROXY, bad, one


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("Your licence has expired", "licence"),
        ("quota exceeded", "licence"),
        ("answered 429, too many requests", "overloaded"),
        ("maximum number of sessions reached", "overloaded"),
        ("Maximum concurrent clients reached (3)", "overloaded"),
        ("max simultaneous users: 5", "overloaded"),
        ("too many open sessions", "overloaded"),
        ("client limit reached", "overloaded"),
        ("Server is at capacity, please retry shortly", "overloaded"),
        ("No free seats. 5/5 seats taken", "overloaded"),
        ("entitlement missing for this workspace", "licence"),
        ("answered 401", "auth"),
        ("invalid API key", "auth"),
        ("Not logged in. Please call the login tool first.", "auth"),
        ("you must sign in first", "auth"),
        ("connect ECONNREFUSED 10.0.0.1:5432", "dependency"),
        ("OSError: [Errno 28] No space left on device: '/data/index.tmp'", "dependency"),
        ("[Errno 122] Disk quota exceeded", "dependency"),
        ("EROFS: read-only file system, open '/data/x'", "dependency"),
        ("could not write: database disk is full", "dependency"),
        ("EACCES: permission denied, scandir '/srv'", "dependency"),
        ("mcp-remote: fetch failed", "dependency"),
        ("httpx.ConnectError: All connection attempts failed", "dependency"),
        ("Cannot connect to host api.example:443", "dependency"),
        ("getaddrinfo EAI_AGAIN db", "dependency"),
        ("[Errno -2] Name or service not known", "dependency"),
        ("[Errno -3] Temporary failure in name resolution", "dependency"),
        ("connect EHOSTUNREACH 10.0.0.1:443", "dependency"),
        ("connect ENETUNREACH 10.0.0.1:443", "dependency"),
        ("[Errno 101] Network is unreachable", "dependency"),
        ("division by zero", None),
        ("", None),
    ],
)
def test_the_first_cause_that_the_words_name_counts(words: str, cause: str | None) -> None:
    told = refused(words)
    assert (told and told[0]) == cause


@pytest.mark.parametrize(
    "words",
    [
        "member 'billing' exited with code 1",
        'server "licence" ended',
        "Post http://quota-service:9000/mcp: EOF",
        "dial tcp: lookup billing.internal on 127.0.0.11:53: no such host",
        "<subscriptions> Failed to add client to server: EOF",
        "Failed to initialize client client=licence err=EOF",
        "web-billing: exited",
    ],
)
def test_a_name_or_an_address_says_nothing(words: str) -> None:
    assert refused(words, "web-billing") is None
    assert refused(f"{words}: payment required", "web-billing") == ("licence", "it refuses to work")


def test_words_count_where_a_server_speaks_for_itself() -> None:
    def told(symptom: Symptom, message: str, said: str = "") -> tuple[str, str] | None:
        return refusal(ProbeResult(Outcome.FAILURE, symptom, None, message, said))

    assert refusal(None) is None
    assert told(Symptom.RPC_ERROR, "license expired") == ("licence", "it refuses to work: license expired")
    assert told(Symptom.HTTP_STATUS, "answered 402", "payment required") == ("licence", "it refuses to work: answered 402")
    assert told(Symptom.UPSTREAM_DOWN, "license expired") == ("licence", "it refuses to work: license expired")
    assert told(Symptom.UPSTREAM_DOWN, "connection refused") is None, "by a proxy that says that, it is the server itself"
    assert told(Symptom.TOOL_ERROR, "connection refused") == (
        "dependency",
        "it answers, but what it depends on does not: connection refused",
    )
    assert told(Symptom.TIMEOUT, "license expired") is None


UNPAID = (
    "API key expired: upgrade your plan", "Insufficient credits", "quota exhausted for today", "billing account suspended",
    "invalid api key", "Your trial has ended", "Trial period expired", "You have run out of credits", "not enough credits left",
    "Your account has been suspended", "Please upgrade to a paid plan", "monthly limit reached", "usage limit reached",
    "API token is invalid", "access token expired", "The API key was revoked", "credentials have expired", "no API key provided",
    "authentication failed", "Incorrect API key provided: sk-***", "insufficient balance", "payment is overdue",
    "This is not part of the free tier", "Not authorized to use this model", "licence server: seat expired", "invalid_api_key",
)  # fmt: skip


@pytest.mark.parametrize("vantage", ["direct", "route"])
@pytest.mark.parametrize("words", UNPAID)
def test_no_restart_pays_what_stands_behind_a_tool(words: str, vantage: Vantage) -> None:
    failed = tool_error({"isError": True, "content": [{"type": "text", "text": words}]}, "t", vantage)
    assert failed is not None
    shapes = [failed]
    shapes += [
        refine(ProbeFailure(Symptom.RPC_ERROR, f"error: {words}", said=words, code=code), vantage) for code in (-32000, -32603, 7)
    ]
    shapes += [status_failure(status, {}, words.encode(), "POST /mcp") for status in (400, 401, 402, 403, 429, 500, 503)]
    for failure in shapes:
        told = refusal(ProbeResult(Outcome.FAILURE, failure.symptom, None, failure.message, failure.said))
        assert (told and told[0] in {"licence", "auth", "overloaded"}) or failure.symptom in {Symptom.AUTH, Symptom.OVERLOADED}, (
            failure
        )


@pytest.mark.parametrize(
    "words",
    [
        "Unexpected token < in JSON",
        "index corrupted in memory",
        "the current plan of the query failed",
        "KeyError: 'token'",
        "cannot upgrade your socket",
    ],
)
def test_trouble_of_its_own_is_no_refusal(words: str) -> None:
    assert refused(words) is None


AWAY = (
    "could not connect to server: [Errno 111] Connection refused",
    "connect ECONNREFUSED 10.0.0.1:5432",
    "redis is not reachable",
    "getaddrinfo ENOTFOUND api.example",
    "database is locked",
    "could not write: No space left on device",
    "connection to the server timed out",
)
FRAMES = ("Error: {}", "MCP error -32603: {}")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("words", AWAY)
def test_a_safe_call_that_is_answered_by_words_of_what_the_server_needs_makes_a_good_probe_degraded(words: str, frame: str) -> None:
    said = frame.format(words)
    told = safe_call_told(ProbeResult(Outcome.SUCCESS, said=said))
    assert (told.outcome, told.symptom, told.stage) == (Outcome.DEGRADED, Symptom.TOOL_ERROR, Stage.SAFE_CALL)
    assert words in told.message
    failed = ProbeResult(Outcome.FAILURE, symptom=Symptom.TIMEOUT, said=said)
    assert safe_call_told(failed) == failed


@pytest.mark.parametrize(
    "said",
    [
        "",
        "the parameter database is required",
        "Input validation error: 'host' is a required property (could not connect to None)",
        "Missing required argument: url, fetch failed",
        "access token missing",
        "permission denied",
        "your plan does not include this",
        "query must be a string",
    ],
)
def test_a_safe_call_that_is_told_what_argument_it_lacks_or_what_it_may_not_do_says_nothing_of_the_server(said: str) -> None:
    good = ProbeResult(Outcome.SUCCESS, said=said)
    assert safe_call_told(good) == good


@pytest.mark.parametrize("tool", ["fetch", "redis", "query_database", "check_licence_quota", "login_required"])
def test_the_name_of_a_tool_that_failed_is_no_word_of_the_server(tool: str) -> None:
    said = "Refused to open 127.0.0.1: not a public address"
    wrong = tool_error({"isError": True, "content": [{"type": "text", "text": said}]}, tool, "direct")
    assert wrong is not None
    result = ProbeResult(Outcome.FAILURE, wrong.symptom, Stage.CANARY, str(wrong), said=wrong.said)
    assert refusal(result) is None
    assert not fails_behind(result)


CHANGED = (
    "No module named 'pydantic.deprecated'",
    "cannot import name 'Field' from 'pydantic'",
    "Cannot find module './lib/x.js'",
    "undefined symbol: PyThing",
    "[Errno 116] Stale file handle",
)


@pytest.mark.parametrize("words", CHANGED)
def test_a_tool_that_worked_and_lacks_a_part_of_its_program_is_restarted_once_and_one_that_never_worked_is_not(words: str) -> None:
    wrong = tool_error(
        {"isError": True, "content": [{"type": "text", "text": f"Error executing tool echo: {words}"}]}, "echo", "direct"
    )
    assert wrong is not None
    result = ProbeResult(Outcome.FAILURE, wrong.symptom, Stage.CANARY, str(wrong), said=wrong.said)
    seen = replace(bad(wrong.symptom, Stage.CANARY), result=result)
    told = one(replace(FETCH, direct=replace(seen, succeeded=True), through=None), PROXY)
    assert (told.cause, told.rung, told.tries) == ("member_failing", "restart", 1)
    assert one(replace(FETCH, direct=seen, through=None), PROXY).rung is None
