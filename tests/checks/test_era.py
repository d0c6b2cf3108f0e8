"""Which wire a server speaks is found with few questions, and asked once."""

from __future__ import annotations

import pytest

from mcpwatch.checks import Prober
from mcpwatch.model.probe import Outcome, Target
from mcpwatch.model.spec import CheckSpec
from tests.servers.faulty import faulty

pytestmark = pytest.mark.anyio

CHECK = CheckSpec("mcp", timeout=5)


async def test_a_legacy_server_is_asked_to_discover_only_once_until_it_is_forgotten() -> None:
    async with faulty() as server:
        prober, target = Prober(), Target(server.url("/mcp"))
        for _ in range(3):
            result = await prober.probe(CHECK, target, "direct")
            assert result.server is not None
            assert (result.outcome, result.server.wire) == (Outcome.SUCCESS, "http")
        assert len(server.seen("server/discover")) == 1
        prober.forget(target)
        await prober.probe(CHECK, target, "direct")
        assert len(server.seen("server/discover")) == 2


async def test_a_modern_server_is_spoken_to_without_a_session() -> None:
    async with faulty(era="modern") as server:
        result = await Prober().probe(CHECK, Target(server.url("/mcp")), "direct")
        assert result.server is not None
        assert (result.outcome, result.server.wire, result.server.protocol) == (Outcome.SUCCESS, "stateless", "2026-07-28")
        assert not server.seen("initialize")
        for request in server.requests:
            assert request.headers["mcp-method"] == request.body["method"]
            assert request.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_an_sse_server_under_another_path_is_found_by_its_get() -> None:
    async with faulty() as server:
        result = await Prober().probe(CHECK, Target(server.url("/sse?old")), "direct")
        assert result.server is not None
        assert result.server.wire == "sse"
        assert result.outcome is Outcome.SUCCESS


async def test_a_server_that_hangs_on_discover_is_still_asked_to_initialize() -> None:
    async with faulty("no_reply", "server/discover", era="either") as server:
        result = await Prober().probe(CheckSpec("mcp", timeout=1.5), Target(server.url("/mcp")), "direct")
        assert result.outcome is Outcome.SUCCESS, result


async def test_a_server_that_moved_to_another_wire_is_found_again() -> None:
    async with faulty() as server:
        prober, target = Prober(), Target(server.url("/mcp"))
        await prober.probe(CHECK, target, "direct")
        server.fault, server.where = "era", "initialize"
        lost = await prober.probe(CHECK, target, "direct")
        server.fault, server.era = "", "modern"
        found = await prober.probe(CHECK, target, "direct")
        assert (lost.symptom_text, found.outcome) == ("era_mismatch", Outcome.SUCCESS)
        assert found.server is not None
        assert found.server.wire == "stateless"


async def test_a_session_that_an_old_server_opens_for_a_refused_question_is_deleted() -> None:
    async with faulty("leaky") as server:
        result = await Prober().probe(CHECK, Target(server.url("/mcp")), "direct")
        assert result.outcome is Outcome.SUCCESS, result
        assert [request.headers["mcp-session-id"] for request in server.seen("DELETE")] == ["stray", "s-42"]
