"""Clients of one era on members of the other, by the official SDK on both sides: questions, changes, levels, headers."""

# pyright: reportDeprecated=false
from __future__ import annotations

import functools
import json
import select
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import mcp_types as types
import psutil
import pytest
from mcp import Client
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from mcpwatch.gateway.session.mcp_request import WATCHDOG
from tests.gateway.program import ACCEPT, LIMIT, META, TINY, Gateway, call, gateway, gone, http, post_call, request, sse, text
from tests.parts import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:resources/subscribe is removed"),
]


@dataclass
class Member:
    """A running server, and the lines that it prints."""

    process: subprocess.Popen[str]
    url: str

    def line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LIMIT)[0], "the server prints nothing"
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def member() -> Iterator[Member]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.stateless", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
    )
    try:
        found = Member(process, "")
        found.url = f"http://127.0.0.1:{found.line()}/mcp"
        yield found
    finally:
        process.terminate()
        process.wait(LIMIT)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def served(member: Member) -> Iterator[Gateway]:
    servers = {"new": {"url": member.url, "transport": "stateless"}, "only": TINY | {"args": [*TINY["args"], "--stateless"]}}
    with gateway({"servers": servers}) as running:
        running.wait({"new": "running", "only": "running"})
        yield running


@dataclass
class Asked:
    """What an SDK client was asked and told."""

    methods: list[str] = field(default_factory=list[str])
    told: anyio.Event = field(default_factory=anyio.Event)
    seen: list[Any] = field(default_factory=list[Any])

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        self.methods.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def roots(self, context: Any) -> types.ListRootsResult:
        self.methods.append("roots")
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///work"})])

    async def hear(self, message: Any) -> None:
        if not isinstance(message, Exception):
            self.seen.append(message)
            self.told.set()


@asynccontextmanager
async def old_client(served: Gateway, wire: str, asked: Asked) -> AsyncGenerator[ClientSession]:
    """The SDK's client of the handshake era, on one of its wires."""
    opened = sse_client(f"{served.url}/new/sse") if wire == "sse" else streamable_http_client(f"{served.url}/new/mcp")
    async with (
        opened as streams,
        ClientSession(
            streams[0], streams[1], elicitation_callback=asked.elicit, list_roots_callback=asked.roots, message_handler=asked.hear
        ) as client,
    ):
        with anyio.fail_after(LIMIT):
            await client.initialize()
        yield client


def said(result: Any) -> Any:
    return json.loads(result.content[0].text)


@pytest.mark.parametrize("wire", ["sse", "mcp"])
async def test_an_older_client_answers_what_a_stateless_member_asks(served: Gateway, wire: str) -> None:
    asked = Asked()
    async with old_client(served, wire, asked) as client:
        answer = said(await client.call_tool("ask", {}))
        assert answer["state"] == "first"
        assert answer["given"]["who"]["content"] == {"name": "Ada"}
        assert answer["given"]["where"]["roots"][0]["uri"] == "file:///work"
        assert sorted(asked.methods) == ["Who are you?", "roots"]
        assert said(await client.call_tool("again", {"x": 1})) == {"x": 1}
        assert set(said(await client.call_tool("client", {}))) == {"elicitation", "roots"}


async def test_an_older_client_that_cannot_be_asked_is_told_what_it_lacks(served: Gateway) -> None:
    async with sse(f"{served.url}/new/sse") as client:
        await client.hello()
        answer = await client.ask(call(1, "ask"))
        assert answer["id"] == 1
        assert "elicitation" in answer["error"]["message"]


async def test_an_older_client_that_refuses_a_question_ends_the_request(served: Gateway) -> None:
    async with sse(f"{served.url}/new/sse") as client:
        await client.hello(elicitation={}, roots={})
        question = await client.ask(call(1, "ask"))
        await client.next()
        refusal = {"code": -32000, "message": "not now"}
        came = [await client.ask({"jsonrpc": "2.0", "id": question["id"], "error": refusal}), await client.next()]
        assert {"jsonrpc": "2.0", "id": 1, "error": refusal} in came
        assert "notifications/cancelled" in [item.get("method") for item in came]


@pytest.mark.parametrize("wire", ["sse", "mcp"])
async def test_an_older_client_hears_of_changes_of_a_stateless_member(served: Gateway, wire: str) -> None:
    asked = Asked()
    async with old_client(served, wire, asked) as client:
        await client.subscribe_resource("it://one")
        await client.call_tool("touch", {"uri": "it://two"})
        await client.call_tool("touch", {"uri": "it://one"})
        with anyio.fail_after(LIMIT):
            await asked.told.wait()
        assert [(item.method, str(item.params.uri)) for item in asked.seen] == [("notifications/resources/updated", "it://one")]


