"""The other kinds of checks: refusal, http, tcp, TLS, and what a user may write for each."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
import trustme
import uvloop

from mcpwatch.checks import CHECKS, Prober
from mcpwatch.checks.http_tcp_checks import HttpCheck
from mcpwatch.model.probe import Expect, Outcome, ProbeResult, Target
from mcpwatch.model.spec import CheckSpec
from mcpwatch.registry import find
from tests.servers.faulty import faulty


async def run(target: Target, kind: str, *, expect: Expect | None = None, timeout: float = 5, **written: object) -> ProbeResult:
    found = find(CHECKS, kind)
    assert found is not None
    check = CheckSpec("c", kind=kind, timeout=timeout, expect=expect or Expect(), options=found.spec.model_validate(written))
    prober = Prober()
    try:
        return await prober.probe(check, target, "route")
    finally:
        await prober.close()


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/sse", "/mcp"])
async def test_a_guarded_route_passes_because_it_refuses_strangers(path: str) -> None:
    async with faulty(token="right") as server:
        result = await run(Target(server.url(path), token="right"), "refusal")
        assert result.outcome is Outcome.SUCCESS, result
        assert "authorization" not in server.requests[0].headers
        assert len(server.requests) == 2
        assert all("right" not in request.headers.get("authorization", "") for request in server.requests)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/sse", "/mcp"])
async def test_a_route_that_lets_strangers_in_is_unguarded(path: str) -> None:
    async with faulty() as server:
        result = await run(Target(server.url(path), token="right"), "refusal")
        assert (result.symptom_text, str(result.stage)) == ("unguarded", "refusal")


@pytest.mark.parametrize(
    ("fault", "symptom"), [("not_mounted", "not_mounted"), ("silent", "timeout@refusal"), ("bad_gateway", "upstream_down")]
)
@pytest.mark.anyio
async def test_what_is_broken_is_not_taken_for_a_refusal(fault: str, symptom: str) -> None:
    async with faulty(fault) as server:
        result = await run(Target(server.url()), "refusal", timeout=0.3 if fault == "silent" else 5)
        assert result.symptom_text == symptom


@pytest.mark.anyio
async def test_a_http_check_judges_status_and_text() -> None:
    async with faulty() as server:
        target = Target(server.url("/mcp"))
        good = await run(target, "http", expect=Expect(contains="well", regex="^all"), path="/health")
        other = await run(target, "http", expect=Expect(contains="ill"), path="/health")
        absent = await run(target, "http", path="/nothing")
        wanted = await run(target, "http", path="/nothing", status=(404, 410))
        unwanted = await run(target, "http", path="/health", status=(204,))
    assert [good.outcome, wanted.outcome] == [Outcome.SUCCESS, Outcome.SUCCESS]
    assert [other.symptom_text, absent.symptom_text, unwanted.symptom_text] == ["unexpected", "not_mounted", "http_status"]
    assert "expected 204" in unwanted.message


@pytest.mark.anyio
async def test_a_tcp_check_connects_and_hangs_up() -> None:
    async with faulty() as server:
        target = Target(server.url())
        open_port = await run(target, "tcp")
    closed_port = await run(target, "tcp")
    assert (open_port.outcome, closed_port.symptom_text) == (Outcome.SUCCESS, "refused")


def identity(tmp_path: Path, name: str, days: int) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    now = dt.datetime.now(dt.UTC)
    leaf = authority.issue_cert(name, not_before=now - dt.timedelta(days=400), not_after=now + dt.timedelta(days=days))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "days", "trusted", "said"),
    [
        ("127.0.0.1", 90, True, ""),
        ("127.0.0.1", -1, True, "expired"),
        ("other.example", 90, True, "mismatch"),
        ("127.0.0.1", 90, False, "issuer certificate"),
    ],
)
async def test_each_fault_of_a_certificate_is_told_in_words(tmp_path: Path, name: str, days: int, trusted: bool, said: str) -> None:
    context, authority = identity(tmp_path, name, days)
    async with faulty(tls=context) as server:
        target = Target(server.url(scheme="https"), ca_file=authority if trusted else None)
        result = await run(target, "mcp")
        lax = await run(Target(server.url(scheme="https"), insecure=True), "mcp")
    assert lax.outcome is Outcome.SUCCESS
    if not said:
        assert result.outcome is Outcome.SUCCESS, result
        assert result.certificate_days == pytest.approx(90, abs=0.1)
        return
    assert (result.symptom_text, str(result.stage)) == ("tls", "tls")
    assert said in result.message.lower()


def test_tls_works_on_uvloop_too(tmp_path: Path) -> None:
    context, authority = identity(tmp_path, "127.0.0.1", 90)

    async def both() -> list[ProbeResult]:
        async with faulty(tls=context) as server:
            good = Target(server.url(scheme="https"), ca_file=authority)
            return [await run(good, "mcp"), await run(Target(server.url(scheme="https")), "mcp")]

    trusted, untrusted = uvloop.run(both())
    assert (trusted.outcome, untrusted.symptom_text) == (Outcome.SUCCESS, "tls"), untrusted
    assert trusted.certificate_days == pytest.approx(90, abs=0.1)


@pytest.mark.anyio
async def test_a_certificate_near_its_end_is_degraded(tmp_path: Path) -> None:
    context, authority = identity(tmp_path, "127.0.0.1", 5)
    async with faulty(tls=context) as server:
        result = await run(Target(server.url(scheme="https"), ca_file=authority), "mcp", expect=Expect(certificate_days=14))
    assert (result.outcome, result.symptom_text) == (Outcome.DEGRADED, "certificate_expiring")
    async with faulty("bad_name", "tools/list", tls=context) as server:
        target = Target(server.url(scheme="https"), ca_file=authority)
        both = await run(target, "mcp", expect=Expect(certificate_days=14, max_latency=0.000001))
    assert both.symptom_text == "schema"
    assert [remark.partition(":")[0] for remark in both.remarks] == ["slow", "certificate_expiring"]
    assert "expected at least 14" in both.remarks[1]


@pytest.mark.anyio
async def test_https_to_a_plain_port_and_an_unreadable_ca_file_are_tls_symptoms(tmp_path: Path) -> None:
    async with faulty() as server:
        plain_port = await run(Target(server.url(scheme="https")), "mcp", timeout=2)
        no_file = await run(Target(server.url(scheme="https"), ca_file=str(tmp_path / "none.pem")), "mcp")
    assert plain_port.symptom_text in ("tls", "cut@tls")
    assert (no_file.symptom_text, "none.pem" in no_file.message) == ("tls", True)


def test_the_options_of_a_check_are_what_the_user_wrote_for_its_kind() -> None:
    kind = find(CHECKS, "http")
    assert kind is not None
    written = HttpCheck(path="/y", status=(200,))
    assert kind.make(written) is written


@pytest.mark.anyio
async def test_a_check_that_has_the_options_of_another_kind_is_unknown_and_blames_nothing() -> None:
    async with faulty() as server:
        check = CheckSpec("c", kind="tcp", timeout=5, options=HttpCheck(path="/y"))  # pyright: ignore[reportCallIssue]
        result = await Prober().probe(check, Target(server.url()), "direct")
    assert (result.outcome, "HttpCheck" in result.message) == (Outcome.UNKNOWN, True)


@pytest.mark.parametrize(
    ("fault", "where", "expected"),
    [
        ("", "open", "success"),
        ("rpc_error", "tools/call", "success"),
        ("tool_error", "tools/call", "success"),
        ("stale", "tools/call", "stale_session"),
        ("empty_error", "tools/call", "upstream_down"),
        ("no_reply", "tools/call", "timeout@safe_call"),
    ],
)
@pytest.mark.anyio
async def test_a_safe_call_proves_the_way_by_the_upstreams_own_refusal(fault: str, where: str, expected: str) -> None:
    async with faulty(fault, where) as server:
        result = await run(Target(server.url()), "mcp", safe_call=True, timeout=0.3 if fault == "no_reply" else 5)
        assert (result.symptom_text or str(result.outcome)) == expected, result
        assert [request.body["params"] for request in server.seen("tools/call")] == [{"name": "echo", "arguments": {}}]
