"""Words by which a server says itself that no restart helps."""

from __future__ import annotations

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Symptom
from mcpwatch.watchdog.refusals import refusal, refused


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("Your licence has expired", "licence"),
        ("quota exceeded", "licence"),
        ("answered 429, too many requests", "overloaded"),
        ("maximum number of sessions reached", "overloaded"),
        ("answered 401", "auth"),
        ("invalid API key", "auth"),
        ("connect ECONNREFUSED 10.0.0.1:5432", "dependency"),
        ("OSError: [Errno 28] No space left on device: '/data/index.tmp'", "dependency"),
        ("[Errno 122] Disk quota exceeded", "dependency"),
        ("EROFS: read-only file system, open '/data/x'", "dependency"),
        ("could not write: database disk is full", "dependency"),
        ("EACCES: permission denied, scandir '/srv'", "dependency"),
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
