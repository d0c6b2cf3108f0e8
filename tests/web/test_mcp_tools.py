"""What an agent is offered: small answers, right types, and no tool that acts without a token that may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mcpwatch.model.errors import UsageError
from mcpwatch.model.fact import MemberExited
from mcpwatch.web.mcp.tools import ANSWER, TOOLS, Ask, Offer, call
from tests.web.room import OPERATE, Room, room

pytestmark = pytest.mark.anyio


def asking(made: Room) -> Ask:
    """Asks the room's API as `mcpwatch mcp` asks a daemon."""

    async def ask(method: str, path: str, body: dict[str, Any] | None) -> Any:
        async with made.client(OPERATE) as client:
            answer = await client.request(method, f"/api/v1{path}", json=body if method == "POST" else None)
            if answer.status_code >= 400:
                raise UsageError(answer.json()["detail"])
            return answer.json()

    return ask


async def test_a_search_without_a_loki_says_what_to_do(tmp_path: Path) -> None:
    async with room(tmp_path) as made:
        with pytest.raises(UsageError, match=r"no Loki is configured \(telemetry.loki\)"):
            await call(Offer.of(operate=False).tool("search_logs"), asking(made), {"query": '{member="time"}'})


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.name != "search_logs"], ids=lambda tool: tool.name)
async def test_each_tool_answers_as_its_schema_says_and_small(tmp_path: Path, tool: Any) -> None:
    names = [f"route-{number:03}" for number in range(150)]
    async with room(tmp_path, *names) as made:
        for number in range(150):
            made.bus.publish(MemberExited(at=made.clock.wall(), text="x" * 3000, member=names[0], generation=number))
        log = tmp_path / "logs" / names[0]
        log.mkdir(parents=True)
        (log / "stderr.log").write_text("".join(f"2026-11-21T04:00:00.000Z {'y' * 3000}\n" for _ in range(200)), encoding="utf-8")
        given = {"name": names[0]} if "name" in tool.required else {}
        if "limit" in tool.properties:
            given["limit"] = 100  # pyright: ignore[reportArgumentType]
        answer = await call(tool, asking(made), given)
        jsonschema.validate(answer, tool.output_schema)
        jsonschema.validate(given, tool.input_schema)
        assert len(json.dumps(answer, ensure_ascii=False)) <= ANSWER


async def test_long_lists_go_on_at_the_cursor(tmp_path: Path) -> None:
    async with room(tmp_path, *(f"route-{number:03}" for number in range(25))) as made:
        tool, seen, cursor = Offer.of(operate=False).tool("fleet_status"), list[str](), None
        for _ in range(3):
            answer = await call(tool, asking(made), {"limit": 10} | ({"cursor": cursor} if cursor else {}))
            seen += [one["name"] for one in answer["routes"]]
            cursor = answer["next"]
        assert (len(seen), len(set(seen)), cursor) == (25, 25, None)


@pytest.mark.parametrize("given", [
    {}, {"name": 3}, {"name": "git", "limit": 0}, {"name": "git", "limit": 101}, {"name": "git", "limit": True},
    {"name": "git", "stream": "stdin"}, {"name": "x" * 501}, {"nome": "git"}, {"name": None},
])  # fmt: skip
async def test_wrong_arguments_are_refused_in_words(tmp_path: Path, given: dict[str, Any]) -> None:
    async with room(tmp_path) as made:
        with pytest.raises(UsageError):
            await call(Offer.of(operate=False).tool("logs"), asking(made), given)


def test_tools_that_act_are_offered_to_those_who_may() -> None:
    reading = Offer.of(operate=False)
    assert [tool.name for tool in reading.tools] == [
        "fleet_status", "explain", "check_now", "events", "logs", "search_logs", "system_metrics", "history",
        "contract_diff",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="may operate"):
        reading.tool("restart")
    assert {tool.name for tool in Offer.of(operate=True).tools if tool.operate} == {"restart", "silence", "accept_contract"}


def test_what_the_tools_weigh_in_a_model_is_bounded() -> None:
    text = json.dumps([[tool.name, tool.description, tool.input_schema] for tool in Offer.of(operate=False).tools])
    assert len(text) < 4_000, "about 1,000 tokens"
