"""A server that bears one session serves every client: the gateway, which has that session, lets them share it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mcpwatch.gateway.upstream.link import Ends
from mcpwatch.model.session_words import KEPT
from tests.gateway.inside import Inside, Wire, served
from tests.gateway.program import http, request, sse
from tests.watchdog.test_single_client import FREE, HELD

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class OneSession(Wire):
    """Refuses to greet while another link of its member is open."""

    member: Lonely

    def send(self, data: bytes, number: int | None) -> int:
        sent = json.loads(data)
        others = [wire for wire in self.member.wires if wire is not self and not wire.closed.is_set()]
        if sent.get("method") == "initialize" and others:
            self.member.refused += 1
            self.say({"id": sent["id"], "error": {"code": -32600, "message": self.member.words}})
            return 1
        size = super().send(data, number)
        if sent.get("method") in {"ping", "tools/list"}:
            self.say({"id": sent["id"], "result": {"tools": []} if sent["method"] == "tools/list" else {}})
        return size


class Lonely(Inside):
    """A member by URL that says `words` to a second session."""

    def __init__(self, words: str) -> None:
        self.words, self.refused = words, 0
        super().__init__("http")
        self.settings = replace(self.settings, command=None, url="http://127.0.0.1:9/mcp")
        self.gate.set()

    def _link(self, ends: Ends) -> Wire:
        wire = OneSession(ends, "http", self.gate)
        wire.member = self
        self.wires.append(wire)
        return wire


@pytest.mark.sample(6)
@pytest.mark.parametrize("wire", ["sse", "mcp"])
@pytest.mark.parametrize("words", HELD)
async def test_clients_share_the_only_session_that_the_gateway_has_and_no_second_one_is_asked_for_again(
    words: str, wire: str
) -> None:
    async with served(member := Lonely(words)) as url:
        refused = set[int]()
        declared: tuple[dict[str, Any], ...] = ({}, {"sampling": {}}, {})
        for capabilities in declared:
            answer = await _listed(f"{url}/inside/{wire}", capabilities)
            assert answer["result"] == {"tools": []}
            refused.add(member.refused)
        assert len(refused) == 1
        assert not member.wires[0].closed.is_set()
        member.main.restart()
        await member.wires[0].closed.wait()
        await member.main.ready()
        assert (await _listed(f"{url}/inside/{wire}", {}))["result"] == {"tools": []}
        assert member.refused > max(refused), "another start may bear more"


@pytest.mark.parametrize("words", FREE)
async def test_a_server_that_refuses_a_session_for_another_reason_is_not_shared(words: str) -> None:
    async with served(member := Lonely(words)) as url:
        assert words in (await _listed(f"{url}/inside/mcp", {}))["error"]["message"]
        assert member.refused >= 1


async def test_where_sessions_are_to_be_apart_a_client_is_told_that_the_gateway_keeps_the_only_one() -> None:
    async with served(member := Lonely(HELD[0])) as url:
        member.settings = replace(member.settings, sessions="isolated")
        said: str = (await _listed(f"{url}/inside/mcp", {}))["error"]["message"]
        assert HELD[0] in said
        assert KEPT in said


async def _listed(url: str, capabilities: dict[str, Any]) -> dict[str, Any]:
    """What a client is answered that greets and lists tools: the refusal of its greeting, else the list."""
    if url.endswith("sse"):
        async with sse(url) as client:
            await client.hello(**capabilities)
            return await client.ask(request(1, "tools/list"))
    async with http(url) as client:
        greeted = await client.hello(**capabilities)
        return greeted.json() if greeted.status_code != 200 else _message(await client.post(request(1, "tools/list")))


def _message(answer: Any) -> dict[str, Any]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    return json.loads(lines[-1] if lines else answer.text)
