"""The recorded session of the documentation: what it shows is what the tools take and give today."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema

from mcpwatch.web.mcp.tool import checked
from mcpwatch.web.mcp.tools import TOOLS, Offer
from tools.mcp_session import PAGE

ROOT = Path(__file__).resolve().parents[2]


def messages() -> list[tuple[str, dict[str, Any]]]:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    return [
        (side, json.loads(body)) for side, body in re.findall(r"^([→←])\n\n```json\n(.*?)\n```", text, re.MULTILINE | re.DOTALL)
    ]


def test_every_call_of_the_recorded_session_is_one_that_the_tools_take_and_every_answer_one_that_they_give() -> None:
    asked = {body["id"]: body["params"] for side, body in messages() if side == "→" and body["method"] == "tools/call"}
    answers = {body["id"]: body["result"] for side, body in messages() if side == "←"}
    tools = {tool.name: tool for tool in TOOLS}
    assert [params["name"] for params in asked.values()] == ["fleet_status", "explain", "events", "restart"]
    for number, params in asked.items():
        tool = tools[params["name"]]
        checked(tool, params["arguments"])
        answer = answers[number]
        if tool.operate:
            assert answer["isError"] is True, "a session that reads cannot act"
            continue
        schema = json.loads(json.dumps(tool.output_schema).replace('"items": {"type": "object"}', '"items": {}'))
        jsonschema.validate(answer["structuredContent"], schema)


def test_the_recorded_session_lists_the_tools_that_are_offered_first() -> None:
    listed = next(body["result"]["tools"] for side, body in messages() if side == "←" and "tools" in body["result"])
    assert [tool["name"] for tool in listed[:2]] == [tool.name for tool in Offer.of(operate=False).tools[:2]]
