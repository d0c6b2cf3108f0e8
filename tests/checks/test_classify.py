"""What is made of words, headers and exceptions: pure functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mcpwatch.checks.classify import (
    cache_evidence,
    gateway_error,
    library_failure,
    refine,
    retry_after,
    rpc_error_in,
    said_in,
    status_failure,
)
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.legacy import prefixes
from mcpwatch.model.probe import ServerInfo, Stage, Symptom, Vantage


def _foreign_error(library: str, error: Exception) -> Exception:
    """`error` as if a library had raised it."""
    try:
        exec("raise error", {"__name__": library, "error": error})
    except Exception as raised:  # noqa: BLE001
        return raised
    raise AssertionError


@pytest.mark.parametrize("library", ["zlib", "encodings.idna", "urllib.parse", "ssl", "httptools.parser"])
def test_what_a_library_raises_at_foreign_input_is_a_symptom_and_not_a_broken_prober(library: str) -> None:
    failure = library_failure(_foreign_error(library, KeyError("x")), Stage.INITIALIZE)
    assert failure is not None
    assert failure.symptom is Symptom.BAD_REPLY
    resolving = library_failure(_foreign_error(library, ValueError("label too long")), Stage.RESOLVE)
    assert resolving is not None
    assert resolving.symptom is Symptom.UNRESOLVED


def test_what_mcpwatch_itself_raises_and_what_it_lacks_blames_nobody() -> None:
    assert library_failure(_foreign_error("mcpwatch.checks.prober", KeyError("x")), Stage.OPEN) is None
    assert library_failure(_foreign_error("ssl", OSError(24, "Too many open files")), Stage.CONNECT) is None


@pytest.mark.parametrize("number", [12, 23, 24, 105])
def test_what_mcpwatch_lacks_blames_nobody(number: int) -> None:
    assert library_failure(OSError(number, "lack"), Stage.CONNECT) is None


@pytest.mark.parametrize(
    ("error", "stage", "symptom", "words"),
    [
        (ConnectionResetError(104, "reset by peer"), Stage.OPEN, Symptom.CUT, "[Errno 104] reset by peer"),
        (OSError(113, "no route"), Stage.CONNECT, Symptom.UNREACHABLE, "[Errno 113] no route"),
        (OSError(5, "odd"), Stage.TLS, Symptom.TLS, "[Errno 5] odd"),
        (OSError(5, "odd"), None, Symptom.BAD_REPLY, "what came cannot be read: [Errno 5] odd"),
        (UnicodeError(), Stage.INITIALIZE, Symptom.BAD_REPLY, "what came cannot be read: UnicodeError"),
    ],
)
def test_an_error_of_the_system_is_told_by_the_stage_it_came_in(
    error: Exception, stage: Stage | None, symptom: Symptom, words: str
) -> None:
    failure = library_failure(error, stage)
    assert failure is not None
    assert (failure.symptom, failure.message) == (symptom, words)


def test_an_exception_type_of_a_library_is_foreign_input_wherever_it_was_raised() -> None:
    failure = library_failure(_foreign_error("somewhere.else", json.JSONDecodeError("x", "", 0)), Stage.INITIALIZE)
    assert failure is None
    foreign = type("DecodeError", (Exception,), {"__module__": "msgspec._core"})
    failure = library_failure(_foreign_error("somewhere.else", foreign("bad")), Stage.INITIALIZE)
    assert failure is not None
    assert failure.message == "what came cannot be read: bad"


@pytest.mark.parametrize(("value", "seconds"), [("", None), ("soon", None), ("-3", None), ("0", 0), ("9" * 30, 604_800)])
def test_what_retry_after_says_is_read_within_bounds(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_a_date_in_retry_after_is_seconds_from_now_in_its_own_time_zone() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    abroad = soon + timedelta(hours=2)
    assert 98 <= (retry_after(format_datetime(soon, usegmt=True)) or 0) <= 100
    assert 98 <= (retry_after(format_datetime(abroad).replace("+0000", "+0200")) or 0) <= 100
    assert 98 <= (retry_after(format_datetime(soon.replace(tzinfo=None))) or 0) <= 100  # -0000: no zone is told
    assert retry_after(format_datetime(soon - timedelta(hours=1))) == 0
    assert retry_after(format_datetime(soon + timedelta(days=30))) == 604_800


def error(code: object, message: object = "no", **more: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, **more}}).encode()


REDIRECT, GUARD, LOST, AUTH = Symptom.REDIRECT, Symptom.HOST_GUARD, Symptom.SESSION_LOST, Symptom.AUTH
ERA, MOUNTED, BUSY, DOWN = Symptom.ERA_MISMATCH, Symptom.NOT_MOUNTED, Symptom.OVERLOADED, Symptom.UPSTREAM_DOWN
STATUSES: list[tuple[Symptom, tuple[int, ...], bytes]] = [
    (REDIRECT, (301, 302, 303, 307, 308), b""),
    (Symptom.HTTP_STATUS, (304, 400, 402, 408, 409, 422, 423, 424, 500, 507, 599), b"something odd"),
    (Symptom.REJECTED, (406, 411, 412, 414, 415, 416, 417, 418, 426, 428, 431, 451, 501, 505, 506, 508, 510), b"something odd"),
    (Symptom.UNREACHABLE, (407, 511), b"something odd"),
    (Symptom.HTTP_STATUS, (401, 402, 403), b"Monthly quota used up"),
    (Symptom.HTTP_STATUS, (401, 402, 403), b"your licence has expired"),
    (Symptom.HTTP_STATUS, (401, 402, 403), b"entitlement missing"),
    (BUSY, (403,), b"Request limit exceeded"),
    (BUSY, (403,), error(-32000, "too many sessions")),
    (BUSY, (420, 425, 509, 529), b""),
    (GUARD, (421,), b""),
    (GUARD, (400, 403), b"Invalid Host header"),
    (GUARD, (403,), error(-32000, "Origin not allowed")),
    (LOST, (400, 401, 404, 410), error(-32001, "Session not found")),
    (AUTH, (403,), error(-32001, "Session not found")),
    (AUTH, (401,), b"your SSO session expired, sign in again"),
    (Symptom.HTTP_STATUS, (500,), error(-32001, "Session not found")),
    (AUTH, (401, 403), b"Invalid token"),
    (AUTH, (401,), b"Invalid Host header"),
    (ERA, (400, 404, 500), error(-32020)),
    (ERA, (400, 404, 500), error(-32021)),
    (ERA, (400, 404, 500), error(-32022)),
    (ERA, (404, 410), error(-32601)),
    (Symptom.HTTP_STATUS, (400, 500), error(-32601)),
    (MOUNTED, (404, 410), error(-32600)),
    (MOUNTED, (404, 410), b"404 page not found"),
    (MOUNTED, (404,), b"Missing session ID"),
    (ERA, (405,), b""),
    (ERA, (400,), b"Missing session ID"),
    (Symptom.TOO_LARGE, (413,), b""),
    (BUSY, (429,), b""),
    (BUSY, (503,), b"Too many sessions"),
    (Symptom.HTTP_STATUS, (500,), b"Too many sessions"),
    (BUSY, (503,), b"something odd"),
    (DOWN, (503,), b"no healthy upstream"),
    (DOWN, (502, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530), b"something odd"),
]


def test_a_status_means_what_it_means_with_the_words_beside_it() -> None:
    for symptom, status, body in [(symptom, status, body) for symptom, many, body in STATUSES for status in many]:
        failure = status_failure(status, {}, body, "GET /x")
        assert (failure.symptom, failure.status) == (symptom, status), body
        assert failure.message.startswith("GET /x")
        assert f"HTTP {status}" in failure.message


def test_a_status_without_a_meaning_of_its_own_is_told_with_what_was_said() -> None:
    assert status_failure(500, {}, b"boom", "GET /x").message == "GET /x was answered with HTTP 500: boom"
    assert status_failure(500, {}, b"", "GET /x").message == "GET /x was answered with HTTP 500: Internal Server Error"
    assert status_failure(599, {}, b"", "GET /x").message == "GET /x was answered with HTTP 599: nothing"


@pytest.mark.parametrize(
    ("status", "identified", "words"),
    [
        (401, True, "was refused with HTTP 401: the token that was sent is wrong or expired"),
        (403, True, 'was refused with HTTP 403: the token that was sent is wrong or expired: "who are you?"'),
        (401, False, "was refused with HTTP 401: no token was sent"),
        (407, True, 'did not get through (HTTP 407): a forward proxy on the way asks for credentials of its own: "who are you?"'),
        (511, False, "did not get through (HTTP 511): the network on the way asks for a sign-in of its own"),
        (415, True, 'is not taken in the form that MCP clients send (HTTP 415 Unsupported Media Type): "who are you?"'),
        (506, True, "is not taken in the form that MCP clients send (HTTP 506 Variant Also Negotiates)"),
        (404, True, 'is not served (HTTP 404): "who are you?"'),
    ],
)
def test_who_is_refused_is_told_whether_a_token_was_sent_and_what_was_said(status: int, identified: bool, words: str) -> None:
    body = b"who are you?" if "who" in words else b""
    assert status_failure(status, {}, body, "POST /mcp", identified=identified).message == f"POST /mcp {words}"


def test_a_redirect_is_told_with_where_it_leads_but_no_secret() -> None:
    told = status_failure(307, {"location": "https://me:pw@host/x/?token=s3cret"}, b"", "GET /x").message
    assert told == "GET /x is redirected (HTTP 307) to https://host/x/"
    assert status_failure(301, {}, b"", "GET /x").message == "GET /x is redirected (HTTP 301) to a place it does not name"
    assert len(status_failure(301, {"location": "/" + "x" * 999}, b"", "").message) == 200 + len(" is redirected (HTTP 301) to ")


def test_a_status_is_told_with_the_code_the_versions_and_the_wait_in_it() -> None:
    body = error(-32022, "Unsupported", data={"supported": ["2025-06-18", "2024-11-05"]})
    failure = status_failure(400, {"retry-after": "30"}, body, "POST /mcp")
    assert (failure.code, failure.versions, failure.retry_after) == (-32022, ("2025-06-18", "2024-11-05"), 30)
    assert failure.message.endswith("(HTTP 400); it supports protocol 2025-06-18, 2024-11-05; it wants to be asked again in 30 s")
    other = status_failure(500, {}, error(-32603, "x", data={"supported": ["2025-06-18"]}), "POST /mcp")
    assert "supports" not in other.message
    bare = status_failure(400, {}, error(-32020), "POST /mcp")
    assert "supports" not in bare.message


@pytest.mark.parametrize("code", [True, "x", None, 1.5])
def test_a_code_that_is_no_number_is_none(code: object) -> None:
    assert status_failure(500, {}, error(code), "POST /mcp").code is None


def test_a_body_without_a_json_rpc_error_holds_none() -> None:
    for body in (b"", b"{", b"[1]", b'"x"', b'{"error": "text"}', b'{"error": null}', b"[" * 100_000, b"\xff"):
        assert rpc_error_in(body) is None, body[:20]


def test_a_body_says_its_error_message_or_its_text_without_tags() -> None:
    assert said_in(error(-1, "it\nbroke")) == "it broke"
    assert said_in(error(-1, 5)) == error(-1, 5).decode()
    assert said_in(b"<!doctype html><style>a {}</style><BODY><h1>502</h1> Bad &amp; gone<script>x()</script></BODY>") == (
        "502 Bad &amp; gone"
    )
    assert said_in(b"dial <nil>: no") == "dial <nil>: no"
    assert len(said_in(b"x" * 9999)) == len(said_in(error(-1, "x" * 9999))) == 300


WORDS: list[tuple[str, int | None, int | None, Vantage, Symptom]] = [
    ("could not find session", -1, None, "route", Symptom.STALE_SESSION),
    ("could not find session", -1, None, "direct", Symptom.RPC_ERROR),
    ("MCP error -32600: Session terminated", -32600, None, "route", Symptom.STALE_SESSION),
    ("Session terminated", 32600, None, "route", Symptom.STALE_SESSION),
    ("Invalid session ID", -32603, None, "route", Symptom.STALE_SESSION),
    ("Invalid session ID", -32602, None, "route", Symptom.RPC_ERROR),
    ("transport error: request failed with status 404: Could not find session", -1, None, "direct", Symptom.SESSION_LOST),
    ("transport error: session terminated (404). need to re-initialize", -1, None, "route", Symptom.STALE_SESSION),
    ("Unknown Mcp-Session-Id", -1, None, "route", Symptom.STALE_SESSION),
    ("could not find session", -1, 400, "route", Symptom.SESSION_LOST),
    ("Received request before initialization was complete", -1, None, "route", Symptom.NOT_INITIALIZED),
    ("bad header", -32020, None, "route", Symptom.ERA_MISMATCH),
    ("transport closed", -1, None, "route", Symptom.UPSTREAM_DOWN),
    ("", 0, None, "route", Symptom.UPSTREAM_DOWN),
    ("", -1, None, "route", Symptom.RPC_ERROR),
    ("what", 0, None, "route", Symptom.RPC_ERROR),
    ("rate limit reached", -1, None, "route", Symptom.OVERLOADED),
    ("something odd", -1, None, "route", Symptom.RPC_ERROR),
]


def test_a_json_rpc_error_means_what_its_words_say() -> None:
    for said, code, status, vantage, symptom in WORDS:
        failure = refine(ProbeFailure(Symptom.RPC_ERROR, "x", said=said, code=code, status=status), vantage)
        assert failure.symptom is symptom, said


def test_only_a_plain_json_rpc_error_is_judged_by_its_words_and_versions() -> None:
    assert refine(ProbeFailure(Symptom.RPC_ERROR, "x", versions=("2025-06-18",)), "route").symptom is Symptom.ERA_MISMATCH
    assert refine(ProbeFailure(Symptom.BAD_REPLY, "x", said="transport closed"), "route").symptom is Symptom.BAD_REPLY


OF_GATEWAYS: list[tuple[str, Vantage, Symptom | None]] = [
    (" ", "route", Symptom.UPSTREAM_DOWN),
    ("session not found", "route", Symptom.STALE_SESSION),
    ("session not found", "direct", None),
    ("Session terminated", "route", Symptom.STALE_SESSION),
    ("transport error: session terminated (404). need to re-initialize", "direct", Symptom.SESSION_LOST),
    ("transport error: session terminated (404). need to re-initialize", "route", Symptom.STALE_SESSION),
    ("MCP error -32000: Connection closed", "direct", Symptom.UPSTREAM_DOWN),
    ("connection refused", "route", None),
    ("session not found".ljust(399, "."), "route", Symptom.STALE_SESSION),
    ("session not found".ljust(400, "."), "route", None),
    ("transport closed".ljust(399, "."), "route", Symptom.UPSTREAM_DOWN),
    ("transport closed".ljust(400, "."), "route", None),
]


def test_only_short_words_that_gateways_alone_use_blame_the_gateway() -> None:
    for said, vantage, symptom in OF_GATEWAYS:
        assert gateway_error(said, vantage) is symptom, said


NAMED: list[tuple[str, str, str, bool]] = [
    ("http://h/time/sse", "time", "2025-11-25", True),
    ("http://h/time/mcp", "time", "2025-11-25", True),
    ("http://h/a/time", "time", "2025-11-25", True),
    ("http://h/sse", "sse", "2025-11-25", True),
    ("http://h/time/sse", "sse", "2025-11-25", False),
    ("http://h/time/other", "time", "2025-11-25", False),
    ("http://h/time/sse", "clock", "2025-11-25", False),
    ("http://h/time/mcp", "time", "2026-07-28", False),
    ("http://h/", "", "2025-11-25", False),
]


def test_a_server_that_is_called_as_its_route_lists_from_a_cache() -> None:
    for url, name, protocol, shown in NAMED:
        told = cache_evidence(url, ServerInfo(name=name, protocol=protocol))
        assert (f"it calls itself {name!r}" in told) is shown, url


@pytest.mark.parametrize(
    ("public", "local", "found"),
    [("/mcp/time/sse", "/time/sse", ("/mcp", "")), ("/time/sse", "/time/sse", ("", "")), ("/a/sse", "/b/c/sse", ("/a", "/b/c"))],
)
def test_the_prefixes_of_two_paths_are_what_stands_before_their_common_end(public: str, local: str, found: tuple[str, str]) -> None:
    assert prefixes(public, local) == found
