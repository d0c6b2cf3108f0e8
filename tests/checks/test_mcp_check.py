"""What a check asks beside the handshake, and in which order: the contract last, an idle hold before it."""

from __future__ import annotations

import json

import pytest

from mcpwatch.checks import Prober
from mcpwatch.checks.failure import ProbeFailure
from mcpwatch.checks.list_cache import FAILED_TTL, OTHERS_TTL, ListCache, Others
from mcpwatch.checks.mcp_check import McpCheck
from mcpwatch.model.probe import Canary, Outcome, Symptom, Target
from mcpwatch.model.spec import CheckSpec
from tests.servers.faulty import faulty

pytestmark = pytest.mark.anyio


async def test_prompts_are_listed_once_in_a_while_and_stay_in_the_contract() -> None:
    async with faulty() as server:
        server.more = {"prompts": {}}
        prober, target = Prober(), Target(server.url())
        contracts = [(await prober.probe(CheckSpec("mcp", timeout=5), target, "direct")).contract for _ in range(3)]
        assert len(server.seen("prompts/list")) == 1
        assert len(set(contracts)) == 1
        assert json.loads(contracts[0] or "")["prompts"] == [{"name": "greet"}]
        prober.forget(target)
        await prober.probe(CheckSpec("mcp", timeout=5), target, "direct")
        assert len(server.seen("prompts/list")) == 2


async def test_no_contract_is_made_for_a_check_that_ignores_it() -> None:
    async with faulty() as server:
        server.more = {"prompts": {}}
        result = await Prober().probe(CheckSpec("mcp", timeout=5, contract="ignore"), Target(server.url()), "direct")
        assert (result.contract, server.seen("prompts/list")) == (None, [])


async def test_prompts_that_hang_degrade_the_probe_but_fail_nothing_before() -> None:
    async with faulty("no_reply", "prompts/list") as server:
        server.more = {"prompts": {}}
        prober, target = Prober(), Target(server.url())
        check = CheckSpec("mcp", timeout=0.6, canary=Canary("echo", '{"text": "hi"}'))
        first = await prober.probe(check, target, "direct")
        second = await prober.probe(check, target, "direct")
        assert [result.outcome for result in (first, second)] == [Outcome.DEGRADED, Outcome.DEGRADED]
        assert first.symptom_text == second.symptom_text == "timeout@prompts_list"
        assert len(server.seen("prompts/list")) == 1


async def test_prompts_that_cannot_be_listed_are_none() -> None:
    async with faulty("rpc_error", "prompts/list") as server:
        server.more = {"prompts": {}}
        result = await Prober().probe(CheckSpec("mcp", timeout=5), Target(server.url()), "direct")
        assert result.outcome is Outcome.SUCCESS
        assert "prompts" not in json.loads(result.contract or "")


@pytest.mark.parametrize("path", ["/sse", "/mcp"])
async def test_a_session_held_idle_answers_a_ping_afterwards(path: str) -> None:
    async with faulty() as server:
        check = CheckSpec("idle", timeout=5, options=McpCheck.model_validate({"hold": 0.1}))
        result = await Prober().probe(check, Target(server.url(path)), "direct")
        assert result.outcome is Outcome.SUCCESS, result
        assert {str(timing.stage): timing.seconds for timing in result.timings}["ping"] >= 0.1
        assert len(server.seen("ping")) == 1


async def test_what_cuts_idle_streams_is_found_by_holding_one() -> None:
    async with faulty("idle_cut") as server:
        check = CheckSpec("idle", timeout=5, options=McpCheck.model_validate({"hold": 0.3}))
        result = await Prober().probe(check, Target(server.url()), "direct")
        assert result.symptom_text == "cut@ping", result


@pytest.mark.parametrize(("failed", "kept"), [(None, OTHERS_TTL), (ProbeFailure(Symptom.TIMEOUT, "slow"), FAILED_TTL)])
def test_a_slow_answer_is_sooner_asked_for_again_than_a_good_one(failed: ProbeFailure | None, kept: float) -> None:
    memory, target = ListCache(), Target("http://127.0.0.1:1/sse")
    others = Others(100.0, b"", None, None, None, failed)
    memory.keep_others(target, others)
    assert memory.others(target, 100.0 + kept - 1.0) is others
    assert memory.others(target, 100.0 + kept) is None