async def test_lists_that_change_are_told_to_every_session_that_has_a_handshake(served: Gateway) -> None:
    async with sse(f"{served.url}/new/sse") as one, sse(f"{served.url}/new/sse") as two:
        for client in (one, two):
            await client.hello()
            assert (await client.ask(request(1, "resources/subscribe", {"uri": "it://one"})))["result"] == {}
        await one.post(call(2, "touch", uri="it://one"))
        for client in (one, two):
            while (came := await client.next()).get("method") != "notifications/resources/updated":
                assert came["id"] == 2
            assert came["params"]["uri"] == "it://one"
            assert "io.modelcontextprotocol/subscriptionId" not in came["params"].get("_meta", {})


async def test_the_level_of_a_session_goes_along_with_its_requests(served: Gateway) -> None:
    async with http(f"{served.url}/new/mcp") as client:
        await client.hello()
        silent = await client.post(call(1, "log"))
        assert silent.headers["content-type"] == "application/json"
        assert (await client.post(request(2, "logging/setLevel", {"level": "info"}))).json()["result"] == {}
        assert "notifications/message" in (await client.post(call(3, "log"))).text


async def test_a_cancelled_request_is_given_up_at_the_stateless_member(served: Gateway, member: Member) -> None:
    async with sse(f"{served.url}/new/sse") as client:
        await client.hello()
        await client.post(call(1, "wait"))
        await client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        assert await anyio.to_thread.run_sync(member.line) == "cancelled"


async def test_marked_parameters_are_repeated_in_headers(served: Gateway) -> None:
    async with sse(f"{served.url}/new/sse") as client:
        await client.hello()
        for word in ("eu-west", "Zürich", " x "):
            assert text(await client.ask(call(1, "marked", region=word))) == {"region": word}


async def test_a_stdio_server_that_only_knows_the_stateless_wire_serves_older_clients(served: Gateway) -> None:
    async with sse(f"{served.url}/only/sse") as client:
        assert (await client.hello(roots={}))["result"]["serverInfo"] == {"name": "tiny", "version": "1.2.3"}
        meta = text(await client.ask(call(1, "meta")))
        assert meta["io.modelcontextprotocol/clientCapabilities"] == {"roots": {}}
        assert meta["io.modelcontextprotocol/clientInfo"] == {"name": "test", "version": "1"}
    async with Client(f"{served.url}/only/mcp", mode="2026-07-28") as client:
        assert said(await client.call_tool("echo", {"x": 1})) == {"x": 1}


# --- clients of the stateless wire on members that only know handshakes ---


@pytest.fixture(scope="module")
def older() -> Iterator[Gateway]:
    servers = {"tiny": TINY, "other": TINY}
    with gateway({"servers": {"tiny": TINY}}) as behind:
        behind.wait({"tiny": "running"})
        urls = {
            f"by-{wire}": {"url": f"{behind.url}/tiny/{wire}", "transport": kind}
            for wire, kind in (("sse", "sse"), ("mcp", "http"))
        }
        with gateway({"servers": servers | urls}) as running:
            running.wait(dict.fromkeys([*servers, *urls], "running"))
            yield running


@asynccontextmanager
async def new_client(url: str, asked: Asked) -> AsyncGenerator[Client]:
    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        asked.methods.append(params.model_extra["who"] if params.model_extra else "who")
        return types.CreateMessageResult(role="assistant", model="m", content=types.TextContent(type="text", text="said"))

    async with Client(url, mode="2026-07-28", sampling_callback=sample, list_roots_callback=asked.roots) as client:
        yield client


@pytest.mark.parametrize("member", ["tiny", "by-sse", "by-mcp"])
async def test_a_stateless_client_answers_what_an_older_member_asks(older: Gateway, member: str) -> None:
    asked = Asked()
    with anyio.fail_after(LIMIT):
        async with new_client(f"{older.url}/{member}/mcp", asked) as client:
            for _ in range(2):
                answer = said(await client.call_tool("ask", {"who": "me"}))
                assert answer["result"]["content"]["text"] == "said"
            assert set(said(await client.call_tool("hello", {}))["capabilities"]) == {"sampling", "roots"}
    assert len(asked.methods) == 2


async def test_stateless_clients_that_ask_at_once_are_asked_each_for_themselves(older: Gateway) -> None:
    found: dict[str, Any] = {}

    async def one(who: str) -> None:
        async def sample(context: Any, params: Any) -> types.CreateMessageResult:
            return types.CreateMessageResult(role="assistant", model=who, content=types.TextContent(type="text", text=who))

        async with Client(f"{older.url}/tiny/mcp", mode="2026-07-28", sampling_callback=sample) as client:
            found[who] = said(await client.call_tool("ask", {"who": who}))["result"]["model"]

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(one, f"client {number}")
    assert found == {who: who for who in found}
    assert len(found) == 4


