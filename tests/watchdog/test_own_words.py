"""A server that answers, and says in an error of JSON-RPC what is wrong, is not restarted for it, whatever its words."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcpwatch.model.probe import Outcome, ProbeResult, Stage, Symptom
from mcpwatch.model.spec import Traits
from mcpwatch.watchdog.fleet import Fleet
from mcpwatch.watchdog.own_words import spoken
from tests.watchdog.scenes import FETCH, HOSTED, PROXY, TIME, bad, one
from tests.watchdog.test_diagnose_route import INSIDE, TBXARK
from tests.watchdog.test_fleet_table import causes, staged, tried
from tests.watchdog.world import GATEWAY, Kind, Server, World
from tests.watchdog.world import TBXARK as BOXED

UNUSUAL = (
    "vector store offline", "backend gone fishing", "the printer is out of paper", "ollama is not running", "boom",
    "MySQL server has gone away", "Not connected to qdrant", "no device under test", "index of 2024 is being built",
    "KeyError: 'embedding'", "kein Speicher angeschlossen", "сервис недоступен", "库已离线", "unit pump-3 does not move",
    "embedding model missing: pull it first", "method foo is not for you", "E1042",
)  # fmt: skip
HEALED = (
    "Session not found", "Connection closed", "Not connected", "transport closed", "stdin closed", "broken pipe", "write EPIPE",
    "unexpected EOF", "child process exited with code 1", "worker 3 died", "event loop is closed", "connection pool exhausted",
    "JavaScript heap out of memory", "index corrupted in memory", "deadlock detected", "server is shutting down",
    "Request timed out", "not initialized", "Invalid request parameters", "cannot allocate 4 MB", "please restart the server",
)  # fmt: skip
EMPTY = (
    "Internal error", "Internal server error", "An unexpected error occurred", "Oops, something went wrong.", "error -32603",
    "tool execution failed", "Unknown error while calling the tool",
)  # fmt: skip
CODES = (None, 0, -32000, -32050, -32603, 7)


def error(words: str, stage: Stage = Stage.CANARY, code: int | None = -32000) -> ProbeResult:
    text = f"tools/call was answered with error {code}: {words}"
    return ProbeResult(Outcome.FAILURE, Symptom.RPC_ERROR, stage, text, words, rpc_code=code)


@pytest.mark.sample(12)
@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.SAFE_CALL, Stage.PROMPTS_LIST, Stage.RESOURCES_LIST])
@pytest.mark.parametrize("succeeded", [True, False])
@pytest.mark.parametrize("code", CODES)
def test_an_error_beside_a_well_list_is_a_reason_to_restart_by_words_of_its_own_end_or_without_words_alone(
    code: int | None, succeeded: bool, stage: Stage
) -> None:
    for words in (*UNUSUAL, *HEALED, *EMPTY):
        result = error(words, stage, code)
        seen = replace(bad(Symptom.RPC_ERROR), result=result, succeeded=succeeded)
        for member in (replace(FETCH, direct=seen, through=seen), replace(HOSTED, through=seen)):
            finding = one(member, TIME, PROXY)
            if words in UNUSUAL:
                assert (finding.cause in {"unexpected", "dependency"}, finding.rung) == (True, None), words
                assert words in finding.text
        assert spoken(result, succeeded=succeeded) is (words in UNUSUAL), words


@pytest.mark.parametrize("words", UNUSUAL)
def test_a_list_that_was_given_since_its_start_may_be_given_again_after_another_and_one_that_never_was_may_not(words: str) -> None:
    seen = replace(bad(Symptom.RPC_ERROR), result=error(words, Stage.TOOLS_LIST))
    for succeeded, rung in ((True, "restart"), (False, None)):
        assert one(replace(FETCH, direct=replace(seen, succeeded=succeeded), through=None), PROXY).rung == rung
    greeting = replace(seen, result=error(words, Stage.INITIALIZE))
    assert one(replace(FETCH, direct=greeting, through=None), PROXY).rung == "restart", "it greets nobody"


def test_what_runs_inside_a_proxy_says_so_through_it_unless_it_ended() -> None:
    seen = replace(bad(Symptom.RPC_ERROR), result=error("backend gone fishing"), succeeded=True)
    finding = one(replace(INSIDE, through=seen), TIME, TBXARK, holds_sessions=True)
    assert (finding.cause, finding.subject, finding.rung) == ("unexpected", "in", None)
    gone = one(replace(INSIDE, through=seen, child_gone=True), TIME, TBXARK, holds_sessions=True)
    assert (gone.cause, gone.rung) == ("child_died", "restart_proxy")


def test_what_ran_below_it_and_ended_is_reason_enough() -> None:
    seen = replace(bad(Symptom.RPC_ERROR), result=error("backend gone fishing"))
    assert one(replace(FETCH, direct=seen, through=None, child_ended=True), PROXY).rung == "restart"


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("traits", "kind"),
    [(GATEWAY, "process"), (GATEWAY, "url"), (GATEWAY, "hosted"), (BOXED, "process"), (BOXED, "url"), (BOXED, "inside")],
)
def test_a_fleet_tells_it_for_as_long_as_it_lasts_and_restarts_nothing(traits: Traits, kind: Kind) -> None:
    async def play(world: World, fleet: Fleet) -> None:
        await asyncio.sleep(30.0)
        world.servers["m"].fault = "offline"
        await asyncio.sleep(300.0)
        assert causes(fleet) == ["unexpected"]
        assert tried(world) == []
        world.servers["m"].fault = "none"
        await asyncio.sleep(60.0)
        assert causes(fleet) == []
        assert (world.harm, set(world.starts.values())) == ([], {1})

    staged(traits, [Server("m", kind), Server("other", "url")], play, canary=frozenset({"m"}))


@pytest.mark.parametrize("succeeded", [True, False])
def test_only_an_error_of_json_rpc_whose_words_are_no_answer_to_a_wrong_call_is_a_word_of_the_server(*, succeeded: bool) -> None:
    assert spoken(error("vector store offline"), succeeded=succeeded)
    assert not spoken(None, succeeded=succeeded)
    assert not spoken(replace(error("vector store offline"), symptom=Symptom.TOOL_ERROR), succeeded=succeeded)
    unknown = ProbeResult(
        Outcome.FAILURE, Symptom.RPC_ERROR, Stage.CANARY, "Unknown tool: x", said="Unknown tool: x", rpc_code=-32602
    )
    assert not spoken(unknown, succeeded=succeeded)