async def test_a_round_is_known_by_its_state_once_and_to_its_client_alone(older: Gateway) -> None:
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        url = f"{older.url}/tiny/mcp"
        asked = (await post_call(client, url, {"name": "ask", "arguments": {"who": "me"}}))["result"]
        assert asked["resultType"] == "input_required"
        ((key, question),) = asked["inputRequests"].items()
        assert question["method"] == "sampling/createMessage"
        back = {
            "name": "ask",
            "arguments": {"who": "me"},
            "inputResponses": {key: {"x": 1.5}},
            "requestState": asked["requestState"],
        }
        for state in ("", "nonsense"):
            refused = await post_call(client, url, back | {"requestState": state})
            assert refused["error"]["code"] == -32602
        elsewhere = await post_call(client, f"{older.url}/other/mcp", back)
        assert elsewhere["error"]["code"] == -32602
        answer = await post_call(client, url, back, 2)
        assert answer["id"] == 2
        assert answer["result"]["resultType"] == "complete"
        assert text(answer)["result"] == {"x": 1.5}
        assert (await post_call(client, url, back, 3))["error"]["code"] == -32602


async def test_a_round_that_comes_back_without_an_answer_is_asked_again(older: Gateway) -> None:
    async with httpx.AsyncClient(timeout=LIMIT) as client:
        url = f"{older.url}/tiny/mcp"
        asked = (await post_call(client, url, {"name": "ask", "arguments": {}}))["result"]
        again = (await post_call(client, url, {"name": "ask", "arguments": {}, "requestState": asked["requestState"]}))["result"]
        assert again["inputRequests"] == asked["inputRequests"]
        back: dict[str, Any] = {
            "name": "ask",
            "arguments": {},
            "inputResponses": {key: {"ok": 1} for key in asked["inputRequests"]},
            "requestState": again["requestState"],
        }
        assert text(await post_call(client, url, back))["result"] == {"ok": 1}


@pytest.mark.parametrize("path", ["tiny/mcp", "mcp"])
async def test_a_stateless_client_listens_to_older_members(older: Gateway, path: str) -> None:
    call_name = "change" if path == "tiny/mcp" else "tiny__change"
    with anyio.fail_after(LIMIT):
        async with (
            Client(f"{older.url}/{path}", mode="2026-07-28") as client,
            client.listen(resources_list_changed=True, resource_subscriptions=["tiny://one"]) as changes,
        ):
            assert changes.honored.resources_list_changed is True
            assert changes.honored.resource_subscriptions == ["tiny://one"]
            await client.call_tool(call_name, {"numbers": [1]})
            assert type(await anext(changes)).__name__ == "ResourcesListChanged"
            await client.call_tool(call_name, {"numbers": [], "touch": "tiny://one"})
            assert "tiny://one" in str(await anext(changes))


async def test_a_seat_is_given_up_with_its_client(older: Gateway) -> None:
    asleep = request(1, "tools/call", {"name": "sleep", "arguments": {"seconds": 3600}, "_meta": META})
    headers = ACCEPT | {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "sleep"}
    fresh: set[int] = set()
    before = {child.pid for child in psutil.Process(older.process.pid).children()}
    with anyio.fail_after(LIMIT):
        async with httpx.AsyncClient(timeout=LIMIT) as client, anyio.create_task_group() as group:
            group.start_soon(functools.partial(client.post, f"{older.url}/other/mcp", json=asleep, headers=headers))
            while not (fresh := {child.pid for child in psutil.Process(older.process.pid).children()} - before):  # noqa: ASYNC110 - what is waited for tells nobody
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        for pid in fresh:
            await anyio.to_thread.run_sync(gone, pid)


@pytest.mark.parametrize(
    ("kind", "path", "tool"), [("served", "new", "echo"), ("older", "tiny", "echo"), ("older", "", "tiny__echo")]
)
async def test_stateless_clients_are_counted_once_each_and_the_watchdogs_checks_never(
    kind: str, path: str, tool: str, request: pytest.FixtureRequest
) -> None:
    running: Gateway = request.getfixturevalue(kind)
    member = path or "tiny"
    before, agents = running.members()[member]["clients"], [f"{member}-{path}-{number}" for number in range(3)]
    for agent in (*agents, *agents, f"{WATCHDOG.decode()}0.1.0"):
        async with httpx.AsyncClient(timeout=LIMIT, headers={"user-agent": agent}) as client:
            answer = await post_call(client, f"{running.url}/{path}/mcp".replace("//mcp", "/mcp"), {"name": tool, "arguments": {}})
            assert "result" in answer
    assert running.members()[member]["clients"] == before + len(agents)


async def test_a_stateless_request_for_a_member_that_is_down_is_refused_under_its_own_id() -> None:
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = ACCEPT | {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"}
    with gateway({"servers": {"absent": {"command": "/nowhere/server"}}}) as running:
        running.wait({"absent": "failed"})
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            asked = request("own", "tools/list", {"_meta": meta})
            answer = await client.post(f"{running.url}/absent/mcp", json=asked, headers=headers)
    assert (answer.status_code, answer.json()["id"]) == (503, "own")
    assert answer.json()["error"]["data"]["member"] == "absent"
